"""One file from its origin into a partial file: resumed, watched for stalls, retried, hashed on the way.

Whatever an origin answers, the bytes in the partial file are those of one content: a changed validator, an ignored
Range or a range that was not asked for starts it anew.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from random import Random
from typing import BinaryIO, Literal, Protocol, TypeVar

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from pantograph.clock import Clock
from pantograph.depot.errors import (
    DepotError,
    FetchForbidden,
    SourceRefused,
    SourceStalled,
    SourceUnreachable,
)
from pantograph.depot.model import FetchRequest, human_size
from pantograph.depot.partial import Partial, Resume, Validators, boot_id, url_hash
from pantograph.depot.policy import FetchPolicy
from pantograph.depot.progress import Meter, Pace

# aiohttp drops what it has buffered (up to twice this) when a connection breaks, so that much comes twice then.
READ_BUFFER_BYTES = 256 << 10
_CHUNK_BYTES = 1 << 20
_CLAIM_STEP_BYTES = 64 << 20
_MAX_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_COME_BACK_LATER = frozenset({408, 425, 429})
_CONTENT_RANGE = re.compile(r"bytes (?:(?P<start>\d+)-\d+|\*)/(?P<total>\d+|\*)")

# RFC 9110 §5.1 and §5.5: a token, and visible text.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

T = TypeVar("T")
Claim = Callable[[int], Awaitable[None]]


class Run(Protocol):
    """Runs a blocking function off the event loop."""

    def __call__(self, function: Callable[..., T], /, *args: object) -> Awaitable[T]: ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a fetch waits and how often it tries by itself before it is an error for somebody else to judge."""

    connect_s: float = 30.0
    stall_s: float = 60.0
    """Without a byte for this long the connection is given up."""
    retries: int = 5
    """Of attempts in a row that brought no byte further than any before."""
    least_bytes_s: int = 32 << 10
    """An origin that is slower on average holds a place that others need: a whole image would take it days."""
    pace_window_s: float = 300.0
    """Over how long that is judged."""
    backoff_s: float = 1.0
    backoff_max_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Served:
    """The file as served, complete in the partial file."""

    digest: str
    """`sha256:<hex>`."""
    declared_digest: str
    """By the algorithm of the declared checksum; of sha256 if none is declared."""
    patched: bool
    """Bytes of more than one connection are in it, or bytes that nobody asked the origin about."""


