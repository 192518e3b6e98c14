"""A dry run: the same run on a copy of the records, outside the target, with a hand that only tells.

Nothing is written below the target, not even in `.pantograph/`; so a dry run proves, confirms and approves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pantograph.providers.media.port import Entry, MediaSource
from pantograph.strm.merge import digest_of
from pantograph.strm.report import Issue, Report
from pantograph.strm.state import MANIFEST, Owner, copy_manifest
from pantograph.strm.target import OnDisk, Target
from pantograph.strm.wanted import WantedFile, below
from pantograph.strm.writing import Staged


@contextmanager
def rehearsed(
    root: Path, owner: Owner, *, adopt: bool | None, above: Path | None, rebuild: bool
) -> Iterator[tuple[Target, Path]]:
    """The target, for reading, and the path of a manifest that may be changed: it goes with the dry run.

    `rebuild`: as if there were no manifest. Raises StrmError as a run would.
    """
    with TemporaryDirectory(prefix="pantograph-") as folder:
        records, place = Path(folder), root
        if not root.exists():  # a run would make it
            place, above = records / "target", None
            place.mkdir()
        with closing(Target(place, above=above)) as target:
            copy_manifest(target, owner, adopt=adopt, above=above, to=records)
            if rebuild:
                for copied in records.glob(f"{MANIFEST}*"):
                    copied.unlink()
            yield target, records / MANIFEST


class Teller:
    """The hand that makes nothing, and tells the first files that it would make."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def make_directory(self, _directory: str, _links: Sequence[WantedFile]) -> None:
        """Each file is told of."""

    def stage(self, content: bytes, digest: bytes) -> Staged:
        return Staged(digest, OnDisk(True, len(content), 0))

    async def fetch(self, source: MediaSource, entry: Entry) -> Staged:
        """Asks nobody: the content stays unknown."""
        return Staged(digest_of(b""), OnDisk(True, entry.size_bytes or 0, 0))

    def discard(self) -> None:
        """Nothing is ever ready."""

    def place(self, staged: Staged, directory: str, name: str, *, expected: OnDisk | None, remote: Entry) -> OnDisk:
        what = f"{'a new file' if expected is None else 'another content'} of {staged.state.size} bytes"
        would = Issue("WouldCreate" if expected is None else "WouldUpdate", below(directory, name), what)
        self._report.note(would)
        return staged.state
