"""The objects and the rules by which they change: what etcd and the registry are to the real server.

Everything here happens at once and in order; nothing awaits. Stored bodies are never changed in place, so whoever holds
one holds a snapshot; copies are made at the server's door.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from pantograph.api.meta import Body, ResourceType
from pantograph.clock import Clock
from pantograph.engine.kube import WatchEvent
from tests.fakes.apiserver import metadata as meta
from tests.fakes.apiserver import refusals, rules
from tests.fakes.apiserver.apply import UNOWNED, Fields, Path, fields, mistyped, reapplied, unchanged
from tests.fakes.apiserver.kinds import BUILT_IN, Kind, kinds_of

Subresource = Literal["status"] | None
Change = Callable[[Body], Any]
Listener = Callable[[ResourceType, WatchEvent], None]
_Id = tuple[str, str]
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


class Store:
    """All objects of one cluster."""

    def __init__(self, *, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._kinds = {(kind.resource.group, kind.resource.plural): kind for kind in BUILT_IN}
        self._objects: dict[tuple[str, str], dict[_Id, Body]] = {key: {} for key in self._kinds}
        self._applied: dict[str, dict[str, Fields]] = {}
        self._unsettled: set[str] = set()
        """The uids of objects whose default status is not stored: every reader sees it, but the first write after
        the creation stores it and counts as a change, whatever else it does."""
        self._terminating: set[str] = set()
        self.revision = 0
        self.listeners: list[Listener] = []
        """Told of every change, in order, before the write returns."""
        self.mourners: list[Callable[[ResourceType], None]] = []
        """Told of every kind that is no longer served."""

    # --- kinds

    def register(self, crd: Mapping[str, Any]) -> None:
        """Serve the kinds of a CustomResourceDefinition; one that is served already takes the new schema."""
        for kind in kinds_of(crd):
            self._kinds[kind.resource.group, kind.resource.plural] = kind
            self._objects.setdefault((kind.resource.group, kind.resource.plural), {})

    def withdraw(self, resource: ResourceType) -> None:
        """Stop serving a kind; its objects are gone without a word."""
        self._kinds.pop((resource.group, resource.plural), None)
        self._objects.pop((resource.group, resource.plural), None)
        for mourner in self.mourners:
            mourner(resource)

    def serves(self, resource: ResourceType) -> bool:
        kind = self._kinds.get((resource.group, resource.plural))
        return kind is not None and kind.resource.version == resource.version

    def kind(self, resource: ResourceType) -> Kind:
        """The rules of a kind; NotFound if it is not served."""
        if not self.serves(resource):
            raise refusals.unknown_kind()
        return self._kinds[resource.group, resource.plural]

    # --- reading

    def get(self, resource: ResourceType, namespace: str, name: str) -> Body:
        return self._get(self.kind(resource), namespace, name)

    def all(self, resource: ResourceType) -> dict[_Id, Body]:
        """A snapshot of the objects of a kind by namespace and name."""
        self.kind(resource)
        return dict(self._objects[resource.group, resource.plural])

    def everything(self) -> Iterator[tuple[ResourceType, Body]]:
        """Every object of every kind."""
        for key, objects in list(self._objects.items()):
            for body in list(objects.values()):
                yield self._kinds[key].resource, body

    # --- writing

    def create(self, resource: ResourceType, namespace: str, body: Body) -> Body:
        kind = self.kind(resource)
        asked = rules.addressed(kind, body, namespace, None)
        if asked["metadata"].get("resourceVersion"):
            raise refusals.failed("resourceVersion should not be set on objects to be created")
        new = rules.prepared(kind, rules.first(kind, asked))
        metadata = new["metadata"]
        if "name" not in metadata:
            if "generateName" not in metadata:
                fault = "metadata.name: Required value: name or generateName is required"
                raise refusals.invalid(resource, "", [fault])
            metadata["name"] = metadata["generateName"] + "".join(self._rng.choices(_SUFFIX_LETTERS, k=5))
        if (namespace, metadata["name"]) in self._table(kind):
            raise refusals.already_exists(resource, metadata["name"])
        if namespace in self._terminating:
            raise refusals.terminating(resource, metadata["name"], namespace)
        rules.refuse_faults(kind, new)
        metadata["uid"] = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        metadata["creationTimestamp"] = self._timestamp()
        if kind.counts_generations:
            metadata["generation"] = 1
        if kind.has_status and "status" in new:
            self._unsettled.add(metadata["uid"])
        return self._commit(kind, "ADDED", new)

    def update(
        self, resource: ResourceType, namespace: str, name: str, change: Change, *, subresource: Subresource = None
    ) -> Body:
        """Put what `change` makes of the object in its place; the same body back if that changes nothing."""
        kind = self.kind(resource)
        if subresource == "status" and not kind.has_status:
            raise refusals.unknown_kind()
        old = self._get(kind, namespace, name)
        new = rules.addressed(kind, change(old), namespace, name)
        self._refuse_stale(kind, old, new["metadata"].get("resourceVersion"))
        return self._replace(kind, old, new, of_status=subresource == "status")

    def replace(self, resource: ResourceType, namespace: str, name: str, body: Body) -> Body:
        """PUT: some kinds are created by it, some demand a resourceVersion."""
        kind = self.kind(resource)
        new = rules.addressed(kind, body, namespace, name)
        if kind.put_creates and (namespace, name) not in self._table(kind):
            return self.create(resource, namespace, new)
        old = self._get(kind, namespace, name)
        if kind.needs_version_to_replace and not new["metadata"].get("resourceVersion"):
            fault = "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
            raise refusals.invalid(resource, name, [fault])
        self._refuse_other(kind, old, new["metadata"].get("uid"))
        self._refuse_stale(kind, old, new["metadata"].get("resourceVersion"))
        return self._replace(kind, old, new)

    def apply(self, resource: ResourceType, namespace: str, name: str, config: Body, *, manager: str) -> Body:
        """Forced server-side apply."""
        kind = self.kind(resource)
        if not config.get("metadata", {}).get("name"):
            raise refusals.bad_request(
                f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
            )
        config = rules.addressed(kind, config, namespace, name)
        if kind.has_status:
            config.pop("status", None)
        if kind.schema is not None and (fault := mistyped(config, kind.schema)):
            what = f"/{name}; {resource.api_version}, Kind={resource.kind}"
            raise refusals.failed(f"failed to create typed patch object ({what}): {fault}")
        sent = frozenset(fields(config, kind.shape)) - UNOWNED
        old = self._table(kind).get((namespace, name))
        if old is None:
            if config["metadata"].get("uid"):
                raise refusals.not_there(resource, name, uid=config["metadata"]["uid"])
            config["metadata"].pop("resourceVersion", None)
            body = self.create(resource, namespace, config)
        else:
            self._refuse_stale(kind, old, config["metadata"].get("resourceVersion"))
            owners = self._applied.get(old["metadata"]["uid"], {})
            others = frozenset[Path]().union(*(owned for other, owned in owners.items() if other != manager))
            new = reapplied(old, config, kind.shape, dropped=owners.get(manager, frozenset()) - sent - others)
            body = self._replace(kind, old, new)
        if (namespace, name) in self._table(kind):
            self._applied.setdefault(body["metadata"]["uid"], {})[manager] = sent
        return body

    def delete(
        self,
        resource: ResourceType,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> None:
        """Remove the object, or mark it for deletion while finalizers hold it."""
        kind = self.kind(resource)
        old = self._get(kind, namespace, name)
        self._refuse_other(kind, old, uid)
        self._refuse_stale(kind, old, resource_version)
        if not old["metadata"].get("finalizers"):
            self._remove(kind, old)
            return
        if "deletionTimestamp" in old["metadata"]:
            return
        marks: dict[str, Any] = {"deletionTimestamp": self._timestamp(), "deletionGracePeriodSeconds": 0}
        if kind.counts_generations:
            marks["generation"] = old["metadata"]["generation"] + 1
        self._commit(kind, "MODIFIED", {**old, "metadata": {**old["metadata"], **marks}})

    def terminate_namespace(self, namespace: str) -> None:
        """Delete everything in a namespace, and refuse whatever would be created in it."""
        self._terminating.add(namespace)
        for resource, body in list(self.everything()):
            if body["metadata"]["namespace"] == namespace:
                self.delete(resource, namespace, body["metadata"]["name"])

    # --- the common path of all writes

    def _table(self, kind: Kind) -> dict[_Id, Body]:
        return self._objects[kind.resource.group, kind.resource.plural]

    def _get(self, kind: Kind, namespace: str, name: str) -> Body:
        try:
            return self._table(kind)[namespace, name]
        except KeyError:
            raise refusals.not_found(kind.resource, name) from None

    def _refuse_other(self, kind: Kind, old: Body, uid: str | None) -> None:
        found = old["metadata"]
        if uid and uid != found["uid"]:
            raise refusals.other_uid(kind.resource, found["name"], asked=uid, found=found["uid"])

    def _refuse_stale(self, kind: Kind, old: Body, version: str | None) -> None:
        found = old["metadata"]
        if version and version != found["resourceVersion"]:
            raise refusals.modified(kind.resource, found["name"])

    def _replace(self, kind: Kind, old: Body, asked: Body, *, of_status: bool = False) -> Body:
        if not of_status:
            rules.refuse_new_identity(kind, old, asked)
        new = rules.prepared(kind, rules.combined(kind, old, asked, of_status=of_status), old=old)
        if new == old and old["metadata"]["uid"] not in self._unsettled:
            return old
        if "deletionTimestamp" in old["metadata"] and (added := meta.new_finalizers(old, new)):
            fault = (
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, "
                f"found new finalizers {added}"
            )
            raise refusals.invalid(kind.resource, old["metadata"]["name"], [fault])
        rules.refuse_faults(kind, new, old=old)
        if kind.counts_generations and rules.is_other_generation(kind, old, new):
            new["metadata"]["generation"] = old["metadata"]["generation"] + 1
        self._disown(kind, old, new)
        if "deletionTimestamp" in new["metadata"] and not new["metadata"].get("finalizers"):
            return self._remove(kind, new)
        return self._commit(kind, "MODIFIED", new)

    def _disown(self, kind: Kind, old: Body, new: Body) -> None:
        """Whoever applied a field that changes now owns it no longer; an applier is entered again afterwards."""
        owners = self._applied.get(old["metadata"]["uid"], {})
        for manager, owned in owners.items():
            owners[manager] = unchanged(owned, old, new, kind.shape)

    def _remove(self, kind: Kind, body: Body) -> Body:
        """The body as it was last; only the event has the version of the removal."""
        self._commit(kind, "DELETED", {**body, "metadata": dict(body["metadata"])})
        self._applied.pop(body["metadata"]["uid"], None)
        return body

    def _commit(self, kind: Kind, change: Literal["ADDED", "MODIFIED", "DELETED"], body: Body) -> Body:
        self.revision += 1
        metadata = body["metadata"]
        metadata["resourceVersion"] = str(self.revision)
        key = (metadata["namespace"], metadata["name"])
        if change != "ADDED":
            self._unsettled.discard(metadata["uid"])
        if change == "DELETED":
            del self._table(kind)[key]
        else:
            self._table(kind)[key] = body
        event = WatchEvent(change, body)
        for listener in list(self.listeners):
            listener(kind.resource, event)
        return body

    def _timestamp(self) -> str:
        return self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
