"""OpenList and AList: the HTTP API's words, and what its answers prove.

Its handlers (server/handles/fsread.go, auth.go) answer every error with status 200 and a `code` in the body; the
listing's own traps are in `openlist_listing.py`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final, NamedTuple

from pantograph.clock import Clock
from pantograph.providers.errors import BasePathChanged, ProtocolError, Rejected
from pantograph.providers.media.bucket import RateBucket
from pantograph.providers.media.credentials import CredentialFiles, Credentials, Session
from pantograph.providers.media.echo import EchoGuard
from pantograph.providers.media.http import Http
from pantograph.providers.media.links import Encoding, encode_path, openlist_sign
from pantograph.providers.media.openlist_errors import api_error, login_error, page_error
from pantograph.providers.media.openlist_listing import Item, Items, Page, entry_of, listing_of, page_of, pages_to_ask
from pantograph.providers.media.port import (
    Capabilities,
    Entry,
    Hint,
    Link,
    Listing,
    ServerInfo,
    SignMode,
    Unread,
    parent_of,
)
from pantograph.providers.media.settings import ServerSettings

_GUEST = "guest"
_LIST = "/api/fs/list"
_ATTEMPTS = 3
"""How often a directory that changes while it is paged is begun."""
_HOLDS_DIRECTORY: Final = re.compile(rb'"is_dir"\s*:\s*true')
"""Where it is found in something else, an answer is read for nothing."""


class OpenList:
    """One user's view of one server."""

    capabilities = Capabilities(
        watch=False, http=True, mount=True, pickcode=False, sign=True, proves_complete_listing=True
    )

    def __init__(self, settings: ServerSettings, *, bucket: RateBucket, clock: Clock) -> None:
        """Must be made on the event loop; raises `Rejected` for settings that cannot be used."""
        self._name = settings.name
        self._bucket = bucket
        self._clock = clock
        self._http = Http(settings, clock)
        self._files = CredentialFiles(settings.credentials)
        self._session = Session(settings.name, self._files, self._log_in)
        self._echo = EchoGuard(settings.name, self._entries, clock)
        self._base_path: str | None = None
        self._key = ""

    async def list(self, path: str, *, refresh: bool = False) -> Listing:
        return await self._guarded(path, await self._ask_for_list(path, refresh=refresh))

    async def list_unless_known(self, path: str, known: bytes, *, refresh: bool = False) -> Listing | Unread:
        answer = await self._ask_for_list(path, refresh=refresh, known=known)
        if answer.unread is None:
            return await self._guarded(path, answer)
        body, digest = answer.unread, answer.digest

        def read() -> Listing:
            page = page_of(self._name, self._parsed(_LIST, body)["data"], digest)
            return listing_of(self._name, path, page.items, page.total, fingerprint=digest)

        return Unread(path, digest, body.count(b"{"), read)

    async def _guarded(self, path: str, answer: _Answer) -> Listing:
        listing = await self._listing(path, page_of(self._name, answer.data, answer.digest))
        doubt = await self._echo.check(path, listing.entries)
        return replace(listing, complete=False, why=doubt) if doubt else listing

    async def _entries(self, path: str) -> tuple[Entry, ...]:
        return (await self._listing(path, await self._page(path))).entries

    async def stat(self, path: str) -> Entry:
        if path == "/":
            return Entry("", "/", is_dir=True)
        item = await self._ask("/api/fs/get", {"path": path, "password": ""})
        entry = entry_of(self._name, item, parent_of(path))
        if entry.name != path.rpartition("/")[2]:
            raise ProtocolError(f"{self._name} answered for {path} with {entry.name!r}", reason="WrongDirectory")
        return entry

    async def watch(self, path: str) -> AsyncIterator[Hint]:
        raise Rejected(f"{self._name}: OpenList tells nobody of changes; {path} cannot be watched, only scanned")
        yield  # an asynchronous generator, as the port has it

    def link(self, entry: Entry, *, sign: SignMode = SignMode.FROM_LISTING) -> Link:
        """Raises `Rejected` before the first answer, too: until then nobody knows the user's base path."""
        if self._base_path is None:
            raise Rejected(f"{self._name} has not been asked for its base path yet; test the connection first")
        path = _joined(self._base_path, entry.path)
        return Link(path, base=self._http.endpoint, prefix="/d", sign=self._sign(entry, path, sign))

    async def read(self, entry: Entry) -> AsyncIterator[bytes]:
        await self._session.token()
        link = self.link(entry)
        query = f"?sign={link.sign}" if link.sign else ""
        url = f"{self._http.endpoint}/d{encode_path(link.path, Encoding.PATH)}{query}"
        async with self._bucket.call():
            async for piece in self._http.pieces(url):
                yield piece

    async def test_connection(self) -> ServerInfo:
        settings = await self._ask("/api/public/settings", None, method="GET")
        me = await self._ask("/api/me", None, method="GET")
        self._keep_base_path(me)
        user = str(me.get("username", ""))
        is_guest = user == _GUEST
        notes = ["it is used as a guest; a user of its own would be safer to limit"] if is_guest else []
        return ServerInfo(
            product="OpenList",
            version=str(settings.get("version", "")),
            logged_in=not me.get("disabled", False),
            user=user,
            base_path=self._base_path or "/",
            notes=tuple(notes),
        )

    async def close(self) -> None:
        await self._http.close()

    def _sign(self, entry: Entry, path: str, mode: SignMode) -> str:
        if mode is SignMode.NONE:
            return ""
        if mode is SignMode.FROM_LISTING:
            return entry.sign
        if not self._key:
            raise Rejected(
                f"{self._name}: signatures are made with the server's admin token, and the credentials hold none",
                remedy="put the token (Settings, Other) under the key `token`, or set link.sign.mode: FromListing",
            )
        return openlist_sign(path, key=self._key)

    async def _listing(self, path: str, page: Page) -> Listing:
        """All at once, for pages are slices of a cache that may end between two of them; in pages when it must be.

        `page`: what came when all was asked for.
        """
        if len(page.items) == page.total:
            return listing_of(self._name, path, page.items, page.total, fingerprint=page.digest)
        for _ in range(_ATTEMPTS):
            items, pages, total = await self._paged(path, page.total)
            if total == page.total:
                return listing_of(self._name, path, items, total, pages=pages)
            page = Page(items, total)
        came = listing_of(self._name, path, page.items, page.total)
        return replace(came, complete=False, why="it kept changing while it was read")

    async def _paged(self, path: str, total: int) -> tuple[Items, int, int]:
        """The items of all pages and their number; breaks off, with the new total, when that is not `total`."""
        page = await self._page(path, per_page=pages_to_ask(total, 0))
        # Some servers and proxies cap the page silently (200 was seen); what came is then the page's true size.
        per_page = pages_to_ask(total, len(page.items))
        items, number = [*page.items], 1
        while page.items and page.total == total and len(items) < total:
            number += 1
            page = await self._page(path, page=number, per_page=per_page)
            items += page.items
        return items, number, page.total

    async def _page(self, path: str, *, page: int = 1, per_page: int = 0) -> Page:
        answer = await self._ask_for_list(path, page=page, per_page=per_page)
        return page_of(self._name, answer.data, answer.digest)

    async def _ask_for_list(
        self, path: str, *, page: int = 1, per_page: int = 0, refresh: bool = False, known: bytes = b""
    ) -> _Answer:
        question = {"path": path, "password": "", "page": page, "per_page": per_page, "refresh": refresh}
        return await self._answer(_LIST, question, known=known)

    async def _ask(self, path: str, question: Item | None, *, method: str = "POST") -> Item:
        return (await self._answer(path, question, method=method)).data

    async def _answer(
        self, path: str, question: Item | None, *, method: str = "POST", known: bytes = b""
    ) -> _Answer:  # fmt: skip
        """A success. Each restart of the server ends all sessions, valid for two days though they are."""
        return await self._session.call(lambda token: self._call(method, path, question, token, known=known))

    async def _log_in(self, credentials: Credentials) -> str:
        """A session whose paths mean what they meant before: nothing is asked with another one, not even once."""
        self._key = token = credentials.token
        if credentials.username and not token:
            question = {"username": credentials.username, "password": credentials.password}
            code = credentials.otp_code(self._clock.now())
            answer = await self._call("POST", "/api/auth/login", question | ({"otp_code": code} if code else {}), "")
            token = answer.data.get("token", "")
            if not isinstance(token, str) or not token:
                raise ProtocolError(f"{self._name} answered a login without a token")
        self._keep_base_path((await self._call("GET", "/api/me", None, token)).data)
        return token

    def _keep_base_path(self, me: Item) -> None:
        base_path = me.get("base_path", "/")
        if not isinstance(base_path, str):
            raise ProtocolError(f"{self._name} answered /api/me with a base_path that is no text")
        base_path = "/" + base_path.strip("/")
        if self._base_path not in (None, base_path):
            raise BasePathChanged(
                f"{self._name}: the user's base path changed from {self._base_path} to {base_path}",
                remedy="set it back, or correct source.path of the jobs; the server is looked at anew every interval",
            )
        self._base_path = base_path

    async def _call(
        self, method: str, path: str, question: Item | None, token: str, *, known: bytes = b""
    ) -> _Answer:  # fmt: skip
        headers = {"Authorization": token} if token else {}
        url = f"{self._http.endpoint}{path}"
        async with self._bucket.call(), self._http.request(method, url, json=question, headers=headers) as response:
            if response.status >= 300:
                raise page_error(self._http, response, (await self._http.body(response)).decode("utf-8", "replace"))
            body = await self._http.body(response)
            digest = hashlib.blake2b(body, digest_size=16).digest()
            # The same bytes were a success before, proved whole.
            if digest == known and not _HOLDS_DIRECTORY.search(body):
                return _Answer({}, digest, body)
            answer = self._parsed(path, body)
            code = answer.get("code")
            if code == 200 and isinstance(answer.get("data"), dict):
                return _Answer(answer["data"], digest)
            refused = login_error if path == "/api/auth/login" else api_error
            raise refused(self._name, code, str(answer.get("message", "")))

    def _parsed(self, path: str, body: bytes) -> Item:
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            raise page_error(self._http, None, body[:4096].decode("utf-8", "replace")) from None
        if not isinstance(answer, dict):
            raise ProtocolError(f"{self._name} answered {path} with something that is no object")
        return answer


class _Answer(NamedTuple):
    """A success: its `data`, and a digest of all that came."""

    data: Item
    digest: bytes
    unread: bytes | None = None
    """All that came, where its digest was known; then `data` is empty."""


def _joined(base_path: str, path: str) -> str:
    return path if base_path == "/" else f"{base_path}{path}"
