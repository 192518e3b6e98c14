"""What the API server last told us about every watched object: reads that cost nothing.

An object is held as its JSON bytes (a fifth of the memory of a dict, and nobody can change it by accident) with the few
fields that are asked for without decoding. Two streams feed it, the watch and the answers to our own writes, in either
order: the newer resourceVersion wins, and an object that was deleted stays deleted (a uid never comes back).

resourceVersions are compared as numbers, as Kubernetes documents since 1.35.
"""

from __future__ import annotations

import json
import sys
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pantograph.api import conditions
from pantograph.api.base import Resource
from pantograph.api.meta import Body, Key, ResourceType

R = TypeVar("R", bound=Resource[Any, Any])
Index = tuple[str, ...]
Indexes = Callable[[Body], Iterable[Index]]
"""Under what a body is found besides its name, so that nobody walks all objects of a kind."""
References = Callable[[Body], Iterable[Key]]
"""Which other objects a body's spec refers to: a change of one of them is a reason to look at this object again."""
Shown = Callable[[Body], Hashable]
"""What those that refer to a body build upon: while it is equal, they need not look again."""
PARSED = 4096
"""How many objects are kept parsed: reading one again as a model costs more than all else that is done with it."""
_COMPACT = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
REMEMBERED_DELETIONS = 8192
"""How many uids of deleted objects are kept: far more than answers can be outstanding at once."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A kind that the cache holds. `labels` is a selector that the API server applies."""

    resource: ResourceType
    references: References | None = None
    indexes: Indexes | None = None
    shown: Shown | None = None
    """None: every change counts."""
    labels: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One object as last seen."""

    uid: str
    version: int
    generation: int | None
    """None: the kind counts none."""
    raw: bytes
    labels: Mapping[str, str]
    owners: tuple[tuple[str, Key], ...]
    """Each owner's uid and key."""
    refers_to: frozenset[Key]
    found_as: frozenset[Index]
    shown: Hashable
    waits_for_a_person: bool


@dataclass(slots=True)
class _Kind:
    watched: Watched
    entries: dict[Key, Entry] = field(default_factory=dict)
    listed: bool = False


