"""The steps that bring the master image into the depot, verified, and give the template its revision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pantograph.api import operation as records
from pantograph.api.conditions import STALLED, find
from pantograph.api.meta import Key
from pantograph.api.operation import Operation
from pantograph.api.units import parse_quantity
from pantograph.api.vmtemplate import ImageStatus
from pantograph.controllers import operations
from pantograph.controllers.operations import Report
from pantograph.controllers.secrets import read_secret, read_secret_key
from pantograph.controllers.vmtemplate.revision import revision_of
from pantograph.controllers.vmtemplate.scope import TemplateScope
from pantograph.depot.model import FetchRequest, Image
from pantograph.depot.port import ImageDepot
from pantograph.engine.errors import Terminal, Waiting

FETCH: Final = "Fetch"
REFUSAL_LASTS: Final = timedelta(hours=6)
"""So long an image that was refused is not asked for again, unless the spec changes or a person asks."""
_REFUSALS: Final = ("DiskTooSmall", "SourceGone")


def owner_of(key: Key) -> str:
    """What the depot calls this template."""
    return f"{key.namespace}/{key.name}"


async def resolve_source(scope: TemplateScope) -> None:
    """After this it is known what to fetch, and with which headers."""
    http = scope.object.spec.source.http
    headers: dict[str, str] = {}
    if http.headers_from is not None and _needs_image(scope):
        _, headers = await read_secret(scope.kube, scope.object.metadata.namespace, http.headers_from.name)
    scope.request = FetchRequest(
        url=http.url, checksum=http.checksum, headers=headers, scope=scope.object.metadata.namespace
    )


async def ensure_image(scope: TemplateScope) -> None:
    """After this the image is known, and in the depot while a place still needs it.

    A fetch is this template's operation; its handle is the fetch's key, so equal fetches share one download and a
    fetch is found again after a restart. When the operation began is when the image was wished for: what the origin
    served before does not count, unless a checksum says that it is the same.
    """
    depot, owner = scope.outside.depot, owner_of(scope.key)
    ended = await operations.settle(scope, FetchFollower(depot, scope.request, owner))
    if not _needs_image(scope):
        _keep(scope)
        return
    followed = ended is not None and ended.handle == scope.request.key
    state = depot.state(scope.request, since=ended.started_at if ended and followed else _wished_at(scope))
    if state is not None and state.image is not None:
        _take(scope, state.image)
        _keep(scope)
        return
    operation = records.intend(FETCH, uid=scope.object.metadata.uid, generation=scope.generation, now=scope.now)

    async def fetch() -> str:
        depot.begin(scope.request, owner=owner, since=operation.started_at)
        return scope.request.key

    await operations.begin(scope, operation, fetch)


async def stop_fetch(scope: TemplateScope) -> None:
    """After this nothing is fetched for this template alone."""
    scope.outside.depot.abandon(owner_of(scope.key))
    scope.status.operation = None


async def ensure_revision(scope: TemplateScope) -> None:
    """After this the template has a revision: a name for what copies cannot change in place."""
    image = scope.status.image
    assert image is not None, "ensure_image has made sure"
    scope.status.revision = revision_of(image.served_digest, scope.object.spec.hardware)


async def ensure_password_known(scope: TemplateScope) -> None:
    """After this the status tells, without giving it away, whether the cloud-init password has changed."""
    cloud_init = scope.object.spec.cloud_init
    if cloud_init is None or cloud_init.password_from is None:
        scope.status.password_fingerprint = None
        return
    try:
        password = await read_secret_key(scope.kube, scope.object.metadata.namespace, cloud_init.password_from)
    except Waiting as missing:
        if scope.status.password_fingerprint is None:
            raise
        # The copies have it already, and are none the worse for it.
        scope.set_condition("PasswordMissing", True, reason=missing.reason, message=missing.message)
        return
    scope.drop_condition("PasswordMissing")
    scope.status.password_fingerprint = scope.outside.installation.fingerprint(password)


@dataclass(frozen=True, slots=True)
class FetchFollower:
    """Follows a fetch of the depot. One that this process does not know is begun again: it resumes where it was."""

    depot: ImageDepot
    request: FetchRequest
    owner: str

    async def find(self, operation: Operation) -> str | None:
        self.depot.begin(self.request, owner=self.owner, since=operation.started_at)
        return self.request.key

    async def follow(self, operation: Operation) -> Report | None:
        if operation.handle != self.request.key:
            # The source was corrected meanwhile: the old fetch is not ours any more.
            return None
        state = self.depot.state(self.request, since=operation.started_at)
        if state is None or state.phase == "Running":
            # Another template may have begun it: that it is ours too keeps it alive.
            state = self.depot.begin(self.request, owner=self.owner, since=operation.started_at)
        return Report(
            running=state.phase == "Running",
            error=state.error,
            done_bytes=state.bytes_done,
            total_bytes=state.bytes_total,
        )


def _wished_at(scope: TemplateScope) -> datetime:
    """When an image was wished for of which no fetch tells: now, unless it was refused lately for what it is.

    Then what the depot has still answers: an origin that cannot tell whether its file is the same sends it each time.
    """
    stalled = find(scope.object.status.conditions, STALLED)
    is_refused = stalled is not None and stalled.reason in _REFUSALS
    same_spec = scope.object.status.observed_generation == scope.generation
    return scope.now - REFUSAL_LASTS if is_refused and same_spec and scope.requested is None else scope.now


def _needs_image(scope: TemplateScope) -> bool:
    """Whether the image is unknown yet, or lost while a place still waits for it."""
    image = scope.object.status.image
    if image is None:
        return True
    if scope.outside.depot.find(image.image_digest) is not None:
        return False
    return any(child.status.vmid is None for child in scope.children() if child.spec.type == "Copy")


def _take(scope: TemplateScope, image: Image) -> None:
    known = scope.status.image
    if known is not None:
        if known.image_digest != image.image_digest:
            raise Terminal(
                "SourceGone",
                f"{scope.request.source} serves {image.served_digest} now, copies were made from {known.served_digest}",
                remedy="serve the former file again, or create another VMTemplate for the new one",
            )
        return
    disk = scope.hardware.disk
    if disk is not None and disk.size is not None and parse_quantity(disk.size) < image.virtual_size_bytes:
        raise Terminal(
            "DiskTooSmall",
            f"spec.hardware.disk.size {disk.size} is smaller than the image's {image.virtual_size_bytes} bytes; "
            "an image is never shrunk",
            remedy="raise spec.hardware.disk.size, or leave it out",
        )
    scope.status.image = ImageStatus(
        served_digest=image.served_digest,
        image_digest=image.image_digest,
        format=image.format,
        virtual_size_bytes=image.virtual_size_bytes,
    )


def _keep(scope: TemplateScope) -> None:
    """The image stays in the depot as long as this template wants it; more need not be fetched."""
    image, owner = scope.status.image, owner_of(scope.key)
    scope.outside.depot.abandon(owner)
    scope.outside.depot.pin(owner, {image.image_digest} if image else set())
