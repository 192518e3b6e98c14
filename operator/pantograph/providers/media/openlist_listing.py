"""When an OpenList listing is the whole directory, and when it only looks so.

Two traps: `content` may be fewer than `total` (a page, a proxy's cap), and a directory whose own storage fails is
answered with success and only the places where other storages are mounted below it (internal/fs/list.go).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pantograph.providers.errors import ProtocolError
from pantograph.providers.media.port import Entry, Listing, Skipped, name_fault, size_of

_PER_PAGE = 500

Item = dict[str, Any]
Items = list[Item]


@dataclass(frozen=True, slots=True)
class Page:
    """The items of one answer, and how many the server says there are in all."""

    items: Items
    total: int
    digest: bytes = b""
    """Of the answer as it came."""


def pages_to_ask(total: int, got: int) -> int:
    """How long a page is: ours, or what a server gave that caps it at less."""
    return got if 0 < got < min(_PER_PAGE, total) else _PER_PAGE


def page_of(name: str, data: Item, digest: bytes) -> Page:
    """Raises `ProtocolError` unless it is positively a listing: nothing else may ever look like an empty directory."""
    content, total = data.get("content", data), data.get("total")
    if content is None:
        content = []
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        raise ProtocolError(f"{name} answered a listing whose `content` is no list of objects")
    if not isinstance(total, int) or isinstance(total, bool) or total < 0:
        raise ProtocolError(f"{name} answered a listing whose `total` is {total!r}")
    return Page(content, total, digest)


def listing_of(name: str, path: str, items: Items, total: int, *, pages: int = 1, fingerprint: bytes = b"") -> Listing:
    """What `items` say of the directory. Raises `ProtocolError` when one of them makes no sense."""
    entries: list[Entry] = []
    skipped: list[Skipped] = []
    for item in items:
        entry = entry_of(name, item, path)
        fault = name_fault(entry.name) or ("OpenList takes a backslash for a slash" if "\\" in entry.name else None)
        if fault:
            skipped.append(Skipped(entry.name, fault))
        else:
            entries.append(entry)
    doubt = _doubt(items, total, pages)
    mounts_only = any(entry.is_mount for entry in entries) and all(_looks_virtual(item) for item in items)
    if mounts_only and doubt is None:
        doubt = "only mounted storages came; its own storage may have failed"
    why = doubt or f"code 200 and all {total} entries"
    if any(_expires(entry.sign) for entry in entries):
        fingerprint = b""
    return Listing(
        path,
        tuple(entries),
        doubt is None,
        why,
        mounts_only=mounts_only,
        skipped=tuple(skipped),
        fingerprint=fingerprint,
    )


def entry_of(name: str, item: Item, parent: str) -> Entry:
    """Raises `ProtocolError` unless it has a name and says whether it is a directory; the rest is read leniently."""
    own, is_dir = item.get("name"), item.get("is_dir")
    if not isinstance(own, str) or not isinstance(is_dir, bool):
        raise ProtocolError(f"{name} listed an entry without a name or a kind in {parent}")
    size, sign, identity, hashes = item.get("size"), item.get("sign"), item.get("id"), item.get("hash_info")
    return Entry(
        own,
        parent,
        is_dir,
        size_bytes=None if is_dir else size_of(size),
        modified=_moment(item.get("modified")),
        sign=sign if isinstance(sign, str) else "",
        identity=identity if isinstance(identity, str) else "",
        hashes=tuple(sorted((str(kind), str(value)) for kind, value in hashes.items()))
        if isinstance(hashes, dict)
        else (),
        is_mount=is_dir and item.get("mount_details") is not None,
    )


def _expires(sign: str) -> bool:
    """Whether the next listing brings another one; 0 is OpenList's "never"."""
    return bool(sign) and not sign.endswith(":0")


def _doubt(items: Items, total: int, pages: int) -> str | None:
    if len(items) != total:
        return f"{len(items)} entries came of {total}"
    if pages > 1 and len({item["name"] for item in items}) != len(items):
        return "its pages overlap: it changed while it was read"
    return None


def _looks_virtual(item: Item) -> bool:
    """Whether it may be a mere place on the way to a mounted storage: those have neither size, hash nor birth."""
    if not item["is_dir"] or item.get("size") or item.get("hash_info") or item.get("id"):
        return False
    return item.get("created") in (None, item.get("modified"))


def _moment(text: object) -> datetime | None:
    """RFC 3339 as Go writes it; its zero time (year 1) means that the storage does not know."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.year > 1 and moment.tzinfo is not None else None
