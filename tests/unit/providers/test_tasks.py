"""UPIDs, progress out of real logs, and lost tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from pantograph.providers.errors import ProtocolError
from pantograph.providers.proxmox.port import ProxmoxApi, TaskRow, Upid
from pantograph.providers.proxmox.tasks import Progress, find_task, parse_upid, progress


def test_a_upid_says_who_runs_what_since_when() -> None:
    parts = parse_upid("UPID:pve2:00007C71:0002EDE3:6B0333A8:download:dl.qcow2:op@pve!tok:")
    assert (parts.node, parts.type, parts.id, parts.user) == ("pve2", "download", "dl.qcow2", "op@pve!tok")
    assert parts.starttime == 0x6B0333A8


def test_a_upid_may_have_no_id_and_a_long_pstart() -> None:
    assert parse_upid("UPID:pve1:00005C4B:00002AF18:6B033306:imgcopy::op@pve!tok:").id == ""


@pytest.mark.parametrize("text", ["OK", "", "UPID:pve1:x", "UPID:pve1:00005C4B:0002AF18:6B033306:qmcreate:1:op@pve"])
def test_anything_else_is_no_upid(text: str) -> None:
    with pytest.raises(ProtocolError, match="where a task's UPID was expected"):
        parse_upid(text)


MIB, GIB = 2**20, 2**30


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (["create full clone of drive (local:import/tpl.qcow2)"], None),
        (["transferred 0.0 B of 1.0 GiB (0.00%)"], Progress(0.0, 0, GIB)),
        (
            ["transferred 0.0 B of 1.0 GiB (0.00%)", "transferred 512.0 MiB of 1.0 GiB (50.00%)"],
            Progress(50.0, 512 * MIB, GIB),
        ),
        (
            ["transferred 1.0 GiB of 1.0 GiB (100.00%)", "scsi0: successfully created disk 'local:1/vm-1-disk-0.raw'"],
            Progress(100.0, GIB, GIB),
        ),
        (["drive-scsi0: transferred 1.0 MiB of 4.0 MiB (25.00%) in 3s, still busy"], Progress(25.0, MIB, 4 * MIB)),
        (
            [
                "Length: 67436544 (64M) [application/octet-stream]",
                "     0K ........ ........ ........ ........ 49% 77.1M 0s",
            ],
            Progress(49.0, 33043906, 67436544),
        ),
        ([" 32768K ........ ........ ........ ........ 99%  107M 0s"], Progress(99.0)),
        ([" 65536K                                    100%  262M=0.7s"], Progress(100.0)),
        (
            [
                "2026-11-22 18:31:25 167776256 bytes (168 MB, 160 MiB) copied, 6 s, 27.6 MB/s",
                "2026-11-22 18:31:25 163577856 bytes (164 MB, 156 MiB) copied, 6 s, 27.6 MB/s",
            ],
            Progress(bytes=167776256),
        ),
        (
            ["INFO:   3% (1.2 GiB of 32.0 GiB) in 3s, read: 409.6 MiB/s, write: 1 MiB/s"],
            Progress(3.0, 1288490188, 32 * GIB),
        ),
        (["progress 1% (read 343605248 bytes, duration 2 sec)"], Progress(1.0, 343605248)),
        (["rescan volumes...", "TASK OK"], None),
        ([], None),
    ],
)
def test_progress_is_what_the_last_telling_line_says(log: list[str], expected: Progress | None) -> None:
    assert progress(log) == expected


class Lists:
    """A node's task list."""

    def __init__(self, *rows: TaskRow) -> None:
        self.rows = rows

    async def user(self) -> str:
        return "op@pve!tok"

    async def tasks(self, node: str, *, type: str | None = None, since: int | None = None) -> Sequence[TaskRow]:
        return [row for row in self.rows if row.node == node]


def task(start: int, *, type: str = "qmcreate", id: str = "120", user: str = "op@pve!tok") -> TaskRow:
    return TaskRow(Upid(f"UPID:{start}"), "pve1", type, id, user, start, running=True)


async def test_a_lost_task_is_found_by_type_id_user_and_time() -> None:
    lists = Lists(
        task(50), task(110), task(120), task(130, id="121"), task(140, type="qmdestroy"), task(150, user="ann@pam")
    )
    found = await find_task(cast(ProxmoxApi, lists), "pve1", type="qmcreate", id="120", since=100)
    assert found is not None
    assert found.starttime == 120


async def test_a_task_from_before_is_not_ours() -> None:
    assert await find_task(cast(ProxmoxApi, Lists(task(99))), "pve1", type="qmcreate", id="120", since=100) is None
