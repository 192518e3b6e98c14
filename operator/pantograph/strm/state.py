"""`.pantograph/` in the target: whose tree this is, that only one run works on it, and where records and trash lie."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from pantograph.providers.media.below import open_below
from pantograph.strm.errors import StrmError
from pantograph.strm.naming import STATE_DIR
from pantograph.strm.target import Target

MANIFEST: Final = "manifest.sqlite"
TRASH: Final = "trash"
TEMPORARY: Final = "tmp"
OWNER: Final = "owner.json"
_ADOPTERS: Final = "adopters.json"
"""The jobs whose word `target.adopt` has counted here."""
PURGED: Final = "purged.json"
"""See `purged.py`."""
LOCK: Final = "lock"


@dataclass(frozen=True, slots=True)
class Owner:
    """Who keeps a target. Not by uid: what is declared in Git comes back as another object."""

    installation: str
    namespace: str
    name: str
    source: str
    """What is mirrored: server, its user's base path, directory."""


def folder_identity(place: str, *, device: str) -> str:
    """What records call a folder of this machine: a root or claim with the path in it, and perhaps its device."""
    return f"Local({place.replace(')', '%29')}) {device} "


_PLACE: Final = re.compile(r"^Local\([^)]*\) ")


class StateDir:
    """The open, locked, owned state of one target."""

    def __init__(self, target: Target, path: Path, fd: int, lock: int) -> None:
        self.path = path
        """By descriptor (`/proc/self/fd/…`), so that nobody can swap it."""
        self.fd = fd
        self._target = target
        self._lock = lock
        self.tmp_fd = self._sub(TEMPORARY)

    @classmethod
    def open(cls, target: Target, owner: Owner, *, adopt: bool | None, above: Path | None = None) -> Self:
        """Take the target for `owner`. `above`: the volume's root; a target inside another job's is refused.

        `adopt`: whether the job's spec says that it may take over what is another's. That counts once: a run uses it
        up, and only one whose spec does not say it gives it back. None: nobody asks the spec.

        Raises StrmError: TargetBusy, TargetOverlaps, OwnedByAnother, SourceChanged.
        """
        _refuse_overlap(target.root, above)
        _refuse_links(target)
        fd = target.open(STATE_DIR, make=True)
        assert fd is not None, "made"
        fd = os.dup(fd)
        lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=fd)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            os.close(fd)
            raise _busy(target.root) from error
        state = cls(target, Path(f"/proc/self/fd/{fd}"), fd, lock)
        try:
            state._take(owner, adopt=adopt)
            state._clean()
        except BaseException:
            state.close()
            raise
        return state

    def close(self) -> None:
        for fd in (self.tmp_fd, self.fd, self._lock):
            os.close(fd)

    @property
    def manifest(self) -> Path:
        return self.path / MANIFEST

    def trash_path(self, run: str) -> str:
        """Where a run's trash lies, relative to the target."""
        return f"{STATE_DIR}/{TRASH}/{run}"

    def set_manifest_aside(self) -> None:
        """A new manifest is begun; the old one stays beside it for whoever wants to look."""
        if self.manifest.exists():
            self.manifest.replace(self.path / f"{MANIFEST}.aside")

    def _sub(self, name: str) -> int:
        fd = self._target.open(f"{STATE_DIR}/{name}", make=True)
        assert fd is not None, "made"
        return os.dup(fd)

    def _take(self, owner: Owner, *, adopt: bool | None) -> None:
        found = _owner_in(self._target.root, self.path)
        adopters, name = _adopters_in(self._target.root, self.path), _names(owner)
        if adopt is False and name in adopters:
            self.write(_ADOPTERS, sorted(adopters - {name}))
        if found is not None:
            refuse_other(self._target.root, found, owner, adopt=bool(adopt), used=name in adopters)
        if (self.path / PURGED).exists():  # of a purge whose result is known by now, or is lost for good
            (self.path / PURGED).unlink()
        if found != owner:
            self.write(OWNER, asdict(owner))
        if adopt and name not in adopters:
            self.write(_ADOPTERS, sorted(adopters | {name}))
        for marker in (".nomedia", ".ignore"):  # for Android, Jellyfin and Emby: nothing to play here
            if not (self.path / marker).exists():
                (self.path / marker).touch()

    def write(self, name: str, content: object) -> None:
        """Store `content` under this name, whole and durably or not at all."""
        fresh = self.path / f"{name}.new"
        with fresh.open("w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=1, ensure_ascii=False))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path / name)
        os.fsync(self.fd)

    def _clean(self) -> None:
        with os.scandir(self.tmp_fd) as left:
            for entry in left:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.name, dir_fd=self.tmp_fd)
                else:
                    os.unlink(entry.name, dir_fd=self.tmp_fd)

    def purge_trash(self, run: str) -> None:
        """Remove a run's trash for good."""
        shutil.rmtree(self.path / TRASH / run, ignore_errors=True)


