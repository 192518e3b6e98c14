"""CloudDrive2: gRPC (proto clouddrive.CloudDriveFileSrv, shipped by clouddrive2-client), a closed server.

A listing is a stream and whole only when that ends well; a watch tells of what CloudDrive2 itself hears of.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import grpc
import grpc.aio
from clouddrive2_client.proto import clouddrive_pb2 as pb
from clouddrive2_client.proto.clouddrive_pb2_grpc import CloudDriveFileSrvStub
from google.protobuf.empty_pb2 import Empty

from pantograph.clock import Clock
from pantograph.providers.errors import (
    Busy,
    NotFound,
    ProtocolError,
    ProviderError,
    Rejected,
    Unauthorized,
    Unreachable,
)
from pantograph.providers.media.bucket import RateBucket
from pantograph.providers.media.clouddrive2_decode import (
    entry_of,
    fingerprint_of,
    hints_of,
    is_for,
    refuse_foreign,
)
from pantograph.providers.media.clouddrive2_errors import grpc_error
from pantograph.providers.media.credentials import CredentialFiles, Credentials, Session
from pantograph.providers.media.echo import EchoGuard
from pantograph.providers.media.endless import refuse_endless
from pantograph.providers.media.http import Http, shown
from pantograph.providers.media.port import (
    Capabilities,
    Entry,
    Hint,
    HintKind,
    Link,
    Listing,
    ServerInfo,
    SignMode,
    Skipped,
    name_fault,
    parent_of,
)
from pantograph.providers.media.settings import ServerSettings

_CHANNEL_OPTIONS = (
    # One reply may hold a whole directory: 60,000 entries are 7 MB, and gRPC's own limit is 4 MiB.
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_retries", 0),
    # A proxy of the environment is for the world outside, not for a media server.
    ("grpc.enable_http_proxy", 0),
)
_QUICK_S = 20.0
"""For calls that CloudDrive2 answers by itself."""
_READY_FOR_S = 30.0
"""How long a server that said that it is ready is believed."""
_RECONNECT_S, _RECONNECT_AT_MOST_S = 1.0, 60.0
_PERMISSIONS = (
    ("allow_list", "nothing can be listed"),
    ("allow_push_message", "it cannot be watched"),
    ("allow_read", "no subtitle, nfo or image can be copied"),
)

T = TypeVar("T")
Files = list[Any]
Notes = list[str]


class CloudDrive2:
    """One user's, or one API token's, view of one server."""

    capabilities = Capabilities(
        watch=True, http=True, mount=True, pickcode=False, sign=False, proves_complete_listing=True
    )

    def __init__(self, settings: ServerSettings, *, bucket: RateBucket, clock: Clock) -> None:
        """Must be made on the event loop; raises `Rejected` for settings that cannot be used."""
        self._name = settings.name
        self._list_timeout_s = settings.list_timeout_s
        self._bucket = bucket
        self._clock = clock
        self._http = Http(settings, clock)
        self._files = CredentialFiles(settings.credentials)
        self._session = Session(settings.name, self._files, self._log_in)
        self._echo = EchoGuard(settings.name, self._entries, clock)
        self._channel = _channel(settings)
        self._stub = CloudDriveFileSrvStub(self._channel)
        self._ready_until = float("-inf")

    async def list(self, path: str, *, refresh: bool = False) -> Listing:
        await self._ensure_ready()
        found, broke_off = await self._session.call(lambda token: self._sub_files(path, token, refresh=refresh))
        entries, skipped = self._sorted(path, found)
        if broke_off is not None:
            self._ready_until = float("-inf")
            if not entries:
                raise broke_off
            return Listing(path, entries, False, f"the stream broke off: {broke_off.message}", skipped=skipped)
        if doubt := await self._echo.check(path, entries):
            return Listing(path, entries, False, doubt, skipped=skipped)
        if not entries:
            # A server that has just lost its cloud account answers like an empty directory.
            await self._ensure_ready(anew=True)
        return Listing(
            path,
            entries,
            True,
            f"the stream of {len(found)} entries ended with OK",
            skipped=skipped,
            fingerprint=fingerprint_of(found),
        )

    async def _entries(self, path: str) -> tuple[Entry, ...]:
        found, broke_off = await self._session.call(lambda token: self._sub_files(path, token, refresh=False))
        if broke_off is not None:
            raise broke_off
        return self._sorted(path, found)[0]

    async def stat(self, path: str) -> Entry:
        if path == "/":
            return Entry("", "/", is_dir=True)
        question = pb.FindFileByPathRequest(parentPath=parent_of(path), path=path.rpartition("/")[2])
        found = await self._unary(
            self._stub.FindFileByPath, question, f"look at {path}", timeout_s=self._list_timeout_s
        )
        if not found.name:
            raise NotFound(f"{self._name}: there is no {path}")
        refuse_foreign(self._name, parent_of(path), found)
        return entry_of(found, parent_of(path))

    async def watch(self, path: str) -> AsyncIterator[Hint]:
        delay_s = _RECONNECT_S
        while True:
            why = "the server ended the stream"
            try:
                async for hint in self._pushed(path):
                    delay_s = _RECONNECT_S
                    yield hint
            except (Unreachable, Busy, ProtocolError) as error:
                why = error.message
            yield Hint(HintKind.LOST, path, is_dir=True, why=why)
            await self._clock.sleep(delay_s)
            delay_s = min(delay_s * 2, _RECONNECT_AT_MOST_S)

    def link(self, entry: Entry, *, sign: SignMode = SignMode.FROM_LISTING) -> Link:
        if sign is SignMode.COMPUTE:
            raise Rejected(f"{self._name}: CloudDrive2 has no signatures; set link.sign.mode: None")
        return Link(entry.path, base=self._http.endpoint, prefix="/static/{scheme}/{host}/False")

    async def read(self, entry: Entry) -> AsyncIterator[bytes]:
        question = pb.GetDownloadUrlPathRequest(path=entry.path, preview=False, lazy_read=False, get_direct_url=False)
        answer = await self._unary(
            self._stub.GetDownloadUrlPath, question, f"hand out {entry.path}", timeout_s=self._list_timeout_s
        )
        parts = urlsplit(self._http.endpoint)
        path = answer.downloadUrlPath
        for placeholder, value in (("{SCHEME}", parts.scheme), ("{HOST}", parts.netloc), ("{PREVIEW}", "false")):
            path = path.replace(placeholder, value)
        async with self._bucket.call():
            async for piece in self._http.pieces(self._http.endpoint + quote(path, safe="/?%=&:@!$'()*+,;~")):
                yield piece

    async def test_connection(self) -> ServerInfo:
        system = await self._system_info()
        runtime = await self._unary(self._stub.GetRuntimeInfo, Empty(), "say what it is")
        return ServerInfo(
            product=runtime.productName or "CloudDrive2",
            version=runtime.productVersion,
            logged_in=system.IsLogin and system.SystemReady and not system.hasError,
            user=system.UserName,
            notes=tuple(await self._permission_notes()),
        )

    async def close(self) -> None:
        await self._channel.close()
        await self._http.close()

    async def _ensure_ready(self, *, anew: bool = False) -> None:
        """After this the server is logged in to its account. Raises `Unreachable` (reason `ServerNotReady`)."""
        if not anew and self._clock.monotonic() < self._ready_until:
            return
        system = await self._system_info()
        if not (system.SystemReady and system.IsLogin) or system.hasError:
            self._ready_until = float("-inf")
            state = "is not logged in to its account" if system.SystemReady else "is not ready"
            raise Unreachable(
                f"{self._name} {state}: {shown(system.SystemMessage) or 'no message'}",
                reason="ServerNotReady",
                remedy=f"open {self._http.endpoint} and log in",
            )
        self._ready_until = self._clock.monotonic() + _READY_FOR_S

    async def _system_info(self) -> Any:
        return await self._guarded(
            lambda: self._stub.GetSystemInfo(Empty(), timeout=_QUICK_S), "say whether it is ready"
        )

    async def _sub_files(self, path: str, token: str, *, refresh: bool) -> tuple[Files, ProviderError | None]:
        """What came, and the error that broke it off; `Unauthorized` is raised, for another token may mend it."""
        found: Files = []
        question = pb.ListSubFileRequest(path=path, forceRefresh=refresh)
        try:
            async with self._bucket.call():
                try:
                    async for reply in self._stub.GetSubFiles(
                        question, metadata=_metadata(token), timeout=self._list_timeout_s
                    ):
                        found.extend(reply.subFiles)
                        refuse_endless(self._name, len(found))
                except grpc.aio.AioRpcError as error:
                    raise self._error(f"list {path}", error) from error
        except Unauthorized:
            raise
        except ProviderError as error:
            return found, error
        return found, None

    def _sorted(self, path: str, found: Files) -> tuple[tuple[Entry, ...], tuple[Skipped, ...]]:
        entries, skipped = [], []
        for file in found:
            if fault := name_fault(file.name):
                skipped.append(Skipped(file.name, fault))
                continue
            refuse_foreign(self._name, path, file)
            entries.append(entry_of(file, path))
        return tuple(entries), tuple(skipped)

    async def _pushed(self, path: str) -> AsyncIterator[Hint]:
        """One stream of pushed messages, until it ends."""
        # A stream's own refusal may come after its headers, when it was already said that the watch stands.
        token = await self._session.call(self._accepted)
        stream = self._stub.PushMessage(Empty(), metadata=_metadata(token))
        try:
            await stream.initial_metadata()
            if not stream.done():
                yield Hint(HintKind.RESCAN, path, is_dir=True)
            async for message in stream:
                if message.messageType == pb.CloudDrivePushMessage.FORCE_EXIT:
                    return
                for hint in hints_of(message):
                    if is_for(path, hint):
                        yield hint
        except grpc.aio.AioRpcError as error:
            failure = self._error("tell of changes", error)
            # A session may end at any time; the next attempt logs in, and that is where a refusal is final.
            raise Unreachable(failure.message) if isinstance(failure, Unauthorized) else failure from error
        finally:
            stream.cancel()

    async def _accepted(self, token: str) -> str:
        """`token`, which the server takes; raises `Unauthorized` when it does not."""
        await self._guarded(
            lambda: self._stub.GetRuntimeInfo(Empty(), metadata=_metadata(token), timeout=_QUICK_S), "say what it is"
        )
        return token

    async def _permission_notes(self) -> Notes:
        token = self._files.read().token
        if not token:
            return []
        info = await self._guarded(
            lambda: self._stub.GetApiTokenInfo(pb.StringValue(value=token), timeout=_QUICK_S),
            "say what the API token may do",
        )
        return [
            f"the API token {info.friendly_name!r} lacks {permission}: {so}"
            for permission, so in _PERMISSIONS
            if not getattr(info.permissions, permission)
        ]

    async def _unary(
        self, method: Callable[..., Awaitable[Any]], question: Any, act: str, *, timeout_s: float = _QUICK_S
    ) -> Any:
        return await self._session.call(
            lambda token: self._guarded(lambda: method(question, metadata=_metadata(token), timeout=timeout_s), act)
        )

    async def _guarded(self, call: Callable[[], Awaitable[T]], act: str) -> T:
        """`act`: what the server is asked to do."""
        async with self._bucket.call():
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                raise self._error(act, error) from error

    def _error(self, act: str, error: grpc.aio.AioRpcError) -> ProviderError:
        return grpc_error(self._name, self._http.endpoint, act, error)

    async def _log_in(self, credentials: Credentials) -> str:
        if credentials.token or not credentials.username:
            return credentials.token
        question = pb.GetTokenRequest(userName=credentials.username, password=credentials.password)
        if code := credentials.otp_code(self._clock.now()):
            question.totpCode = code
        answer = await self._guarded(lambda: self._stub.GetToken(question, timeout=_QUICK_S), "log the user in")
        # A refusal is a success of the call.
        if not answer.success or not answer.token:
            raise Unauthorized(
                f"{self._name} refused the login: {shown(answer.errorMessage) or 'no reason'}",
                remedy="put a valid `username` and `password`, or an API `token`, into the Secret it names",
            )
        return str(answer.token)


def _channel(settings: ServerSettings) -> Any:
    parts = urlsplit(settings.endpoint)
    if parts.scheme == "http":
        return grpc.aio.insecure_channel(f"{parts.hostname}:{parts.port or 80}", options=_CHANNEL_OPTIONS)
    authorities = None if settings.ca_pem is None else settings.ca_pem.encode()
    credentials = grpc.ssl_channel_credentials(root_certificates=authorities)
    return grpc.aio.secure_channel(f"{parts.hostname}:{parts.port or 443}", credentials, options=_CHANNEL_OPTIONS)


def _metadata(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),) if token else ()