class Fetcher:
    """The HTTP client of the depot. Made inside a running event loop."""

    def __init__(self, *, policy: FetchPolicy, patience: Patience, clock: Clock, random: Random, run: Run) -> None:
        self._policy = policy
        self._patience = patience
        self._clock = clock
        self._random = random
        self._run = run
        self._session = aiohttp.ClientSession(
            # Addresses are tried one after the other: the race of "happy eyeballs" swallows our refusal of one.
            connector=aiohttp.TCPConnector(
                socket_factory=policy.open_socket, happy_eyeballs_delay=None, use_dns_cache=False, force_close=True
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=patience.connect_s, sock_read=patience.stall_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=READ_BUFFER_BYTES,
        )

    async def close(self) -> None:
        """Drop all connections."""
        await self._session.close()

    async def download(self, request: FetchRequest, partial: Partial, *, meter: Meter, claim: Claim) -> Served:
        """Bring the whole file into `partial`, however often the connection breaks while bytes come.

        `claim` is told how large the file becomes before it does. Raises SourceUnreachable, SourceStalled,
        SourceRefused, FetchForbidden, and what `claim` raises.
        """
        pace = Pace(self._clock, least_bytes_s=self._patience.least_bytes_s, window_s=self._patience.pace_window_s)
        furthest, failures = partial.size_bytes, 0
        while True:
            try:
                return await self._attempt(request, partial, meter=meter, pace=pace, claim=claim)
            except (SourceUnreachable, SourceStalled) as error:
                meter.fault = error
                failures = failures + 1 if partial.size_bytes <= furthest else 1
                furthest = max(furthest, partial.size_bytes)
                if failures > self._patience.retries:
                    raise
                pace.judge()
                if pace.too_slow:
                    least = human_size(self._patience.least_bytes_s)
                    raise SourceStalled(f"{request.source} sends less than {least} a second") from error
            await self._clock.sleep(self._backoff_s(failures))

    async def still_serves(self, request: FetchRequest, known: Validators, *, meter: Meter) -> bool:
        """Whether the origin's content is that of `known`, as far as it can tell without sending it.

        Raises SourceUnreachable, SourceStalled, SourceRefused and FetchForbidden.
        """
        if not known.comparable:
            return False
        resume, failures = Resume(validators=known, complete=True), 0
        while True:
            try:
                async with self._open(request, resume) as response:
                    meter.fault = None
                    return response.status == 304 or _is_of(response, known)
            except (SourceUnreachable, SourceStalled) as error:
                meter.fault = error
                failures += 1
                if failures > self._patience.retries:
                    raise
            await self._clock.sleep(self._backoff_s(failures))

    def _backoff_s(self, failures: int) -> float:
        longest = min(self._patience.backoff_max_s, self._patience.backoff_s * 2.0 ** (failures - 1))
        return longest * self._random.uniform(0.5, 1.0)

    async def _attempt(
        self, request: FetchRequest, partial: Partial, *, meter: Meter, pace: Pace, claim: Claim
    ) -> Served:
        with partial.opened() as file:
            resume = await self._run(partial.resume, request)
            with pace.paused():
                digests = await self._rehash(request, partial, meter=meter) if resume.offset else _Digests(request)
            if not resume.ask:
                return digests.served(patched=True)
            async with self._open(request, resume) as response:
                meter.fault = None
                match _judge(response, resume):
                    case "Unchanged":
                        return digests.served(patched=False)
                    case "Complete":
                        await self._run(partial.finish)
                        return digests.served(patched=True)
                    case "Contradicts":
                        await self._run(partial.begin, file, Validators(url_hash(request.url)))
                        raise SourceUnreachable(f"{request.source} has changed while it was fetched")
                    case "Anew":
                        await self._run(partial.begin, file, _validators(request, response))
                        digests, total = _Digests(request), response.content_length
                    case "Continues":
                        total = _total(response)
                meter.start("Downloading", done=digests.size_bytes, total=total)
                await self._stream(response, _Sink(file, digests), meter=meter, pace=pace, claim=claim)
            if total is not None and digests.size_bytes != total:
                raise SourceUnreachable(f"{request.source} ended after {digests.size_bytes} of {total} bytes")
            await self._run(partial.finish)
            return digests.served(patched=resume.offset > 0 and response.status == 206)

    async def _stream(
        self, response: aiohttp.ClientResponse, sink: _Sink, *, meter: Meter, pace: Pace, claim: Claim
    ) -> None:
        """Until the connection ends. Raises SourceStalled as soon as the pace is too slow."""
        claimed = meter.bytes_total or 0
        await claim(claimed)
        # Whatever has arrived is one piece: as large as the writer is slow, at most twice the read buffer.
        async for piece in response.content.iter_any():
            if meter.bytes_done + len(piece) > claimed:
                claimed = meter.bytes_done + len(piece) + _CLAIM_STEP_BYTES
                await claim(claimed)
            await self._run(sink.write, piece)
            meter.add(len(piece))
            pace.add(len(piece))
            if pace.too_slow:
                raise SourceStalled("its pace is not worth waiting for")

    async def _rehash(self, request: FetchRequest, partial: Partial, *, meter: Meter) -> _Digests:
        """Hash what is there already, in steps short enough to be cancelled between."""
        digests = _Digests(request)
        meter.start("Verifying", total=partial.size_bytes)
        with partial.path.open("rb") as file:
            while size := await self._run(digests.read, file):
                meter.add(size)
        return digests

    @asynccontextmanager
    async def _open(self, request: FetchRequest, resume: Resume) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer that is no redirect. Secret headers go to the origin that they were meant for only."""
        url, headers, status = _url(request), _secret_headers(request), 0
        with _faults(request.source, self._patience):
            for _ in range(_MAX_REDIRECTS + 1):
                self._policy.check_url(url)
                headers.update(_headers(resume))
                async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                    location = response.headers.get("Location")
                    if response.status not in _REDIRECTS or not location:
                        _refuse(request, response, resume)
                        yield response
                        return
                    status = response.status
                target = url.join(URL(location))
                if not _same_origin(target, url):
                    headers = CIMultiDict()
                url = target
        raise SourceRefused(
            f"{request.source} redirects more than {_MAX_REDIRECTS} times",
            code=status,
            remedy="set spec.source.http.url to where it finally leads",
        )


class _Digests:
    """Running hashes of the file as served."""

    def __init__(self, request: FetchRequest) -> None:
        self._sha256 = hashlib.sha256()
        wants_sha512 = bool(request.checksum and request.checksum.startswith("sha512:"))
        self._sha512 = hashlib.sha512() if wants_sha512 else None
        self.size_bytes = 0

    def update(self, piece: bytes) -> None:
        self._sha256.update(piece)
        if self._sha512 is not None:
            self._sha512.update(piece)
        self.size_bytes += len(piece)

    def read(self, file: BinaryIO) -> int:
        """Hash the next chunk of `file`; its size, 0 at the end."""
        piece = file.read(_CHUNK_BYTES)
        self.update(piece)
        return len(piece)

    def served(self, *, patched: bool) -> Served:
        digest = f"sha256:{self._sha256.hexdigest()}"
        declared = digest if self._sha512 is None else f"sha512:{self._sha512.hexdigest()}"
        return Served(digest, declared, patched)


class _Sink:
    """Writes and hashes a piece: the one thing that is done to every byte."""

    def __init__(self, file: BinaryIO, digests: _Digests) -> None:
        self._file = file
        self._digests = digests

    def write(self, piece: bytes) -> None:
        self._file.write(piece)
        self._file.flush()  # what a kill must not take is then with the kernel
        self._digests.update(piece)


def _url(request: FetchRequest) -> URL:
    try:
        url = URL(request.url)
    except ValueError:
        raise FetchForbidden("the URL is malformed", remedy="correct spec.source.http.url") from None
    return url.with_user(None) if "Authorization" in CIMultiDict(request.headers) else url


def _secret_headers(request: FetchRequest) -> CIMultiDict[str]:
    """The declared headers; a Secret made from a file ends its value with a line break that is no part of it."""
    headers = CIMultiDict({name: value.strip() for name, value in request.headers.items()})
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise FetchForbidden(
                f"{request.source} cannot be fetched: a header of spec.source.http.headersFrom is malformed",
                remedy="use one key a header in the Secret, with its name as key and one line as value",
            )
    return headers


def _headers(resume: Resume) -> dict[str, str]:
    # identity: the checksum is of the file, not of what a server makes of it on the way.
    headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "pantograph"}
    known = resume.validators
    if resume.complete and known is not None:
        conditions = {"If-None-Match": known.etag, "If-Modified-Since": None if known.etag else known.last_modified}
    elif resume.offset:
        headers["Range"] = f"bytes={resume.offset}-"
        conditions = {"If-Range": known.strong if known else None}
    else:
        conditions = {}
    return headers | {name: value for name, value in conditions.items() if value}


def _judge(
    response: aiohttp.ClientResponse, resume: Resume
) -> Literal["Unchanged", "Complete", "Continues", "Anew", "Contradicts"]:
    """What the answer means for the bytes that are there."""
    if response.status == 304:
        return "Unchanged"
    if response.status == 200:
        return "Anew"
    known = resume.validators
    total = _total(response)
    # Some servers answer a Range without looking at If-Range (aiohttp's own compares dates only).
    tags = (response.headers.get("ETag"), known.etag) if known else (None, None)
    dates = (response.headers.get("Last-Modified"), known.last_modified) if known else (None, None)
    changed = any(now and then and now != then for now, then in (tags, dates))
    resized = bool(known and known.total_bytes and total and total != known.total_bytes)
    if response.status == 416:
        return "Complete" if total == resume.offset and not resized else "Contradicts"
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    continues = found is not None and found["start"] == str(resume.offset)
    return "Continues" if continues and not changed and not resized else "Contradicts"


def _is_of(response: aiohttp.ClientResponse, known: Validators) -> bool:
    """Whether a whole answer is the content of `known`: some servers look at no condition."""
    if known.total_bytes is not None and response.content_length not in (None, known.total_bytes):
        return False
    if known.etag:
        return response.headers.get("ETag") == known.etag
    return response.headers.get("Last-Modified") == known.last_modified


def _total(response: aiohttp.ClientResponse) -> int | None:
    """The size of the whole file, as `Content-Range` tells it."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(found["total"]) if found and found["total"] != "*" else None


def _validators(request: FetchRequest, response: aiohttp.ClientResponse) -> Validators:
    return Validators(
        url_hash=url_hash(request.url),
        etag=response.headers.get("ETag"),
        last_modified=response.headers.get("Last-Modified"),
        total_bytes=response.content_length,
        boot_id=boot_id(),
    )


def _refuse(request: FetchRequest, response: aiohttp.ClientResponse, resume: Resume) -> None:
    """Raise for every answer that brings no bytes."""
    code, asked_for_a_part = response.status, resume.offset > 0
    if code == 200 or (code in (206, 416) and asked_for_a_part) or (code == 304 and resume.complete):
        return
    message = f"{request.source} answered {code} {response.reason or ''}".rstrip()
    if code >= 500 or code in _COME_BACK_LATER:
        raise SourceUnreachable(message)
    remedy = "correct spec.source.http.url"
    if code in (401, 403, 407):
        remedy = "give credentials that may read it in the Secret of spec.source.http.headersFrom"
    raise SourceRefused(message, code=code, remedy=remedy)


@contextmanager
def _faults(source: str, patience: Patience) -> Iterator[None]:
    """Turn what the HTTP client raises into what a person can act on. The client's own texts may hold the URL."""
    try:
        yield
    except DepotError as error:
        if isinstance(error, FetchForbidden) and source not in error.message:
            raise FetchForbidden(f"{source} cannot be fetched: {error.message}", remedy=error.remedy) from error
        raise
    except aiohttp.ConnectionTimeoutError as error:
        raise SourceUnreachable(f"{source}: no connection within {patience.connect_s:g} s") from error
    except aiohttp.SocketTimeoutError as error:
        raise SourceStalled(f"{source} sent nothing for {patience.stall_s:g} s") from error
    except aiohttp.ClientConnectorDNSError as error:
        raise SourceUnreachable(f"{source}: the name {error.host} cannot be resolved") from error
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
        raise SourceUnreachable(f"{source}: TLS with {error.host} failed: {_why(error)}") from error
    except aiohttp.ClientConnectorError as error:
        raise SourceUnreachable(f"{source}: no connection to {error.host}: {_why(error)}") from error
    except aiohttp.InvalidURL:
        raise FetchForbidden(f"{source} leads to a malformed URL", remedy="correct spec.source.http.url") from None
    except aiohttp.ClientError as error:
        raise SourceUnreachable(f"{source}: the connection broke ({type(error).__name__})") from error


def _why(error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError) -> str:
    cause = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error.os_error
    return getattr(cause, "verify_message", None) or getattr(cause, "strerror", None) or type(cause).__name__


def _same_origin(one: URL, other: URL) -> bool:
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)