def copy_manifest(target: Target, owner: Owner, *, adopt: bool | None, above: Path | None, to: Path) -> None:
    """Copy the manifest, if there is one, into the directory `to`, without a write below the target.

    Raises StrmError as `StateDir.open` would.
    """
    _refuse_overlap(target.root, above)
    _refuse_links(target)
    fd = target.open(STATE_DIR)
    if fd is None:
        return
    state = Path(f"/proc/self/fd/{fd}")
    found = _owner_in(target.root, state)
    if found is not None:
        used = _names(owner) in _adopters_in(target.root, state)
        refuse_other(target.root, found, owner, adopt=bool(adopt), used=used)
    with _shared_lock(target.root, fd):
        # The journal undoes what a killed run left half done.
        names = [name for name in (MANIFEST, f"{MANIFEST}-journal") if (state / name).exists()]
        _refuse_without_room(to, sum((state / name).stat().st_size for name in names))
        for name in names:
            shutil.copyfile(state / name, to / name)


def _refuse_without_room(folder: Path, size: int) -> None:
    """For a copy of so many bytes that will grow: as much again, for a run may change every row and journals it."""
    free = shutil.disk_usage(folder).free
    if free < 2 * size:
        raise StrmError(
            "NoRoomForDryRun",
            f"a dry run works on a copy of the records, {size >> 20} MiB and as much again, and {folder.parent} has"
            f" {free >> 20} MiB left",
            remedy="set TMPDIR to a directory with more room",
        )


@contextmanager
def _shared_lock(root: Path, fd: int) -> Iterator[None]:
    try:
        lock = os.open(LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    except FileNotFoundError:  # no run was ever here
        yield
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise _busy(root) from error
    finally:
        os.close(lock)


def _busy(root: Path) -> StrmError:
    return StrmError("TargetBusy", f"another run works on {root}", remedy="wait for it or cancel it")


def read_owner(root: Path, *, above: Path | None = None) -> Owner | None:
    """Whose target this is; None: nobody's, or there is none. No link below the volume `above` is followed.

    Raises StrmError: ManifestUnreadable if the record is torn.
    """
    with state_below(root, above) as state:
        return None if state is None else _owner_in(root, state)


def has_adopted(root: Path, owner: Owner, *, above: Path | None = None) -> bool:
    """Whether the word `target.adopt` of this job has counted here, so that it counts no more."""
    with state_below(root, above) as state:
        return state is not None and _names(owner) in _adopters_in(root, state)


@contextmanager
def state_below(root: Path, above: Path | None) -> Iterator[Path | None]:
    """The state's directory, by descriptor, for reading; None: there is none. Raises StrmError."""
    try:
        fd = open_below(above or root, root / STATE_DIR)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise StrmError("TargetUnusable", f"{root / STATE_DIR} cannot be opened: {error.strerror}") from error
    try:
        yield Path(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _adopters_in(root: Path, state: Path) -> frozenset[str]:
    try:
        return frozenset(json.loads((state / _ADOPTERS).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return frozenset()
    except (ValueError, TypeError) as error:
        record = root / STATE_DIR / _ADOPTERS
        raise StrmError(
            "ManifestUnreadable",
            f"{record} does not say which jobs have taken over this target: {error}",
            remedy=f"see that no job has target.adopt that should not, then rm {record}",
        ) from error


def _owner_in(root: Path, state: Path) -> Owner | None:
    try:
        return Owner(**json.loads((state / OWNER).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        record = root / STATE_DIR / OWNER
        raise StrmError(
            "ManifestUnreadable",
            f"{record} does not say whose target this is: {error}",
            remedy=f"if it is this job's: rm {record}",
        ) from error


def _refuse_links(target: Target) -> None:
    fd = target.open(STATE_DIR)
    if fd is None:
        return
    with os.scandir(fd) as entries:
        links = [entry.name for entry in entries if entry.is_symlink()]
    if links:
        raise StrmError(
            "TargetUnusable",
            f"{target.root / STATE_DIR} holds a symbolic link, {links[0]!r}, that would lead outside",
            remedy=f"look where it leads, then rm {target.root / STATE_DIR / links[0]}",
        )


def _refuse_overlap(root: Path, above: Path | None) -> None:
    if above is None:
        return
    for parent in root.parents:
        if not parent.is_relative_to(above):
            return
        other = read_owner(parent, above=above)
        if other is not None:
            raise StrmError(
                "TargetOverlaps",
                f"target {root} lies inside {parent}, which belongs to {_names(other)}",
                remedy="give every job a directory of its own",
            )


def refuse_other(root: Path, other: Owner, owner: Owner, *, adopt: bool, used: bool) -> None:
    """Raises StrmError, OwnedByAnother or SourceChanged, unless `other`, who keeps the target, is `owner`.

    `adopt`: the spec says that the target may be taken over, which counts once; `used`: it has counted.
    """
    if adopt and not used:
        return
    word = "set target.adopt: true"
    if adopt:
        word = "set target.adopt: false (true has counted already), let a run see that, and set it to true once more"
    if (other.installation, other.namespace, other.name) != (owner.installation, owner.namespace, owner.name):
        raise StrmError(
            "OwnedByAnother",
            f"target {root} belongs to {_names(other)}",
            remedy=f"choose another directory, or, to take it over, {word}",
        )
    # The place was left out once: such a record is taken for this folder's, and written anew.
    if other.source not in (owner.source, _PLACE.sub("Local ", owner.source)):
        raise StrmError(
            "SourceChanged",
            f"target {root} mirrors {other.source}, not {owner.source}",
            remedy=f"check that the server shows the same tree as before, then {word}",
        )


def _names(owner: Owner) -> str:
    return f"{owner.namespace}/{owner.name} of installation {owner.installation}"
