"""What people ask for by annotations; each value acts once, and what was obeyed stands in `status.lastHandled`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pantograph.api.meta import GROUP, RECONCILE_AT
from pantograph.api.strmstatus import TOKEN_CHARACTERS, LastHandled, RunSummary
from pantograph.controllers.strmsyncjob.scope import JobScope
from pantograph.controllers.strmsyncjob.wishes import Cause, Wish
from pantograph.strm.subtrees import Subtrees

CANCEL: Final = f"{GROUP}/cancel"
RUN_PATH: Final = f"{GROUP}/run-path"
APPROVE_PRUNE: Final = f"{GROUP}/approve-prune"
APPROVE_REWRITE: Final = f"{GROUP}/approve-rewrite"
REBUILD_MANIFEST: Final = f"{GROUP}/rebuild-manifest"

REWRITE_LIMIT: Final = "RewriteLimit"
"""Reason of a run that asks whether it may rewrite so much."""

_FIELDS: Final = {
    RECONCILE_AT: "reconcile_at",
    CANCEL: "cancel",
    APPROVE_PRUNE: "approve_prune",
    APPROVE_REWRITE: "approve_rewrite",
    REBUILD_MANIFEST: "rebuild_manifest",
}
_ANNOTATIONS: Final = {
    Cause.REQUEST: RECONCILE_AT,
    Cause.APPROVE_PRUNE: APPROVE_PRUNE,
    Cause.APPROVE_REWRITE: APPROVE_REWRITE,
    Cause.REBUILD: REBUILD_MANIFEST,
}


class BadPath(ValueError):
    """`run-path` names nothing below the source; the message says why."""


def pending(scope: JobScope, annotation: str) -> str | None:
    """The annotation's value, if it was not obeyed yet."""
    value = scope.object.metadata.annotations.get(annotation, "")[:TOKEN_CHARACTERS]
    handled = scope.status.last_handled
    done = None if handled is None else getattr(handled, _FIELDS[annotation])
    return value if value and value != done else None


def obeyed(scope: JobScope, *annotations: str) -> None:
    """Their values as they are now do nothing again."""
    values = {_FIELDS[each]: value for each in annotations if (value := pending(scope, each)) is not None}
    if values:
        scope.status.last_handled = (scope.status.last_handled or LastHandled()).model_copy(update=values)


def settled_by(causes: Iterable[Cause]) -> list[str]:
    """The annotations that a run for these causes obeys."""
    return [annotation for cause, annotation in _ANNOTATIONS.items() if cause in causes]


async def requested(scope: JobScope) -> list[Wish]:
    """The runs that people ask for. What cannot be done is said in an Event, once."""
    found = []
    if pending(scope, RECONCILE_AT) is not None:
        try:
            part = run_path(scope.object.metadata.annotations.get(RUN_PATH, ""), source=scope.object.spec.source.path)
            found.append(_wish(Cause.REQUEST, scope=part))
        except BadPath as error:
            await _refuse(scope, RECONCILE_AT, "RunPathInvalid", str(error))
    if (run := pending(scope, APPROVE_PRUNE)) is not None:
        if (digest := _digest_of(scope, run)) is not None:
            found.append(_wish(Cause.APPROVE_PRUNE, approve_prune=(run, digest)))
        else:
            message = f"run {run!r} has listed no candidates, or is no longer in status.history: nothing is approved"
            await _refuse(scope, APPROVE_PRUNE, "ApprovalUnknown", message)
    if (run := pending(scope, APPROVE_REWRITE)) is not None:
        asked = scope.status.blocked
        known = [(each.id, each.reason) for each in _approvable(scope)]
        if (run, REWRITE_LIMIT) in [*known, *([(asked.run, asked.reason)] if asked is not None else [])]:
            found.append(_wish(Cause.APPROVE_REWRITE, approve_rewrite=run))
        else:
            message = f"run {run!r} has not asked to rewrite, or is no longer in status.history: nothing is approved"
            await _refuse(scope, APPROVE_REWRITE, "ApprovalUnknown", message)
    if pending(scope, REBUILD_MANIFEST) is not None:
        found.append(_wish(Cause.REBUILD, rebuild_manifest=True))
    return found


def run_path(text: str, *, source: str) -> Subtrees:
    """`run-path` as a part of the source: below it, or as the server's own absolute path. Raises BadPath."""
    if not text.strip("/"):
        return Subtrees()
    root = source.rstrip("/")
    if text.startswith("/") and text.rstrip("/") == root:
        return Subtrees()
    if text.startswith("/") and not text.startswith(f"{root}/"):
        raise BadPath(f"{RUN_PATH} {text!r} does not lie below spec.source.path {source!r}")
    relative = text[len(root) + 1 :] if text.startswith("/") else text
    parts = [part for part in relative.split("/") if part]
    if any(part in (".", "..") for part in parts) or len(text) > 1024 or not text.isprintable():
        raise BadPath(f"{RUN_PATH} {text[:256]!r} is no path below spec.source.path")
    return Subtrees(("/".join(parts),))


def _wish(
    cause: Cause,
    *,
    scope: Subtrees | None = None,
    approve_prune: tuple[str, str] | None = None,
    approve_rewrite: str | None = None,
    rebuild_manifest: bool = False,
) -> Wish:
    return Wish(
        trigger="manual",
        causes=frozenset({cause}),
        scope=scope or Subtrees(),
        approve_prune=approve_prune,
        approve_rewrite=approve_rewrite,
        rebuild_manifest=rebuild_manifest,
    )


def _digest_of(scope: JobScope, run: str) -> str | None:
    """The digest of the candidates that this run listed."""
    asked = scope.status.blocked
    if asked is not None and asked.run == run and asked.candidates_digest is not None:
        return asked.candidates_digest
    return next((each.candidates_digest for each in _approvable(scope) if each.id == run), None)


def _approvable(scope: JobScope) -> list[RunSummary]:
    """Runs whose word is in the target's records: a dry run leaves none there."""
    last, history = scope.status.last_run, scope.status.history or []
    runs: list[RunSummary] = [*([last] if last is not None else []), *history]
    return [each for each in runs if not each.dry_run]


async def _refuse(scope: JobScope, annotation: str, reason: str, message: str) -> None:
    obeyed(scope, annotation)
    await scope.services.events.record(
        scope.object.info.resource, scope.object.metadata, type="Warning", reason=reason, message=message
    )
