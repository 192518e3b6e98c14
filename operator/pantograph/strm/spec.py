"""A `StrmSyncJob`'s spec as the numbers, sets and rules that the engine works with."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

from pantograph.api.meta import to_body
from pantograph.api.strmspec import (
    SIDECAR_EXTENSIONS,
    VIDEO_EXTENSIONS,
    DeclaredJob,
    Filter,
    Link,
    Prune,
    Sidecars,
    Sign,
    StrmSyncJobSpec,
    Update,
)
from pantograph.api.units import parse_duration, parse_quantity
from pantograph.strm.filters import FileFilter, PathFilter
from pantograph.strm.folders import MediaServerRules
from pantograph.strm.links import LinkRules
from pantograph.strm.naming import NameRules


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarRules:
    """When a copied file is fetched anew."""

    policy: Literal["IfMissing", "IfNewer", "Overwrite"]
    size_tolerance: int
    time_tolerance_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneRules:
    """What becomes of files without a source, and how many at once."""

    mode: Literal["Off", "Report", "Trash", "Delete"] = "Report"
    max_percent: int = 5
    max_count: int = 500
    confirm_scans: int = 2
    min_age_s: float = 6 * 3600
    trash_retention_s: float = 168 * 3600
    empty_dirs: bool = True
    allow_empty_source: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One source tree, one target tree, and every rule between them."""

    namespace: str
    name: str
    source: str
    """Absolute path on the server, no trailing slash."""
    refresh: bool
    """Past the server's cache."""
    max_depth: int | None
    names: NameRules
    on_collision: Literal["Prefer", "KeepExt", "Fail"]
    file_mode: int
    dir_mode: int
    adopt: bool
    dry_run: bool
    paths: PathFilter
    filter: FileFilter
    links: LinkRules
    sidecars: SidecarRules
    on_foreign: Literal["Keep", "Adopt"]
    verify: Literal["Stat", "Content", "DirMtime"]
    full_every: int
    max_rewrite_percent: int
    mtime_policy: Literal["Now", "Preserve", "Remote"]
    prune: PruneRules
    media_servers: tuple[MediaServerRules, ...]
    """Who is told what changed."""
    shape: str
    """Digest of everything that decides which files are wanted and what they contain."""
    frame: str
    """The same without what links can be made anew from without the source: base, encoding, mapping."""


def compile_job(resource: DeclaredJob) -> Job:
    """The rules that `resource` declares."""
    spec = resource.spec
    chosen, update = spec.filter or Filter(), spec.update or Update()
    target = spec.target
    return Job(
        namespace=resource.metadata.namespace,
        name=resource.metadata.name,
        source=spec.source.path.rstrip("/") or "/",
        refresh=spec.source.refresh == "Always",
        max_depth=spec.source.max_depth,
        names=NameRules(profile=target.name_profile, on_long=target.on_long_name),
        on_collision=target.on_collision,
        file_mode=int(target.file_mode, 8),
        dir_mode=int(target.dir_mode, 8),
        adopt=target.adopt,
        dry_run=spec.dry_run,
        paths=PathFilter(include=chosen.include or (), exclude=chosen.exclude or ()),
        filter=_file_filter(chosen, spec.sidecars),
        links=LinkRules.of(spec.link),
        sidecars=_sidecars(spec.sidecars or Sidecars()),
        on_foreign=target.on_foreign,
        verify=update.verify,
        full_every=update.full_every,
        max_rewrite_percent=update.max_rewrite_percent,
        mtime_policy=update.mtime_policy,
        prune=_prune(spec.prune or Prune(), allow_empty_source=spec.source.allow_empty_source),
        media_servers=_media_servers(spec),
        shape=_digest(_parts(spec, link=_link(spec.link))),
        frame=_digest(_parts(spec, link=[spec.link.mode, (spec.link.sign or Sign()).mode])),
    )


def _file_filter(chosen: Filter, sidecars: Sidecars | None) -> FileFilter:
    extensions = chosen.extensions or VIDEO_EXTENSIONS
    copied = () if sidecars is None else (sidecars.extensions or SIDECAR_EXTENSIONS)
    return FileFilter(
        extensions=tuple(dict.fromkeys(extension.lower() for extension in extensions)),
        min_size=parse_quantity(chosen.min_size) if chosen.min_size else 0,
        sidecars=frozenset(extension.lower() for extension in copied),
        sidecar_max_size=parse_quantity((sidecars or Sidecars()).max_size),
    )


def _sidecars(sidecars: Sidecars) -> SidecarRules:
    return SidecarRules(
        policy=sidecars.policy,
        size_tolerance=parse_quantity(sidecars.size_tolerance),
        time_tolerance_s=parse_duration(sidecars.time_tolerance),
    )


def _prune(prune: Prune, *, allow_empty_source: bool) -> PruneRules:
    return PruneRules(
        mode=prune.mode,
        max_percent=prune.max_percent,
        max_count=prune.max_count,
        confirm_scans=prune.confirm_scans,
        min_age_s=parse_duration(prune.min_age),
        trash_retention_s=parse_duration(prune.trash_retention),
        empty_dirs=prune.empty_dirs,
        allow_empty_source=allow_empty_source,
    )


def _media_servers(spec: StrmSyncJobSpec) -> tuple[MediaServerRules, ...]:
    volume = spec.target.root or spec.target.persistent_volume_claim
    sub_path = volume.sub_path if volume is not None else None
    declared = spec.notify.media_servers if spec.notify is not None else []
    return tuple(MediaServerRules.of(each, sub_path or "") for each in declared)


def _parts(spec: StrmSyncJobSpec, *, link: Any) -> dict[str, Any]:
    return {
        "source": [spec.source.path.rstrip("/"), spec.source.max_depth],
        "target": [spec.target.name_profile, spec.target.on_long_name, spec.target.on_collision],
        "filter": to_body(spec.filter or Filter()),
        "link": link,
        "sidecars": None if spec.sidecars is None else to_body(spec.sidecars),
    }


def _link(link: Link) -> dict[str, Any]:
    return to_body(link) | {"sign": to_body(link.sign or Sign())}


def _digest(parts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
