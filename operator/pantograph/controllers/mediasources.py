"""From a `DataServer` object and its Secret to an open source of media, as the operator itself uses it.

Runs list the media; the operator only asks a source who it is, and listens to its changes. Secrets are not watched: one
is read when a source is opened, when the spec changes, once an interval, and, while the credentials are refused, once a
minute; no login is tried before its resourceVersion has changed, in this process or the next (OpenList locks an address
out after five failures, with everybody behind it).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from pantograph.api.dataserver import DataServer
from pantograph.api.meta import Key
from pantograph.clock import Clock
from pantograph.controllers.runs.cooldowns import Cooldowns
from pantograph.controllers.runs.roots import Roots
from pantograph.controllers.secrets import read_authority, read_secret
from pantograph.engine.kube import KubeApi
from pantograph.providers.errors import Unauthorized
from pantograph.providers.media.bucket import Cooldown, RateBucket
from pantograph.providers.media.declared import bucket_of, described, list_timeout_of, settings_of
from pantograph.providers.media.port import MediaSource
from pantograph.providers.media.settings import LocalSettings, ServerSettings
from pantograph.providers.media.sources import Driver, open_folder, open_server

SECRET_INTERVAL_S: Final = 600.0
REFUSED_INTERVAL_S: Final = 60.0
GUEST: Final = "guest"
"""In place of a Secret's resourceVersion, of a server that is used without one."""


@dataclass(frozen=True, slots=True)
class Login:
    """With what somebody logs in to a server; of another one nothing is known because this one was refused."""

    server_uid: str
    """Of the DataServer: one that comes after it, or that the job names by now, is another."""
    generation: int
    """Of the DataServer: another endpoint may take the same credentials."""
    secret_version: str
    """The resourceVersion of its Secret, or `GUEST`."""


OpenServer = Callable[[Driver, ServerSettings, RateBucket], MediaSource]


@dataclass(slots=True)
class _Open:
    login: Login
    read_at: float
    source: MediaSource | None
    bucket: RateBucket | None = None
    ca_pem: str | None = None
    refused: Unauthorized | None = None


