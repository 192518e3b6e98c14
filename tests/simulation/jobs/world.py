"""Media servers and runs as a controller meets them: everything that lives on when the operator dies.

A run here mirrors nothing: it takes as long as it is told, and ends as it is told. What it was ordered to do is kept.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Literal

from pantograph.api.meta import JOBS, Key
from pantograph.api.notify import AlertReceiver
from pantograph.api.run import RunInventory, RunProgress, RunResult
from pantograph.clock import Clock
from pantograph.controllers.runs.port import RunOrder, RunState, Silence
from pantograph.engine.errors import StepError
from pantograph.engine.kube import KubeApi, KubeError
from pantograph.providers.errors import BasePathChanged, ProviderError, Unauthorized, Unreachable
from pantograph.providers.media.bucket import RateBucket
from pantograph.providers.media.port import (
    Capabilities,
    Entry,
    Hint,
    HintKind,
    Link,
    Listing,
    ServerInfo,
    SignMode,
)
from pantograph.providers.media.settings import ServerSettings
from pantograph.providers.media.sources import Driver
from pantograph.providers.notify.alerts import Alert, Secrets
from tests.simulation.crashpoints import Tap

GOOD = RunResult(result="Succeeded", created=3, inventory=RunInventory(strm=3))
BLOCKED = GOOD.model_copy(
    update={
        "result": "Blocked",
        "reason": "PruneBlocked",
        "prune_blocked": "too many",
        "message": "too many",
        "prune_candidates": 9,
        "candidates_digest": "ab" * 32,
    }
)


def failed(reason: str, message: str = "it went wrong") -> RunResult:
    return RunResult(result="Failed", reason=reason, message=message)


@dataclass(slots=True)
class Run:
    """One run that was really begun."""

    order: RunOrder
    began: float
    took_s: float
    result: RunResult
    cancelled: bool = False
    gone: bool = False
    """Its process is dead, and nobody knows of it any more."""
    forgotten: bool = False
    silence: Silence | None = None
    """Nothing is heard of it."""
    progress: RunProgress = field(default_factory=RunProgress)


class Runners:
    """All runs of the installation, by their id, whoever asked for them."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.takes_s = 20.0
        self.children = False
        """Whether runs die with the operator."""
        self.results: list[RunResult] = []
        """Of the next runs; then all end well."""
        self.refuse: StepError | KubeError | None = None
        """Why no run can be begun, or what is answered instead of whether it was."""
        self.deaf = False
        """Runs do not stop when they are told to."""
        self.cannot_end: KubeError | None = None
        """Why no run can be ended."""
        self.runs: dict[str, Run] = {}
        self.order: list[Run] = []

    def begin(self, order: RunOrder) -> None:
        if order.id in self.runs:
            return
        if self.refuse is not None:
            raise self.refuse
        result = self.results.pop(0) if self.results else GOOD
        self.runs[order.id] = Run(order, self.clock.monotonic(), self.takes_s, result)
        self.order.append(self.runs[order.id])
        at_work = [run for run in self.at_work() if run.order.job.key == order.job.key]
        assert len(at_work) == 1, f"two runs of {order.job.key} at once"

    def at_work(self) -> list[Run]:
        return [run for run in self.runs.values() if self.is_at_work(run)]

    def is_at_work(self, run: Run) -> bool:
        if run.gone:
            return False
        return self.clock.monotonic() < run.began + run.took_s and not (run.cancelled and not self.deaf)

    def state(self, run: Run) -> RunState:
        if self.is_at_work(run):
            fault = run.silence.fault if run.silence else ""
            return RunState(running=True, progress=run.progress, fault=fault, silence=run.silence)
        result = run.result
        if run.cancelled and self.clock.monotonic() < run.began + run.took_s:
            result = RunResult(result="Cancelled", reason="Cancelled")
        return RunState(running=False, progress=run.progress, result=result)

    def end_of(self, key: Key) -> None:
        if self.cannot_end is not None:
            raise self.cannot_end
        for run in self.at_work():
            if run.order.job.key == key:
                run.gone = True

    def operator_died(self) -> None:
        for run in self.at_work() if self.children else ():
            run.gone = True
            self.results.insert(0, run.result)  # whoever goes on there meets the same

    def of(self, job: str) -> list[Run]:
        """The runs of a job, in the order in which they began."""
        return [run for run in self.order if run.order.job.metadata.name == job]


