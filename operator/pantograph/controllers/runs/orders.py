"""An order as the runner takes it: the file with both objects, and the words on its command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

import yaml

from pantograph.api.base import Resource
from pantograph.api.dataserver import DataServer
from pantograph.api.meta import to_body
from pantograph.api.units import parse_duration
from pantograph.controllers.runs.port import RunOrder
from pantograph.providers.media.declared import limits_of

SPEC_FILE: Final = "spec.yaml"
CA_FILE: Final = "ca.crt"
TOKEN_FILE: Final = "token"  # noqa: S105 - a file's name

Places = Mapping[str, PurePath]


@dataclass(frozen=True, slots=True)
class NeededSecret:
    """A Secret that a run reads."""

    namespace: str
    name: str
    optional: bool
    """Without it the run does its work and says what it could not do: tell a media server."""


def spec_text(order: RunOrder) -> str:
    """Both objects as one YAML text, without status and what else the API server adds."""
    return yaml.safe_dump_all([_declared(order.server), _declared(order.job)], sort_keys=False, allow_unicode=True)


def limit_of(server: DataServer) -> float | None:
    """The requests a minute that the server takes; None: a folder, which takes what comes."""
    if server.spec.driver == "Local":
        return None
    return float(limits_of(server).requests_per_minute)


def arguments(
    order: RunOrder,
    *,
    folder: PurePath,
    token_file: PurePath,
    report_url: str,
    installation: str,
    roots: Places,
    claims: Places,
    secrets: Places,
) -> list[str]:
    """What follows `pantograph`. `folder` holds `SPEC_FILE` and `CA_FILE`; names map to directories there."""
    words = ["strm", "run", "--json", "--spec", str(folder / SPEC_FILE)]
    words += ["--run", order.id, "--trigger", order.trigger, "--installation", installation]
    words += ["--report", f"{report_url}/v1/runs/{order.id}"]
    words += ["--token-file", str(token_file), "--ca-file", str(folder / CA_FILE)]
    for option, places in (("root", roots), ("claim", claims), ("secret", secrets)):
        words += [word for name, path in places.items() for word in (f"--{option}", f"{name}={path}")]
    # Joined by `=`: a path may begin with a dash.
    words += [f"--path={path}" for path in order.scope]
    if (deadline_s := deadline_of(order)) is not None:
        words += ["--deadline", f"{deadline_s:.0f}s"]
    if order.approve_prune is not None:
        run, digest = order.approve_prune
        words += ["--approve-prune", run, "--approve-digest", digest]
    if order.approve_rewrite is not None:
        words += ["--approve-rewrite", order.approve_rewrite]
    flags = {
        "--shallow": order.shallow,
        "--rebuild-manifest": order.rebuild_manifest,
        "--dry-run": order.dry_run,
        "--purge": order.purge,
        "--expect-records": order.expect_records,
        "--notify-only": order.notify_only,
    }
    return [*words, *(flag for flag, is_set in flags.items() if is_set)]


def deadline_of(order: RunOrder) -> float | None:
    """Seconds after which the run stops by itself."""
    schedule = order.job.spec.schedule
    return parse_duration(schedule.deadline) if schedule and schedule.deadline else None


def secrets_of(order: RunOrder) -> Sequence[NeededSecret]:
    """Every Secret that the run reads, once. A purge reads none."""
    if order.purge:
        return []
    found: dict[tuple[str, str], bool] = {}
    if order.server.spec.credentials_ref is not None:
        found[order.server.metadata.namespace, order.server.spec.credentials_ref.name] = False
    if order.server.spec.tls is not None:
        found[order.server.metadata.namespace, order.server.spec.tls.ca_ref.name] = False
    notify = order.job.spec.notify
    for server in notify.media_servers if notify else []:
        found.setdefault((order.job.metadata.namespace, server.secret_ref.name), True)
    return [NeededSecret(*key, optional) for key, optional in found.items()]


def _declared(obj: Resource[Any, Any]) -> dict[str, Any]:
    resource = obj.info.resource
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": obj.metadata.name, "namespace": obj.metadata.namespace},
        "spec": to_body(obj.spec),
    }