class MediaSources:
    """The sources that this process has open, by their `DataServer`."""

    def __init__(
        self,
        *,
        clock: Clock,
        random: Random,
        roots: Roots,
        cooldowns: Cooldowns,
        open_server: OpenServer | None = None,
    ) -> None:
        """`open_server`: opens a driver for these settings; by default the real ones."""
        self._clock = clock
        self._random = random
        self._roots = roots
        self._cooldowns = cooldowns
        self._open_server = open_server or self._open_driver
        self._open: dict[Key, _Open] = {}
        self._refused: dict[Key, tuple[Login, Unauthorized]] = {}
        """What runs were told last."""
        self._closing: set[asyncio.Task[None]] = set()

    async def open(self, server: DataServer, kube: KubeApi, *, afresh: bool = False) -> MediaSource | None:
        """The server's source, opened anew if spec or Secret have changed; None: the operator has no sight of it.

        `afresh`: read the Secret now. Raises Waiting if the Secret is missing, Terminal if a root is not there,
        `Unauthorized` if the credentials were refused and have not changed since.
        """
        known = self._open.get(server.key)
        if known is None or self._is_due(known, server) or afresh:
            known = await self._read(server, kube, known)
            self._open[server.key] = known
        if known.refused is not None:
            raise known.refused
        if known.bucket is not None and (cooldown := self._cooldowns.of(server.key)) is not None:
            known.bucket.cool((cooldown.until - self._clock.now()).total_seconds(), cooldown.why)
        return known.source

    def opened(self, key: Key) -> MediaSource | None:
        """The source if it is open and its credentials are not refused."""
        known = self._open.get(key)
        return None if known is None or known.refused is not None else known.source

    def refuse(self, key: Key, error: Unauthorized, *, source: MediaSource) -> None:
        """The credentials of this source were refused: nobody logs in with them again."""
        known = self._open.get(key)
        if known is not None and known.source is source:
            known.refused = error

    def doubt(self, key: Key) -> None:
        """The Secrets of this source may be stale: they are read at the next look."""
        known = self._open.get(key)
        if known is not None:
            known.read_at = -math.inf

    def refuse_login(self, key: Key, login: Login, error: Unauthorized) -> None:
        """A run was refused that was begun with this login, long ago perhaps: nobody logs in with it again."""
        self._refused[key] = (login, error)
        known = self._open.get(key)
        if known is None:
            return
        if known.login == login:
            known.refused = error
        else:
            self.doubt(key)  # one of the two is older: see which

    async def login_now(self, server: DataServer, kube: KubeApi) -> Login:
        """The login of a run that begins now. Raises SecretNotFound."""
        reference, version = server.spec.credentials_ref, GUEST
        if reference is not None:
            version, _ = await read_secret(kube, server.metadata.namespace, reference.name)
        return Login(server.metadata.uid, server.metadata.generation, version)

    def refused_version(self, key: Key) -> str | None:
        """The resourceVersion of the Secret that was refused (see `GUEST`), for the status; None: it was not."""
        known = self._open.get(key)
        return None if known is None or known.refused is None else known.login.secret_version

    def forget(self, key: Key) -> None:
        """The object is gone: let go of its source."""
        self._refused.pop(key, None)
        known = self._open.pop(key, None)
        if known is not None:
            self._let_go(known)

    async def close(self) -> None:
        """Let go of every source; for the end of the process."""
        for key in list(self._open):
            self.forget(key)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _is_due(self, known: _Open, server: DataServer) -> bool:
        if (known.login.server_uid, known.login.generation) != (server.metadata.uid, server.metadata.generation):
            return True
        interval_s = REFUSED_INTERVAL_S if known.refused is not None else SECRET_INTERVAL_S
        return self._clock.monotonic() - known.read_at >= interval_s

    async def _read(self, server: DataServer, kube: KubeApi, known: _Open | None) -> _Open:
        meta, reference = server.metadata, server.spec.credentials_ref
        version, values = GUEST, None
        if reference is not None:
            version, values = await read_secret(kube, meta.namespace, reference.name)
        ca_pem = await read_authority(kube, meta.namespace, server.spec.tls.ca_ref) if server.spec.tls else None
        now = self._clock.monotonic()
        login = Login(meta.uid, meta.generation, version)
        if known is not None and (known.login, known.ca_pem) == (login, ca_pem):
            known.read_at = now
            return known
        heard_of, heard = self._refused.get(server.key, (None, None))
        refused = heard if heard_of == login else _refused_before(server, version)
        fresh = _Open(login, now, None, ca_pem=ca_pem, refused=refused)
        if server.spec.local is None:
            fresh.bucket = self._bucket(server)
            settings = settings_of(server, values, ca_pem=ca_pem)
            fresh.source = self._open_server(Driver(server.spec.driver), settings, fresh.bucket)
        else:
            fresh.source = self._open_folder(server)
        if known is not None:
            self._let_go(known)
        return fresh

    def _open_driver(self, driver: Driver, settings: ServerSettings, bucket: RateBucket) -> MediaSource:
        return open_server(driver, settings, bucket=bucket, clock=self._clock)

    def _open_folder(self, server: DataServer) -> MediaSource | None:
        """None: on a PersistentVolumeClaim, which only the pods of runs can mount."""
        local = server.spec.local
        assert local is not None, "asked for Local only"
        if local.root is None:
            return None
        root = self._roots.open(local.root.name, server.metadata.namespace, user=described(server))
        folder = root / (local.root.sub_path or "")
        settings = LocalSettings(
            name=described(server),
            root=folder,
            above=root,
            sentinel=local.sentinel,
            list_timeout_s=list_timeout_of(server),
        )
        return open_folder(settings, clock=self._clock)

    def _bucket(self, server: DataServer) -> RateBucket:
        def tell(cooldown: Cooldown | None) -> None:
            if cooldown is not None:
                left_s = (cooldown.until - self._clock.now()).total_seconds()
                self._cooldowns.cool(server.key, left_s, cooldown.why)

        return bucket_of(server, clock=self._clock, random=self._random, on_change=tell)

    def _let_go(self, known: _Open) -> None:
        if known.source is not None:
            task = asyncio.get_running_loop().create_task(known.source.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


def _refused_before(server: DataServer, version: str) -> Unauthorized | None:
    """What an earlier process was told about these very credentials, by the status."""
    status = server.status
    same = status.observed_generation == server.metadata.generation and status.refused_secret_version == version
    if not same:
        return None
    return Unauthorized(f"{described(server)} refused these credentials before, and they have not changed since")