class Cache:
    """Synchronous: every method returns at once. Keys of kinds that are not watched are simply absent."""

    def __init__(self, watched: Iterable[Watched] = ()) -> None:
        self._kinds: dict[str, _Kind] = {}
        self._by_owner: dict[str, set[Key]] = {}
        self._by_reference: dict[Key, set[Key]] = {}
        self._by_index: dict[Index, set[Key]] = {}
        self._deleted: OrderedDict[str, None] = OrderedDict()
        self._parsed: OrderedDict[str, tuple[str, Resource[Any, Any]]] = OrderedDict()
        for each in watched:
            self.register(each)

    def register(self, watched: Watched) -> None:
        """Hold this kind too; before the first listing. Registering a kind twice is a mistake: raises ValueError."""
        kind = watched.resource.kind
        if kind in self._kinds:
            raise ValueError(f"{kind} is watched already: let one controller name it, with all its references")
        self._kinds[kind] = _Kind(watched)

    # What is held

    @property
    def watched(self) -> Collection[Watched]:
        return [kind.watched for kind in self._kinds.values()]

    @property
    def ready(self) -> bool:
        """Every kind was listed once: what is absent here is absent there."""
        return all(kind.listed for kind in self._kinds.values())

    def mark_listed(self, kind: str) -> None:
        self._kinds[kind].listed = True

    def get(self, key: Key) -> Body | None:
        """The body, decoded: the caller's own copy."""
        entry = self.entry(key)
        return None if entry is None else json.loads(entry.raw)

    def read(self, key: Key, model: type[R]) -> R | None:
        """The object as `model`, shared by all readers: it is not to be changed. Raises InvalidObject."""
        entry = self.entry(key)
        if entry is None:
            return None
        known = self._known(entry.uid, str(entry.version), model)
        return known or self.parse(json.loads(entry.raw), model)

    def parse(self, body: Body, model: type[R]) -> R:
        """`body` as `model`; each version of an object is parsed once. Shared like what `read` returns."""
        uid, version = body["metadata"].get("uid", ""), body["metadata"].get("resourceVersion", "")
        known = self._known(uid, version, model)
        if known is not None:
            return known
        parsed = model.parse(body)
        self._parsed[uid] = (version, parsed)
        self._parsed.move_to_end(uid)
        if len(self._parsed) > PARSED:
            self._parsed.popitem(last=False)
        return parsed

    def _known(self, uid: str, version: str, model: type[R]) -> R | None:
        known = self._parsed.get(uid)
        if known is None or known[0] != version or not isinstance(known[1], model):
            return None
        self._parsed.move_to_end(uid)
        return known[1]

    def entry(self, key: Key) -> Entry | None:
        kind = self._kinds.get(key.kind)
        return None if kind is None else kind.entries.get(key)

    def keys(self, kind: str) -> list[Key]:
        return list(self._kinds[kind].entries) if kind in self._kinds else []

    def select(
        self, kind: str, *, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Iterator[Key]:
        """Keys of a kind whose labels have all of `labels`."""
        if kind not in self._kinds:
            return
        wanted = (labels or {}).items()
        for key, entry in list(self._kinds[kind].entries.items()):
            if (namespace is None or key.namespace == namespace) and wanted <= entry.labels.items():
                yield key

    def owned_by(self, uid: str, *, kind: str | None = None) -> list[Key]:
        """Keys of the objects with an owner reference to `uid`, in order."""
        return sorted(key for key in self._by_owner.get(uid, ()) if kind is None or key.kind == kind)

    def referrers(self, key: Key, *, kind: str | None = None) -> list[Key]:
        """Keys of the objects that refer to `key`, in order."""
        return sorted(k for k in self._by_reference.get(key, ()) if kind is None or k.kind == kind)

    def indexed(self, index: Index) -> frozenset[Key]:
        """Keys of the objects that are found as `index` (see `Watched.indexes`)."""
        return frozenset(self._by_index.get(index, ()))

    def concerned(self, key: Key) -> set[Key]:
        """Who must look again when `key` changes, besides itself: its owners and those that refer to it."""
        entry = self.entry(key)
        owners = set() if entry is None else {owner for _, owner in entry.owners}
        return owners | self._by_reference.get(key, set())

    def count_owned(self, key: Key) -> int:
        """How many objects have `key` as an owner."""
        entry = self.entry(key)
        return 0 if entry is None else len(self._by_owner.get(entry.uid, ()))

    def count(self, kind: str) -> int:
        return len(self._kinds[kind].entries)

    def count_stalled(self, kind: str) -> int:
        """How many objects wait for a person: stalled, and not suspended."""
        return sum(entry.waits_for_a_person for entry in self._kinds[kind].entries.values())

    # What is told

    def learn(self, body: Body) -> set[Key] | None:
        """Take a body and return who must look again besides itself; None if it told nothing new.

        Owners look at every change of what they own, others only if what they build upon has changed.
        """
        key = key_of(body)
        before = self.entry(key)
        concerned = self.concerned(key)
        if not self.absorb(body):
            return None
        after = self.entry(key)
        if before is None or after is None or before.uid != after.uid or before.shown != after.shown:
            return concerned | self.concerned(key)
        return {owner for entry in (before, after) for _, owner in entry.owners}

    def absorb(self, body: Body) -> bool:
        """Take a body from a list, the watch, or the answer to a write; False if it told nothing new."""
        meta = body["metadata"]
        key = key_of(body)
        kind = self._kinds.get(key.kind)
        if kind is None or meta["uid"] in self._deleted:
            return False
        if meta.get("deletionTimestamp") and not meta.get("finalizers"):
            return self.forget(key, uid=meta["uid"])  # the answer to the write that removed the last finalizer
        held = kind.entries.get(key)
        if held is not None and int(meta["resourceVersion"]) <= held.version:
            return False
        if held is not None:
            self._unindex(key, held)
            if held.uid != meta["uid"]:
                self._bury(held.uid)
        entry = self._entry(body, kind.watched, held)
        kind.entries[key] = entry
        for uid, _ in entry.owners:
            self._by_owner.setdefault(uid, set()).add(key)
        for referred in entry.refers_to:
            self._by_reference.setdefault(referred, set()).add(key)
        for index in entry.found_as:
            self._by_index.setdefault(index, set()).add(key)
        return True

    def forget(self, key: Key, *, uid: str) -> bool:
        """The object with this uid is gone; a successor of the same name stays. False if it was not held."""
        self._bury(uid)
        held = self.entry(key)
        if held is None or held.uid != uid:
            return False
        self._unindex(key, held)
        del self._kinds[key.kind].entries[key]
        return True

    def _entry(self, body: Body, watched: Watched, held: Entry | None) -> Entry:
        meta = body["metadata"]
        meta.pop("managedFields", None)
        namespace = meta.get("namespace", "")
        generation = meta.get("generation")
        if watched.references is None:
            refers_to = frozenset[Key]()
        elif held is not None and generation is not None and (held.uid, held.generation) == (meta["uid"], generation):
            refers_to = held.refers_to  # the same spec: four of five changes are of the status
        else:
            refers_to = frozenset(watched.references(body))
        return Entry(
            uid=meta["uid"],
            version=int(meta["resourceVersion"]),
            generation=generation,
            raw=_COMPACT.encode(body).encode(),
            labels={sys.intern(k): sys.intern(v) for k, v in (meta.get("labels") or {}).items()},
            owners=tuple(
                (owner["uid"], Key(sys.intern(owner["kind"]), namespace, owner["name"]))
                for owner in meta.get("ownerReferences") or ()
            ),
            refers_to=refers_to,
            found_as=frozenset(watched.indexes(body)) if watched.indexes else frozenset(),
            shown=watched.shown(body) if watched.shown else meta["resourceVersion"],
            waits_for_a_person=conditions.waits_for_a_person(body.get("status") or {}),
        )

    def _unindex(self, key: Key, entry: Entry) -> None:
        for uid, _ in entry.owners:
            _discard(self._by_owner, uid, key)
        for referred in entry.refers_to:
            _discard(self._by_reference, referred, key)
        for index in entry.found_as:
            _discard(self._by_index, index, key)

    def _bury(self, uid: str) -> None:
        self._deleted[uid] = None
        if len(self._deleted) > REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)


def key_of(body: Mapping[str, Any]) -> Key:
    """The key of a body, which must carry its `kind` (items of a list get it from the client)."""
    meta = body["metadata"]
    return Key(sys.intern(body["kind"]), sys.intern(meta.get("namespace", "")), meta["name"])


T = TypeVar("T")


def _discard(index: dict[T, set[Key]], at: T, key: Key) -> None:
    keys = index.get(at)
    if keys is None:
        return
    keys.discard(key)
    if not keys:
        del index[at]
