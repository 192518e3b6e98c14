"""What is declared of a `StrmSyncJob`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pantograph.api.declaration import CommonSpec, Declaration
from pantograph.api.execution import Execution
from pantograph.api.markers import Atomic, ListSet, exactly_one_of, stays_below
from pantograph.api.meta import (
    CelRule,
    Duration,
    Model,
    Name,
    ObjectReference,
    Quantity,
)
from pantograph.api.notify import Notify
from pantograph.api.strmschedule import Schedule, WatchSettings

RemotePath = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^/[^\x00-\x1f]*$")]
"""An absolute path on the data server, not percent-encoded."""
SubPath = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^/\x00-\x1f][^\x00-\x1f]*$")]
"""A path below a volume; no segment may be `.` or `..`."""
Extension = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[A-Za-z0-9]+$")]
"""A file name's extension without its dot, in any case."""
PathPattern = Annotated[str, Field(min_length=1, max_length=512)]
HttpBase = Annotated[str, Field(min_length=8, max_length=300, pattern=r"^https?://[^\s?#]+$")]
FileMode = Annotated[str, Field(max_length=4, pattern=r"^0?[0-7]{3}$")]
RootName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]

VIDEO_EXTENSIONS = ("mkv", "iso", "ts", "mp4", "avi", "rmvb", "wmv", "m2ts", "mpg", "flv", "rm", "mov")
SIDECAR_EXTENSIONS = ("nfo", "jpg", "jpeg", "png", "svg", "ass", "srt", "sup", "ssa")


class StrmSource(Model):
    """The tree that is mirrored."""

    path: RemotePath
    """The directory on the server."""
    max_depth: Annotated[int, Field(ge=0, le=64)] | None = None
    """How many levels of directories below `path` are listed; `0`: only `path` itself; absent: all. What lies deeper
    is neither made nor pruned."""
    allow_empty_source: bool = False
    """Whether an empty `path` may be believed. It still needs the confirmations and limits of `prune`."""
    refresh: Literal["Never", "Always"] = "Never"
    """Whether directories are listed past the server's cache (OpenList, CloudDrive2). `Always` needs the right to write
    there, and asks the cloud itself for every directory, which it may answer with a ban."""


class ClaimVolume(Model):
    """A PersistentVolumeClaim in this namespace."""

    cel: ClassVar = (stays_below("subPath"),)

    claim_name: Name
    sub_path: SubPath | None = None
    """The directory in the volume; absent: the whole of it."""


class RootVolume(Model):
    """A directory that the chart mounted into the operator under a name."""

    cel: ClassVar = (stays_below("subPath"),)

    name: RootName
    sub_path: SubPath | None = None
    """The directory below the root; absent: the root itself."""


class Target(Model):
    """Where the `.strm` files go: a claim (each run is a Kubernetes Job) or a root (a process of the operator). The job
    keeps its records there in `.pantograph/`."""

    cel: ClassVar = (exactly_one_of("persistentVolumeClaim", "root"),)

    persistent_volume_claim: ClaimVolume | None = None
    root: RootVolume | None = None
    file_mode: FileMode = "0644"
    """Mode of the files that are made, octal."""
    dir_mode: FileMode = "0755"
    """Mode of the directories that are made, octal."""
    name_profile: Literal["Posix", "Portable"] = "Posix"
    """`Portable` replaces what Windows and SMB refuse in names, and takes names that differ only in case as equal."""
    on_long_name: Literal["Skip", "TruncateHash"] = "Skip"
    """What becomes of a name longer than 255 bytes: left out and reported, or cut and told apart by a hash."""
    on_collision: Literal["Prefer", "KeepExt", "Fail"] = "Prefer"
    """When `a.mkv` and `a.mp4` both want `a.strm`: the larger wins (then the earlier extension, then the name); or all
    files keep their extensions (`a.mkv.strm`, with `a.mkv.srt` for `a.srt`); or neither is made."""
    on_foreign: Literal["Keep", "Adopt"] = "Keep"
    """What becomes of somebody else's `.strm` that has a wanted file's name and another content: it stays and is told,
    or it is written anew (`update.maxRewritePercent` counts it) and is the job's from then on."""
    adopt: bool = False
    """Take over the records that another job, or this one with another source, left in the target. Look first whether
    the source shows the same tree. It counts for the first run that finds it; before it counts once more, a run must
    have found it false."""


