"""The control groups of one node: a group of its own in the machine's hierarchies, version 1 or 2, gone at the end."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

ROOT = Path("/sys/fs/cgroup")
_PREFIX = "pantograph-node-"
_V1 = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd")
_V2 = {"cpu", "cpuset", "memory", "pids", "io"}
_EMPTY_WITHIN_S = 30.0


def is_v2() -> bool:
    """Whether the machine has the unified hierarchy alone."""
    return (ROOT / "cgroup.controllers").exists()


def refusal() -> str | None:
    """Why a node could not have its groups here, or None."""
    if is_v2():
        lacking = _V2 - set((ROOT / "cgroup.subtree_control").read_text().split())
        if lacking:
            return f"cgroup controllers are not delegated at {ROOT}: echo '+{' +'.join(sorted(lacking))}' > " + (
                f"{ROOT}/cgroup.subtree_control"
            )
    elif absent := [name for name in _V1 if not (ROOT / name / "cgroup.procs").exists()]:
        return f"cgroup hierarchies are not mounted below {ROOT}: {', '.join(absent)}"
    try:
        with own_groups(f"probe-{secrets.token_hex(4)}"):
            return None
    except OSError as error:
        return f"control groups cannot be made: {error}; a container needs {ROOT} writable"


@contextmanager
def own_groups(suffix: str) -> Iterator[str]:
    """A group in each hierarchy, with its name; in the end they are removed, when what ran in them has ended."""
    name = f"{_PREFIX}{suffix}"
    try:
        for parent in _parents():
            (parent / name).mkdir()
            _inherit_cpuset(parent / name)
        yield name
    finally:
        remove(suffix)


def remove(suffix: str) -> None:
    """Remove the groups, once what ran in them has ended. Raises OSError if it does not end."""
    for parent in _parents():
        _remove(parent / f"{_PREFIX}{suffix}")


def processes(name: str) -> set[int]:
    """The processes, as this process namespace numbers them, of all groups below the node's own."""
    return {pid for parent in _parents() for group in _tree(parent / name) for pid in _members(group)}


def left_behind() -> set[str]:
    """The suffixes of the groups that are on the machine now."""
    return {group.name.removeprefix(_PREFIX) for parent in _parents() for group in parent.glob(f"{_PREFIX}*")}


def _parents() -> list[Path]:
    if is_v2():
        return [ROOT]
    # systemd mounts the unified hierarchy beside the others, and runc then makes its groups there, too.
    return [ROOT / name for name in (*_V1, "unified") if (ROOT / name).is_dir()]


def _inherit_cpuset(group: Path) -> None:
    """A new version 1 cpuset is empty, and then refuses processes."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not is_v2() and (group / name).exists():
            (group / name).write_text((group.parent / name).read_text())


def _remove(group: Path) -> None:
    deadline = monotonic() + _EMPTY_WITHIN_S
    for each in reversed(_tree(group)):
        while True:
            try:
                each.rmdir()
                break
            except FileNotFoundError:
                break
            except OSError:
                # What was killed a moment ago is still leaving.
                if monotonic() > deadline:
                    raise
                sleep(0.05)


def _tree(group: Path) -> list[Path]:
    """The group and all below it, parents first."""
    return [Path(folder) for folder, _, _ in os.walk(group)]


def _members(group: Path) -> set[int]:
    try:
        return {int(pid) for pid in (group / "cgroup.procs").read_text().split()}
    except FileNotFoundError:  # a container's group that ended meanwhile
        return set()
