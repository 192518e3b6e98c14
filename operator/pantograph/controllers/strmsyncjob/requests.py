"""What people ask for by annotations; each value acts once, and what was obeyed stands in `status.lastHandled`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pantograph.api.meta import GROUP, RECONCILE_AT
from pantograph.api.strmstatus import TOKEN_CHARACTERS, LastHandled
from pantograph.controllers.strmsyncjob.scope import JobScope
from pantograph.controllers.strmsyncjob.wishes import Cause, Wish
from pantograph.strm.subtrees import Subtrees

CANCEL: Final = f"{GROUP}/cancel"
RUN_PATH: Final = f"{GROUP}/run-path"
APPROVE_PRUNE: Final = f"{GROUP}/approve-prune"
APPROVE_REWRITE: Final = f"{GROUP}/approve-rewrite"
REBUILD_MANIFEST: Final = f"{GROUP}/rebuild-manifest"

_FIELDS: Final = {
    RECONCILE_AT: "reconcile_at",
    CANCEL: "cancel",
    APPROVE_PRUNE: "approve_prune",
    APPROVE_REWRITE: "approve_rewrite",
    REBUILD_MANIFEST: "rebuild_manifest",
}
_ANNOTATIONS: Final = {
    Cause.REQUEST: RECONCILE_AT,
    Cause.REBUILD: REBUILD_MANIFEST,
}


class BadPath(ValueError):
    """`run-path` names nothing below the source; the message says why."""


def pending(scope: JobScope, annotation: str) -> str | None:
    """The annotation's value, if it was not obeyed yet."""
    value = scope.object.metadata.annotations.get(annotation, "")[:TOKEN_CHARACTERS]
    return value if value and value != handled(scope, annotation) else None


def handled(scope: JobScope, annotation: str) -> str | None:
    """The value that was obeyed last."""
    done = scope.status.last_handled
    return None if done is None else getattr(done, _FIELDS[annotation])


def obeyed(scope: JobScope, *annotations: str) -> None:
    """Their values as they are now do nothing again."""
    for each in annotations:
        if (value := pending(scope, each)) is not None:
            remember(scope, each, value)


def remember(scope: JobScope, annotation: str, value: str) -> None:
    """This value of the annotation does nothing again."""
    done = scope.status.last_handled or LastHandled()
    scope.status.last_handled = done.model_copy(update={_FIELDS[annotation]: value})


def settled_by(causes: Iterable[Cause]) -> list[str]:
    """The annotations that a run for these causes obeys."""
    return [annotation for cause, annotation in _ANNOTATIONS.items() if cause in causes]


async def requested(scope: JobScope) -> list[Wish]:
    """The runs that people ask for. What cannot be done is said in an Event, once."""
    found = []
    if pending(scope, RECONCILE_AT) is not None:
        try:
            part = run_path(scope.object.metadata.annotations.get(RUN_PATH, ""), source=scope.object.spec.source.path)
            found.append(Wish(trigger="manual", causes=frozenset({Cause.REQUEST}), scope=part))
        except BadPath as error:
            await refuse(scope, RECONCILE_AT, "RunPathInvalid", str(error))
    if pending(scope, REBUILD_MANIFEST) is not None:
        found.append(Wish(trigger="manual", causes=frozenset({Cause.REBUILD}), rebuild_manifest=True))
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


async def refuse(scope: JobScope, annotation: str, reason: str, message: str) -> None:
    """After this the annotation counts as obeyed, and an Event says why nothing was done."""
    obeyed(scope, annotation)
    await say(scope, reason, message)


async def say(scope: JobScope, reason: str, message: str) -> None:
    """Put into an Event what became of something that people asked for."""
    await scope.services.events.record(
        scope.object.info.resource, scope.object.metadata, type="Warning", reason=reason, message=message
    )