class Filter(Model):
    """Which files are mirrored."""

    extensions: Annotated[list[Extension], Field(min_length=1, max_length=64), Atomic()] | None = None
    """Of files that get a `.strm`, without dots, in order of preference; absent: mkv, iso, ts, mp4, avi, rmvb, wmv,
    m2ts, mpg, flv, rm, mov."""
    min_size: Quantity | None = None
    """Smaller files are left out; files of unknown size are not."""
    include: Annotated[list[PathPattern], Field(min_length=1, max_length=64), ListSet()] | None = None
    """Patterns as in `exclude`; only what one of them matches, with all that is below, is mirrored. Directories that
    can hold nothing of it are not listed. Absent: everything."""
    exclude: Annotated[list[PathPattern], Field(max_length=64), ListSet()] | None = None
    """Patterns of paths left out with all that is below. Whole segments: `Sample` matches a file or directory of that
    name anywhere, `Shows/*/Extras` is relative to `source.path`, `**` stands for any number of segments."""


class PathMapping(Model):
    """One prefix for another, by whole segments."""

    prefix: RemotePath = Field(alias="from")
    """Such as `/115`."""
    to: Annotated[str, Field(max_length=1024)]
    """Such as `/cloud`; may be empty."""


class Replacement(Model):
    """One text for another, literally."""

    text: Annotated[str, Field(min_length=1, max_length=512)] = Field(alias="from")
    """What is replaced, wherever it stands in the path."""
    to: Annotated[str, Field(max_length=512)]
    """What stands in its place; may be empty."""


class Sign(Model):
    """The signature of a URL, for servers that ask for one (OpenList)."""

    mode: Literal["FromListing", "Compute", "None"] = "FromListing"
    """The one that the server's listing gives, if it gives one; or made here, never to expire, by the server's admin
    token, which the DataServer's Secret must hold as `token`; or none."""
    renew_before: Duration = "72h"
    """A signature that expires sooner than this is renewed."""


class Link(Model):
    """What a `.strm` contains: one line, no newline."""

    cel: ClassVar = (
        CelRule("self.mode != 'Http' || has(self.publicBase)", "link.mode Http needs link.publicBase"),
        CelRule("self.mode != 'Mount' || has(self.mountPrefix)", "link.mode Mount needs link.mountPrefix"),
    )

    mode: Literal["Http", "Mount"] = "Http"
    """A URL on the data server, or a path where the player has it mounted."""
    public_base: HttpBase | None = None
    """The server as players see it, such as `http://openlist.lan:5244`."""
    prefix: Annotated[str, Field(max_length=128, pattern=r"^(/[A-Za-z0-9._~-]+)*$")] | None = None
    """Between base and path; absent: the server's own (`/d` for OpenList)."""
    encoding: Literal["Path", "Minimal", "None"] = "Path"
    """How each segment of a URL is percent-encoded, once: as the server itself does, only `% ? #`, or not at all."""
    sign: Sign | None = None
    """Absent: as the server's listing gives it."""
    equivalent_bases: Annotated[list[HttpBase], Field(max_length=16), ListSet()] | None = None
    """Other bases that serve the same paths: a file that has one of them is left as it is."""
    mount_prefix: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^/[^\x00-\x1f]*$")] | None = None
    """Where players have the server's root mounted, such as `/mnt/openlist`."""
    path_map: Annotated[list[PathMapping], Field(max_length=32), Atomic()] | None = None
    """Applied to the path before it is encoded; the first that fits."""
    replace: Annotated[list[Replacement], Field(max_length=32), Atomic()] | None = None
    """Applied to the path after `pathMap`, all of them in order."""


