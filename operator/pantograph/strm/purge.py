"""The end of a job whose `deletionPolicy` is Delete: what we made goes, what people made or changed stays.

Needs no source. May be killed at any moment: the records of a file go after the file, and the owner's name after all
other records, so that the next purge ends what this one began. What it leaves in the end is its result (`purged.py`),
which goes when somebody has recorded it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from pantograph.clock import Clock
from pantograph.strm.changes import Changes
from pantograph.strm.errors import StrmError
from pantograph.strm.faults import fault_of_target
from pantograph.strm.manifest import Manifest
from pantograph.strm.naming import STATE_DIR
from pantograph.strm.purged import Purged, leave_word, read_word
from pantograph.strm.removal import Remover, digest_on_disk, is_gone
from pantograph.strm.report import Issue, Progress, Report
from pantograph.strm.spec import Job
from pantograph.strm.state import LOCK, OWNER, Owner, StateDir, read_owner
from pantograph.strm.target import Target, look
from pantograph.strm.wanted import below

_PAGE: Final = 500
_IN_USE: Final = (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY)
"""Why a directory stays: it holds what is not ours, or is a mount point."""
_FILES: Final = (
    "SELECT f.dir, f.name, d.local FROM files f JOIN dirs d ON d.id=f.dir"
    " WHERE (f.dir, f.name) > (?,?) ORDER BY f.dir, f.name LIMIT ?"
)


async def purge(
    job: Job,
    *,
    run: str,
    root: Path,
    volume: Path | None,
    clock: Clock,
    installation: str = "local",
    expect_records: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Report:
    """Remove what the job made in the target `root`: its unmodified files, its empty directories, its records.

    Only if the records name this job of this `installation`, whatever `target.adopt` says. `expect_records`: the job is
    known to have made files, so that a target without records is none. The report counts what went (`pruned`) and what
    stays because somebody changed it (`skipped`); that of a purge which finds the result of an earlier one is the same.
    `forget_word` is to be called when it is recorded. Raises nothing that the report can say.
    """
    report = Report(run=run, trigger="manual")
    began = clock.monotonic()
    try:
        word = read_word(root, above=volume)
        if word is not None and word.is_of(installation, job.namespace, job.name):
            report.pruned, report.skipped, report.message = word.pruned, word.skipped, _told(word.skipped)
        elif word is None and (root / STATE_DIR).exists():
            with closing(Target(root, above=volume)) as target:
                owner = _owner(root, volume, job, installation)
                with closing(StateDir.open(target, owner, adopt=None, above=volume)) as state:
                    await _Purge(target, state, owner, report, on_progress, cancelled).execute()
        elif expect_records:
            report.result, report.reason, report.remedy = "Failed", "TargetUnusable", f"findmnt --target {root}"
            report.message = (
                f"target {root} holds no records ({STATE_DIR}) of the files that the job has made: it is not mounted,"
                " or somebody removed them"
            )
    except StrmError as error:
        report.fail(error)
    except OSError as error:
        report.fail(fault_of_target(root, error))
    report.duration_s = clock.monotonic() - began
    return report


def _owner(root: Path, volume: Path | None, job: Job, installation: str) -> Owner:
    """Who purges. Which source the records speak of does not matter: nobody will be asked for it."""
    found = read_owner(root, above=volume) or Owner(installation, job.namespace, job.name, "")
    return replace(found, installation=installation, namespace=job.namespace, name=job.name)


@dataclass(slots=True)
class _Purge:
    target: Target
    state: StateDir
    owner: Owner
    report: Report
    on_progress: Callable[[Progress], None]
    cancelled: Callable[[], bool]
    progress: Progress = field(default_factory=lambda: Progress(phase="Prune"))

    async def execute(self) -> None:
        with Manifest(self.state.manifest) as manifest:
            if not await self._remove_files(manifest):
                self.report.result, self.report.reason = "Cancelled", "Cancelled"
                return
            if self.report.failed:
                raise StrmError(
                    "TargetUnusable",
                    f"{self.report.failed} files cannot be removed, so the records stay: {self.report.first_failure}",
                    remedy=f"ls -ld {self.target.root} shows whose they are; the next purge goes on there",
                )
            self._remove_directories(manifest)
        self._remove_records()
        self.report.message = _told(self.report.skipped)

    async def _remove_files(self, manifest: Manifest) -> bool:
        """Whether all were looked at."""
        remover = Remover(
            target=self.target,
            state=self.state,
            manifest=manifest,
            report=self.report,
            changes=Changes(manifest),
            trash=False,
            run=self.report.run,
        )
        for page in _pages(manifest):
            if self.cancelled():
                return False
            for directory, name, local in page:
                self._remove(manifest, remover, directory, name, local)
            manifest.commit()
            self.progress.files_seen += len(page)
            self.on_progress(self.progress)
            await asyncio.sleep(0)  # whoever reports for this process has its turn
        return True

    def _remove(self, manifest: Manifest, remover: Remover, directory: int, name: str, local: str) -> None:
        row = manifest.files.at(directory, name)
        assert row is not None, "read a moment ago, and nobody else has the records"
        try:
            digest = digest_on_disk(self.target, local, name)
        except OSError as error:
            remover.keep(local, name, error)
            return
        if digest is not None and row.owns(digest):
            self.report.pruned += remover.remove(directory, name, digest)
        elif self._is_there(local, name):
            self.report.skipped += 1
            self.report.note(Issue("Modified", below(local, name), "somebody changed it: it stays"))

    def _is_there(self, local: str, name: str) -> bool:
        try:
            fd = self.target.open(local)
            return fd is not None and look(fd, name) is not None
        except OSError as error:
            if not is_gone(error):
                raise
            return False

    def _remove_directories(self, manifest: Manifest) -> None:
        """Ours and empty, the deepest first."""
        made = [str(row[0]) for row in manifest.select("SELECT DISTINCT local FROM dirs WHERE made")]
        self.target.forget()
        for local in sorted(made, key=lambda each: each.count("/"), reverse=True):
            above, _, name = local.rpartition("/")
            try:
                fd = self.target.open(above)
                if fd is not None:
                    os.rmdir(name, dir_fd=fd)
            except OSError as error:
                if not is_gone(error) and error.errno not in _IN_USE:
                    raise
            self.target.forget()

    def _remove_records(self) -> None:
        """The trash first, the owner's name last; the result takes their place."""
        found = set(os.listdir(self.state.path)) - {LOCK}  # noqa: PTH208 - by descriptor
        for name in sorted(found, key=lambda each: each == OWNER):
            path = self.state.path / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        of, report = self.owner, self.report
        word = Purged(
            installation=of.installation,
            namespace=of.namespace,
            name=of.name,
            pruned=report.pruned,
            skipped=report.skipped,
        )
        leave_word(self.state, word)
        (self.state.path / LOCK).unlink()


def _told(skipped: int) -> str:
    return f"{skipped} files stay: somebody changed them" if skipped else ""


def _pages(manifest: Manifest) -> Iterator[list[tuple[Any, ...]]]:
    """By key, for rows go while they are read."""
    after: tuple[int, str] = (-1, "")
    while page := list(manifest.select(_FILES, (*after, _PAGE))):
        yield page
        after = page[-1][:2]
