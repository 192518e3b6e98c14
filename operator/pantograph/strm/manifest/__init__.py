"""What we own below the target, what is still to be listed, and what earlier runs saw: SQLite beside the files.

Rollback journal, not WAL: the target may be on a network file system. Links are announced before they are written, and
get their rows once they are durable (`digest`); what a killed run had announced becomes rows of what was intended
(`intent`), which a sidecar has from the beginning. So after a kill at any point a file is known as ours by its content,
and one that holds something else is known to be somebody's.

`Manifest` is the open file; directories, files and frontier have a module each. Runs, candidates and changes are in the
hands of the modules of `pantograph.strm` that are about them, which with the command line are all that import this.
"""

from pantograph.strm.manifest.directories import RETIRED, DirRow, QuietRow
from pantograph.strm.manifest.files import Announced, FileRow, Intent, Record
from pantograph.strm.manifest.frontier import Deferred, FrontierItem
from pantograph.strm.manifest.manifest import Manifest
from pantograph.strm.manifest.marks import Missing

__all__ = [
    "RETIRED",
    "Announced",
    "Deferred",
    "DirRow",
    "FileRow",
    "FrontierItem",
    "Intent",
    "Manifest",
    "Missing",
    "QuietRow",
    "Record",
]
