"""WebDAV (RFC 4918): PROPFIND of depth 1, one directory a question, whole only when its document is."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from unicodedata import normalize
from urllib.parse import unquote, urlsplit

from pantograph.clock import Clock
from pantograph.providers.errors import Busy, NotFound, ProtocolError, ProviderError, Rejected, Unreachable
from pantograph.providers.media.bucket import RateBucket
from pantograph.providers.media.credentials import CredentialFiles, Credentials, Session
from pantograph.providers.media.endless import refuse_endless
from pantograph.providers.media.http import Http, tells_of_ban
from pantograph.providers.media.links import Encoding, encode_path
from pantograph.providers.media.multistatus import PROPFIND, Multistatus, Resource
from pantograph.providers.media.port import (
    Capabilities,
    Entry,
    Hint,
    Link,
    Listing,
    ServerInfo,
    SignMode,
    Skipped,
    name_fault,
    parent_of,
    size_of,
)
from pantograph.providers.media.settings import ServerSettings

_PIECE_BYTES = 64 << 10

Resources = list[Resource]
Entries = list[Entry]
Skips = list[Skipped]
Doubts = list[str]


class WebDav:
    """One user's view of one WebDAV folder."""

    capabilities = Capabilities(
        watch=False, http=True, mount=True, pickcode=False, sign=False, proves_complete_listing=True
    )

    def __init__(self, settings: ServerSettings, *, bucket: RateBucket, clock: Clock) -> None:
        """Must be made on the event loop; raises `Rejected` for settings that cannot be used."""
        self._name = settings.name
        self._bucket = bucket
        self._http = Http(settings, clock)
        self._session = Session(settings.name, CredentialFiles(settings.credentials), _authorization)
        self._above = _segments(urlsplit(self._http.endpoint).path)

    async def list(self, path: str, *, refresh: bool = False) -> Listing:
        answer, broke_off = await self._session.call(lambda token: self._propfind(path, "1", token))
        own, entries, skipped, doubts = self._sorted(path, answer.resources)
        if broke_off is not None:
            if not entries:
                raise broke_off
            return Listing(path, tuple(entries), False, broke_off.message, skipped=tuple(skipped))
        if own is not None and not own.is_collection:
            raise NotFound(f"{self._name}: {path} is no directory")
        if own is None and not doubts:
            doubts.append("the directory itself is not in the answer")
        why = "; ".join(doubts) or f"207, a whole document of {len(answer.resources)} responses"
        return Listing(path, tuple(entries), not doubts, why, skipped=tuple(skipped), fingerprint=answer.digest)

    async def stat(self, path: str) -> Entry:
        answer, broke_off = await self._session.call(lambda token: self._propfind(path, "0", token))
        if broke_off is not None:
            raise broke_off
        own = next((found for found in answer.resources if self._is_at(path, _href_segments(found))), None)
        if own is None or own.refusal:
            raise NotFound(f"{self._name}: there is no {path}")
        return _entry(own, path.rpartition("/")[2], parent_of(path))

    async def watch(self, path: str) -> AsyncIterator[Hint]:
        raise Rejected(f"{self._name}: WebDAV tells nobody of changes; {path} cannot be watched, only scanned")
        yield  # an asynchronous generator, as the port has it

    def link(self, entry: Entry, *, sign: SignMode = SignMode.FROM_LISTING) -> Link:
        if sign is SignMode.COMPUTE:
            raise Rejected(f"{self._name}: WebDAV has no signatures; set link.sign.mode: None")
        parts = urlsplit(self._http.endpoint)
        return Link(entry.path, base=f"{parts.scheme}://{parts.netloc}", prefix=parts.path)

    async def read(self, entry: Entry) -> AsyncIterator[bytes]:
        headers = _headers(await self._session.token())
        async with self._bucket.call():
            async for piece in self._http.pieces(self._url(entry.path), headers=headers):
                yield piece

    async def test_connection(self) -> ServerInfo:
        listing = await self.list("/")
        notes = () if listing.complete else (f"its root is not listed whole: {listing.why}",)
        return ServerInfo(product="WebDAV", version="", logged_in=True, notes=notes)

    async def close(self) -> None:
        await self._http.close()

    def _url(self, path: str) -> str:
        return f"{self._http.endpoint}{encode_path(path, Encoding.PATH)}"

    async def _propfind(self, path: str, depth: str, token: str) -> tuple[Multistatus, ProviderError | None]:
        """What came, and the error that broke it off."""
        answer = Multistatus(self._name)
        headers = _headers(token) | {"Depth": depth, "Content-Type": "application/xml; charset=utf-8"}
        # Directories are asked for with a slash: servers redirect otherwise. A file's status is asked without.
        url = self._url(path) + ("/" if depth == "1" and path != "/" else "")
        try:
            async with (
                self._bucket.call(),
                self._http.request("PROPFIND", url, data=PROPFIND, headers=headers) as response,
            ):
                await self._http.refuse(response)
                if response.status != 207:
                    raise self._no_multistatus(response.status, await self._http.body(response))
                async for piece in response.content.iter_chunked(_PIECE_BYTES):
                    answer.feed(piece)
                    refuse_endless(self._name, len(answer.resources))
                answer.close()
        except (Unreachable, ProtocolError) as error:
            if not answer.resources:
                raise
            return answer, error
        return answer, None

    def _no_multistatus(self, status: int, body: bytes) -> ProviderError:
        text = body[:4096].decode("utf-8", "replace")
        message = f"{self._name} answered PROPFIND with {status} and no multistatus"
        if tells_of_ban(text):
            return Busy(message, reason="RateLimited")
        return ProtocolError(message, remedy=f"look whether {self._http.endpoint} is a WebDAV address")

    def _sorted(self, path: str, resources: Resources) -> tuple[Resource | None, Entries, Skips, Doubts]:
        """The directory itself, its entries, what cannot be addressed, and what speaks against a whole answer."""
        own, entries, skipped, doubts = None, [], [], []
        for found in resources:
            try:
                segments = _href_segments(found)
            except UnicodeDecodeError:
                skipped.append(Skipped(found.href, "is not UTF-8"))
                continue
            if self._is_at(path, segments):
                if found.refusal:
                    doubts.append(f"the directory itself answered {found.refusal}")
                else:
                    own = found
            elif not segments or not self._is_at(path, segments[:-1]):
                raise self._wrong_directory(path, found)
            elif fault := name_fault(segments[-1]):  # nothing of ours has such a name, whatever is told of it
                skipped.append(Skipped(segments[-1], fault))
            elif found.refusal:
                doubts.append(f"{segments[-1]} answered {found.refusal}")
            else:
                entries.append(_entry(found, segments[-1], path))
        return own, entries, skipped, doubts

    def _is_at(self, path: str, segments: tuple[str, ...]) -> bool:
        expected = (*self._above, *(name for name in path.split("/") if name))
        # Some servers answer in another Unicode form than they were asked in.
        return segments == expected or _nfc(segments) == _nfc(expected)

    def _wrong_directory(self, path: str, found: Resource) -> ProtocolError:
        return ProtocolError(
            f"{self._name} answered for {path} with {found.href}, which is not in it",
            reason="WrongDirectory",
            remedy="the endpoint must be the address that the server itself writes, without a proxy that rewrites it",
        )


def _entry(found: Resource, name: str, parent: str) -> Entry:
    return Entry(
        name,
        parent,
        found.is_collection,
        size_bytes=None if found.is_collection else size_of(found.properties.get("getcontentlength")),
        modified=_moment(found.properties.get("getlastmodified", "")),
        identity=found.properties.get("getetag", ""),
    )


def _href_segments(found: Resource) -> tuple[str, ...]:
    """The names on the way to it. Split before they are decoded: a name may hold an encoded slash."""
    href = found.href
    return _segments(href if href.startswith("/") else urlsplit(href).path)


def _segments(path: str) -> tuple[str, ...]:
    return tuple(unquote(segment, errors="strict") for segment in path.split("/") if segment)


def _nfc(segments: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(normalize("NFC", segment) for segment in segments)


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return moment if moment.tzinfo is not None else None


async def _authorization(credentials: Credentials) -> str:
    if credentials.token:
        return f"Bearer {credentials.token}"
    if not credentials.username:
        return ""
    pair = f"{credentials.username}:{credentials.password}".encode()
    return "Basic " + base64.b64encode(pair).decode()


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": token} if token else {}
