"""Tasks of Proxmox: what a UPID says, how far a log has come, and how to find a task whose UPID was lost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pantograph.providers.errors import ProtocolError
from pantograph.providers.proxmox.port import ProxmoxApi, TaskRow, Upid

_UPID = re.compile(
    r"^UPID:(?P<node>[^:\s/]+):(?P<pid>[0-9A-Fa-f]{8}):(?P<pstart>[0-9A-Fa-f]{8,9}):(?P<start>[0-9A-Fa-f]{8})"
    r":(?P<type>[^:\s]+):(?P<id>[^:\s]*):(?P<user>[^:\s]+):$"
)


@dataclass(frozen=True, slots=True)
class UpidParts:
    node: str
    """The node that runs the task: not always the one that was asked."""
    type: str
    id: str
    """The guest's VMID (of a clone: its source's), the file name of a download, or nothing."""
    user: str
    starttime: int
    """Unix seconds, on the node's clock."""


def parse_upid(upid: str) -> UpidParts:
    """Raises `ProtocolError` for anything that is no UPID (vzdump answers `OK` for a guest elsewhere)."""
    found = _UPID.match(upid)
    if found is None:
        raise ProtocolError(f"Proxmox answered {upid!r} where a task's UPID was expected")
    return UpidParts(found["node"], found["type"], found["id"], found["user"], int(found["start"], 16))


# -- progress -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a task is; per disk where a task copies several."""

    percent: float | None = None
    bytes: int | None = None
    total_bytes: int | None = None


_TRANSFERRED = re.compile(r"^(?:drive-\w+: )?transferred (\S+ \S+) of (\S+ \S+) \((\d+(?:\.\d+)?)%\)")
_WGET = re.compile(r"^\s*\d+K.*?(\d+)%\s+\S+")
_WGET_LENGTH = re.compile(r"^Length: (\d+) ")
_DD = re.compile(r"^\S+ \S+ (\d+) bytes \(.*\) copied, [\d.]+ s, .+$")
_VZDUMP = re.compile(r"^INFO:\s+(\d+)% \((.+) of (.+)\) in .+$")
_RESTORE = re.compile(r"^progress (\d+)% \(read (\d+) bytes, duration \d+ sec\)$")
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50}


def progress(log: Sequence[str]) -> Progress | None:
    """What the tail of a task's log says; None for one that reports nothing (yet)."""
    for number in range(len(log) - 1, -1, -1):
        line = log[number]
        if (found := _TRANSFERRED.match(line)) or (found := _VZDUMP.match(line)):
            return _of_sizes(found)
        if found := _RESTORE.match(line):
            return Progress(percent=float(found[1]), bytes=int(found[2]))
        if found := _WGET.match(line):
            return _of_wget(float(found[1]), log[:number])
        if _DD.match(line):
            return _of_dd(log[: number + 1])
    return None


def _of_sizes(found: re.Match[str]) -> Progress:
    if found.re is _VZDUMP:
        percent, done, total = found.groups()
    else:
        done, total, percent = found.groups()
    return Progress(percent=float(percent), bytes=_size(done), total_bytes=_size(total))


def _size(text: str) -> int | None:
    number, _, unit = text.partition(" ")
    try:
        return int(float(number) * _UNITS[unit])
    except (KeyError, ValueError):
        return None


def _of_wget(percent: float, before: Sequence[str]) -> Progress:
    lengths = [int(found[1]) for line in before if (found := _WGET_LENGTH.match(line))]
    if not lengths:
        return Progress(percent=percent)
    return Progress(percent=percent, bytes=int(lengths[-1] * percent / 100), total_bytes=lengths[-1])


def _of_dd(lines: Sequence[str]) -> Progress:
    # Sender and receiver both print for the same bytes: the larger is what was read.
    return Progress(bytes=max(int(found[1]) for line in lines[-2:] if (found := _DD.match(line))))


# -- a lost task ----------------------------------------------------------------


async def find_task(api: ProxmoxApi, node: str, *, type: str, id: str, since: int) -> TaskRow | None:
    """The newest task of ours on `node` with this type and id, begun at `since` (Unix seconds) or later.

    The node's clock gave the start time, so `since` must leave room for the difference of the clocks.
    """
    user = await api.user()
    rows = await api.tasks(node, type=type, since=since)
    ours = [row for row in rows if row.type == type and row.id == id and row.user == user and row.starttime >= since]
    return max(ours, key=lambda row: row.starttime, default=None)


def upid_of(answer: object) -> Upid:
    """The UPID that a mutation answered with."""
    text = str(answer)
    parse_upid(text)
    return Upid(text)
