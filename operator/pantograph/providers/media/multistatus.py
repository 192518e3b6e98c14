"""WebDAV's answer to PROPFIND, read as it comes: what stood in it before it broke off is known, and that it did.

By expat itself and not by a tree: a directory may be large. A document type is refused, and with it every entity.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from xml.parsers import expat

from pantograph.providers.errors import ProtocolError

_DAV = "DAV:}"
_ROOT, _RESPONSE, _PROPSTAT = f"{_DAV}multistatus", f"{_DAV}response", f"{_DAV}propstat"
_COLLECTION = f"{_DAV}collection"
_TEXTS = {f"{_DAV}{name}" for name in ("href", "status", "getcontentlength", "getlastmodified", "getetag")}
_DEEPEST = 64

PROPFIND = (
    b'<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop>'
    b"<resourcetype/><getcontentlength/><getlastmodified/><getetag/></prop></propfind>"
)


@dataclass(slots=True)
class Resource:
    """One `response`: a file or a directory, in the server's words."""

    href: str = ""
    status: str = ""
    """Of the whole resource; empty when its properties came."""
    is_told: bool = False
    """Some of its properties came; without any nobody knows whether it is a directory."""
    is_collection: bool = False
    properties: dict[str, str] = field(default_factory=dict)

    @property
    def refusal(self) -> str:
        """What the server says in place of what it is; empty if it says that."""
        is_refused = bool(self.status) and " 2" not in self.status[:12]
        return self.status if is_refused else "" if self.is_told else "without properties"


class Multistatus:
    """`feed` it, look at `resources`, `close` it: only then was it whole."""

    def __init__(self, name: str) -> None:
        self.resources: list[Resource] = []
        self._name = name
        self._digest = hashlib.blake2b(digest_size=16)
        self._stack: list[str] = []
        self._text: list[str] = []
        self._resource = Resource()
        self._found: dict[str, str] = {}
        self._found_collection = False
        self._parser = expat.ParserCreate(namespace_separator="}")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._doctype

    def feed(self, piece: bytes) -> None:
        """Raises `ProtocolError` for what is no multistatus."""
        self._digest.update(piece)
        self._parse(piece, final=False)

    def close(self) -> None:
        """Raises `ProtocolError` unless the document came to its end."""
        self._parse(b"", final=True)

    @property
    def digest(self) -> bytes:
        """Of the answer as it came."""
        return self._digest.digest()

    def _parse(self, piece: bytes, *, final: bool) -> None:
        try:
            self._parser.Parse(piece, final)
        except expat.ExpatError as error:
            raise ProtocolError(f"{self._name} answered PROPFIND with XML that is not whole: {error}") from error

    def _doctype(self, *_: object) -> None:
        raise ProtocolError(f"{self._name} answered PROPFIND with a document type; none is allowed there")

    def _start(self, tag: str, _: dict[str, str]) -> None:
        if not self._stack and tag != _ROOT:
            raise ProtocolError(f"{self._name} answered PROPFIND with XML that is no multistatus")
        if len(self._stack) > _DEEPEST:
            raise ProtocolError(f"{self._name} answered PROPFIND with XML more than {_DEEPEST} deep")
        if tag == _RESPONSE:
            self._resource = Resource()
        elif tag == _PROPSTAT:
            self._found, self._found_collection = {}, False
        elif tag == _COLLECTION:
            self._found_collection = True
        self._stack.append(tag)
        self._text = []

    def _characters(self, text: str) -> None:
        if self._stack and self._stack[-1] in _TEXTS:
            self._text.append(text)

    def _end(self, tag: str) -> None:
        self._stack.pop()
        parent = self._stack[-1] if self._stack else ""
        text = "".join(self._text).strip() if tag in _TEXTS else ""
        self._text = []
        if tag == _RESPONSE:
            self.resources.append(self._resource)
        elif parent == _RESPONSE and tag == f"{_DAV}href":
            self._resource.href = self._resource.href or text
        elif parent == _RESPONSE and tag == f"{_DAV}status":
            self._resource.status = text
        elif tag in _TEXTS:
            self._found[tag.removeprefix(_DAV)] = text
        elif tag == _PROPSTAT and " 200" in self._found.get("status", ""):
            self._resource.is_told = True
            self._resource.properties |= self._found
            self._resource.is_collection |= self._found_collection