class Sidecars(Model):
    """Files copied beside the `.strm`: subtitles, nfo, images."""

    extensions: Annotated[list[Extension], Field(min_length=1, max_length=64), Atomic()] | None = None
    """Without dots; absent: nfo, jpg, jpeg, png, svg, ass, srt, sup, ssa."""
    policy: Literal["IfMissing", "IfNewer", "Overwrite"] = "IfMissing"
    """`IfMissing`: a file that exists is left. `IfNewer`: our own unmodified copy follows the server's. `Overwrite`:
    also a file that somebody else put there or changed."""
    max_size: Quantity = "20Mi"
    """Larger files, and those of unknown size, are left out."""
    size_tolerance: Quantity = "0"
    """Sizes that differ by no more count as equal."""
    time_tolerance: Duration = "2s"
    """Times that differ by no more count as equal."""


class Update(Model):
    """How existing files are compared and rewritten."""

    verify: Literal["Stat", "Content", "DirMtime"] = "Stat"
    """How a file is known to be as we left it: by size and time, or by reading it. `DirMtime`: as `Stat`, and a
    directory without subdirectories is not even listed while its time on the server, and that of its copy, are
    unchanged; only where the server's times can be trusted (`Local` on a local file system), otherwise as `Stat`."""
    full_every: Annotated[int, Field(ge=1, le=1000)] = 10
    """Of so many runs with `DirMtime` one lists every directory: a file that changed in place bumps no time."""
    max_rewrite_percent: Annotated[int, Field(ge=0, le=100)] = 50
    """A run that would rewrite more of the existing `.strm` stops before it rewrites the first, and asks: annotate
    `pantograph.dev/approve-rewrite`."""
    mtime_policy: Literal["Now", "Preserve", "Remote"] = "Now"
    """The time of a file that is written: now, the old file's, or that of the file on the server."""


class Prune(Model):
    """What becomes of files whose source is gone. Only files that the job made and nobody changed, below directories
    that were listed to the end, are ever candidates."""

    mode: Literal["Off", "Report", "Trash", "Delete"] = "Report"
    """Nothing is looked for; or candidates are only told; or moved into the trash; or removed for good."""
    max_percent: Annotated[int, Field(ge=0, le=100)] = 5
    """A run that would remove a greater share of the job's files removes none and asks: annotate
    `pantograph.dev/approve-prune`. The smaller of the two limits holds; of fewer than 20 files, one may go."""
    max_count: Annotated[int, Field(ge=0, le=1_000_000)] = 500
    """The same, as a number of files."""
    confirm_scans: Annotated[int, Field(ge=1, le=100)] = 2
    """How many further complete listings, well apart, must agree that a directory is gone or lost everything."""
    min_age: Duration = "6h"
    """How long that must have been so."""
    trash_retention: Duration = "168h"
    """How long what a run moved into the trash is kept there."""
    empty_dirs: bool = True
    """With Trash and Delete: remove directories that the job made and that are empty."""


class StrmSyncJobSpec(CommonSpec):
    """A media tree and the directory of `.strm` files that mirrors it."""

    server_ref: ObjectReference
    """The DataServer. One in another namespace must allow it, and then the target must be a root."""
    source: StrmSource
    target: Target
    filter: Filter | None = None
    link: Link
    sidecars: Sidecars | None = None
    """Absent: none are copied."""
    update: Update | None = None
    prune: Prune | None = None
    execution: Execution | None = None
    """How the Pods of runs are made, if the target is a PersistentVolumeClaim."""
    notify: Notify | None = None
    """Absent: nobody is told."""
    schedule: Schedule | None = None
    """When runs begin by themselves. Without it the job runs when it is made, when its spec changes, and on request."""
    watch: WatchSettings | None = None
    """Absent: changes on the server are not followed."""
    dry_run: bool = False
    """Runs only tell what they would do: nothing is written below the target, not even the job's records, so nothing
    that they list can be approved."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """What becomes of the files when this object is deleted: they stay, or those that the job made and nobody changed
    are removed, and the trash with them."""


DeclaredJob = Declaration[StrmSyncJobSpec]
"""All that the engine reads of a job."""
