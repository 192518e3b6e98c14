"""What a directory that has another name in the target by now still has to wait for: its files under the new name.

The spec explains why nothing is wanted under the old name, but not that the new one holds what the old one did: its
listing may have failed, or have come empty.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pantograph.strm.manifest import RETIRED, DirRow, FileRow, Manifest
from pantograph.strm.target import Target, scan_all

_RETIRED: Final = re.compile(f"(?:{RETIRED}[0-9]+/)+")
"""What begins the path of a directory that was retired, once or with those above it."""


@dataclass(frozen=True, slots=True)
class Successor:
    """The directory that has the same path in the source, as this run left it."""

    made: frozenset[tuple[str, str]]
    """Kind and remote name of the files that are there under the new name."""
    proved: bool
    """This run listed it to its end, or, if the source has it no more, the nearest above it."""

    def has(self, row: FileRow) -> bool:
        """Whether nothing is lost with the old file."""
        return (row.kind, row.remote) in self.made


def successor_of(manifest: Manifest, target: Target | None, path: str, *, run: int) -> Successor | None:
    """Of the directory with this path in the records; None: it was not retired. `target` None: in a dry run, for which
    is there what it would have made.
    """
    if not path.startswith(RETIRED):
        return None
    path = _RETIRED.sub("", path, count=1)
    row = manifest.directories.at(path)
    files = {} if row is None else manifest.files.of(row.id)
    there = files.keys() if row is None or target is None else _files_in(target, row.local)
    made = ((file.kind, file.remote) for name, file in files.items() if file.digest is not None and name in there)
    return Successor(frozenset(made), _proved_run(manifest, path) == run)


def _files_in(target: Target, local: str) -> set[str]:
    """What fails to answer holds nothing for certain."""
    try:
        fd = target.open(local)
        return set() if fd is None else {name for name, each in scan_all(fd).items() if each.regular}
    except OSError:
        return set()


def _proved_run(manifest: Manifest, path: str) -> int | None:
    """The last run that listed the directory to its end; or, if the source has it no more, the nearest above it."""
    nearest: DirRow | None = None
    while True:
        row = manifest.directories.at(path)
        if row is not None and row.missing is not None:
            nearest = None  # gone, with all below
        elif nearest is None:
            nearest = row
        if not path:
            return None if nearest is None else nearest.proved_run
        path = path.rpartition("/")[0]