class FakeRuns:
    """`Runs` on these runners, for one life of the operator."""

    def __init__(self, runners: Runners, kube: KubeApi, tap: Tap | None = None) -> None:
        """`kube`: what makes the Jobs of runs on a claim, or refuses them; they are nothing else here."""
        self._runners = runners
        self._kube = kube
        self._tap = tap

    async def start(self, order: RunOrder) -> str:
        if order.job.spec.target.root is None and order.id not in self._runners.runs:
            await self._kube.create(JOBS, order.job.metadata.namespace, {"metadata": {"name": f"run-{order.id}"}})
        self._effect(f"start {order.job.metadata.name}", lambda: self._runners.begin(order))
        return f"run/{order.id}"

    async def find(self, key: Key, run: str) -> str | None:
        known = self._runners.runs.get(run)
        return None if known is None or known.gone else f"run/{run}"

    async def look(self, key: Key, run: str, handle: str) -> RunState | None:
        known = self._runners.runs.get(run)
        return None if known is None or known.gone or known.forgotten else self._runners.state(known)

    async def cancel(self, key: Key, run: str, handle: str) -> None:
        def cancel() -> None:
            self._runners.runs[run].cancelled = True

        self._effect(f"cancel {key.name}", cancel)

    async def forget(self, key: Key, run: str, handle: str) -> None:
        def forget() -> None:
            if run in self._runners.runs:
                self._runners.runs[run].forgotten = True

        self._effect(f"forget {key.name}", forget)

    async def end(self, key: Key) -> None:
        self._effect(f"end {key.name}", lambda: self._runners.end_of(key))

    def _effect(self, name: str, happen: Callable[[], None]) -> None:
        if self._tap is None:
            happen()
            return
        number = self._tap.before(name)
        happen()
        self._tap.after(number, lambda: AssertionError("the answer of a run is never lost: the call is local"))


class MediaServerWorld:
    """One media server, and who is connected to it."""

    def __init__(self) -> None:
        self.capabilities = Capabilities(
            watch=True, http=True, mount=False, pickcode=False, sign=True, proves_complete_listing=True
        )
        self.fault: ProviderError | None = None
        self.password = "secret"
        self.certificate: str | None = None
        """It signed itself, and only who names it connects."""
        self.base_path = "/"
        self.logins = 0
        self.tests = 0
        self.streams: list[asyncio.Queue[Hint | ProviderError]] = []
        self.streams_opened = 0

    def tell(self, path: str, kind: HintKind = HintKind.CHANGED) -> None:
        for stream in self.streams:
            stream.put_nowait(Hint(kind, path))

    def cut(self) -> None:
        """The streams break and come back."""
        for stream in self.streams:
            stream.put_nowait(Hint(HintKind.LOST, "/", why="the connection broke"))
            stream.put_nowait(Hint(HintKind.RESCAN, "/"))

    def open(self, driver: Driver, settings: ServerSettings, bucket: RateBucket) -> FakeSource:
        return FakeSource(self, settings, bucket)


class FakeSource:
    """A connection to it."""

    def __init__(self, world: MediaServerWorld, settings: ServerSettings, bucket: RateBucket) -> None:
        self._world = world
        self._settings = settings
        self._bucket = bucket
        self._logged_in = False
        self._base_path: str | None = None
        self.closed = False

    @property
    def capabilities(self) -> Capabilities:
        return self._world.capabilities

    async def test_connection(self) -> ServerInfo:
        async with self._bucket.call():
            self._world.tests += 1
            if self._world.fault is not None:
                raise self._world.fault
            if self._world.certificate is not None and self._settings.ca_pem != self._world.certificate:
                raise Unreachable(f"{self._settings.name}: its certificate is not trusted", reason="CertificateRefused")
            if not self._logged_in:
                self._log_in()
            if self._base_path not in (None, self._world.base_path):
                raise BasePathChanged(f"the base path changed to {self._world.base_path}")
            self._base_path = self._world.base_path
            return ServerInfo(product="Fake", version="1.2", logged_in=True, user="anna")

    def _log_in(self) -> None:
        self._world.logins += 1
        given = self._settings.credentials
        if isinstance(given, dict) and given.get("password") != self._world.password:
            raise Unauthorized(f"{self._settings.name} refused the credentials")
        self._logged_in = True

    async def watch(self, path: str) -> AsyncIterator[Hint]:
        stream: asyncio.Queue[Hint | ProviderError] = asyncio.Queue()
        self._world.streams.append(stream)
        self._world.streams_opened += 1
        try:
            if self._world.fault is None:
                yield Hint(HintKind.RESCAN, path)
            while True:
                told = await stream.get()
                if isinstance(told, ProviderError):
                    raise told
                yield told
        finally:
            self._world.streams.remove(stream)

    async def list(self, path: str, *, refresh: bool = False) -> Listing:
        raise Unreachable("the operator itself lists nothing")

    async def stat(self, path: str) -> Entry:
        raise Unreachable("the operator itself lists nothing")

    def link(self, entry: Entry, *, sign: SignMode = SignMode.FROM_LISTING) -> Link:
        return Link(entry.path)

    async def read(self, entry: Entry) -> AsyncIterator[bytes]:
        raise Unreachable("the operator itself reads nothing")
        yield b""

    async def close(self) -> None:
        self.closed = True


class Mailbox:
    """Where alerts arrive."""

    def __init__(self) -> None:
        self.told: list[tuple[Literal["Failed", "Blocked", "Recovered"], str]] = []
        self.fault: ProviderError | None = None
        self.closed: set[str] = set()
        """Receivers that do not take anything, by name."""
        self.broken: set[str] = set()
        """Receivers in whose telling there is a defect."""
        self.attempts: Counter[str] = Counter()

    async def send(self, receiver: AlertReceiver, alert: Alert, *, secrets: Secrets) -> None:
        self.attempts[receiver.name] += 1
        if self.fault is not None:
            raise self.fault
        if receiver.name in self.broken:
            raise ZeroDivisionError
        if receiver.name in self.closed:
            raise Unreachable(f"{receiver.name} takes nothing")
        self.told.append((alert.result, alert.reason))
