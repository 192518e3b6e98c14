"""The port to the API server: the few verbs the engine needs, and what can go wrong with them.

Two implementations pass one contract suite: the client over the official async package, and the in-memory API server
of the tests. Bodies are the server's JSON; `metadata.managedFields` never comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pantograph.api.meta import Body, ResourceType

FIELD_MANAGER = "pantograph"


class KubeError(Exception):
    """The API server said no, or nobody knows what it said."""

    def __init__(self, message: str, *, code: int | None = None, reason: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class NotFound(KubeError):
    """404: no such object (or no such kind)."""


class Conflict(KubeError):
    """409: the object is newer than what was read, exists already, or another manager owns a field."""


class Invalid(KubeError):
    """400 or 422: the body breaks the schema or a rule, or a JSON patch's `test` failed."""


class Forbidden(KubeError):
    """401 or 403: the ServiceAccount may not."""


class Unavailable(KubeError):
    """The server was not reached, was too busy, or failed (429, 5xx): nothing was done, or the call only read."""


class OutcomeUnknown(KubeError):
    """A write whose answer was lost: it may have been done. Read again before deciding."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects of a kind at one resourceVersion; complete, or the call has raised."""

    items: Sequence[Body]
    resource_version: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change. `type` is None for an object that a (re)list delivered."""

    type: Literal["ADDED", "MODIFIED", "DELETED"] | None
    object: Body


class KubeApi(Protocol):
    """The verbs. Every method raises `KubeError` subclasses only."""

    async def list(
        self,
        resource: ResourceType,
        *,
        namespace: str | None = None,
        labels: str | None = None,
        metadata_only: bool = False,
    ) -> Listing:
        """Every object, read in pages; a page that fails fails the listing."""
        ...

    async def get(self, resource: ResourceType, namespace: str, name: str) -> Body: ...

    async def create(self, resource: ResourceType, namespace: str, body: Body) -> Body: ...

    async def apply(self, resource: ResourceType, namespace: str, name: str, body: Body) -> Body:
        """Server-side apply as field manager `pantograph`, forced: creates if absent."""
        ...

    async def merge_patch(
        self,
        resource: ResourceType,
        namespace: str,
        name: str,
        patch: Mapping[str, Any],
        *,
        subresource: Literal["status"] | None = None,
    ) -> Body:
        """JSON merge patch; `metadata.resourceVersion` inside it makes a stale one a `Conflict`."""
        ...

    async def json_patch(
        self,
        resource: ResourceType,
        namespace: str,
        name: str,
        patch: Sequence[Mapping[str, Any]],
        *,
        subresource: Literal["status"] | None = None,
    ) -> Body:
        """JSON patch; a failed `test` is `Invalid`."""
        ...

    async def replace(self, resource: ResourceType, namespace: str, name: str, body: Body) -> Body:
        """PUT; `metadata.resourceVersion` inside it makes a stale one a `Conflict`."""
        ...

    async def delete(
        self,
        resource: ResourceType,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Literal["Background", "Foreground"] = "Background",
    ) -> None:
        """Preconditions that fail are `Conflict`; a missing object is `NotFound`.

        `Foreground`: the object stays, with a deletionTimestamp, until what it owns is gone.
        """
        ...

    async def served(self, resource: ResourceType) -> bool:
        """Whether the server serves this kind at this version."""
        ...


Listed = Mapping[tuple[ResourceType, str | None], str]
"""The resourceVersions of lists, by kind and namespace (None: of all namespaces)."""


class WatchSource(Protocol):
    """Where changes come from: kopf's watches, or the in-memory API server's."""

    async def run(
        self,
        resources: Sequence[ResourceType],
        sink: Callable[[ResourceType, WatchEvent], None],
        *,
        since: Listed | None = None,
    ) -> None:
        """Hand every change of every kind to `sink` (which never blocks) until cancelled.

        In order for one object's uid; relists deliver `type=None`. What is not newer than the lists `since` is known
        and need not be told. Returning or raising ends the process.
        """
        ...
