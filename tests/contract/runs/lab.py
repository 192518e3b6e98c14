"""The part of a process that executes runs, alone: its endpoint on loopback, an API server in memory, two roots."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import aiohttp

from hack.controlplane.process import free_ports
from pantograph.api import crd, kinds
from pantograph.api.dataserver import DataServer
from pantograph.api.meta import JOBS, PODS, SECRETS, TOKEN_REVIEWS, Body, Key, ResourceType
from pantograph.api.run import RunReport, RunResult
from pantograph.api.strmsyncjob import StrmSyncJob
from pantograph.clock import Clock, SystemClock
from pantograph.controllers.installation import SECRET_NAME, load_installation
from pantograph.controllers.runs.kubejobs import WATCHED
from pantograph.controllers.runs.port import RunOrder, RunState
from pantograph.controllers.runs.roots import Root
from pantograph.controllers.runs.service import RunsService, RunsSettings, ensure
from pantograph.engine.cache import Watched
from pantograph.engine.services import Services
from tests.fakes.apiserver import ApiServer

SYSTEM = "pantograph-system"
NAMESPACE = "films"
RUN = "0123456789abcdef"
KEY = Key("StrmSyncJob", NAMESPACE, "movies")


class Reviewing:
    """The API server, with tokens: which pod's each is, by namespace, name and uid."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api
        self.tokens: dict[str, tuple[str, str, str]] = {}
        self.reviews = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)

    async def create(self, resource: ResourceType, namespace: str, body: Body) -> Body:
        if resource != TOKEN_REVIEWS:
            return await self._api.create(resource, namespace, body)
        self.reviews += 1
        pod = self.tokens.get(body["spec"]["token"])
        if pod is None or body["spec"]["audiences"] != ["pantograph"]:
            return {"status": {"authenticated": False, "error": "invalid bearer token"}}
        extra = {f"authentication.kubernetes.io/pod-{name}": [pod[at]] for at, name in ((1, "name"), (2, "uid"))}
        user = {"username": f"system:serviceaccount:{pod[0]}:default", "extra": extra}
        return {"status": {"authenticated": True, "audiences": ["pantograph"], "user": user}}


class LaterClock(SystemClock):
    """The machine's, ahead by as much as a test says."""

    ahead_s = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead_s)

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


@dataclass
class Lab:
    folder: Path
    clock: LaterClock
    api: ApiServer
    kube: Reviewing
    services: Services
    settings: RunsSettings
    service: RunsService
    session: aiohttp.ClientSession
    ready: bool = True
    leader: str = ""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def runs(self) -> Any:
        return self.service.executor

    async def declare(self, *bodies: Body) -> None:
        """Create these, as a user would, and let the cache know them."""
        for body in bodies:
            resource = {"DataServer": DataServer.info.resource, "StrmSyncJob": StrmSyncJob.info.resource}[body["kind"]]
            made = await self.api.create(resource, body["metadata"]["namespace"], body)
            self.services.learn(made)

    async def put_secret(self, name: str, **values: str) -> None:
        data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE}, "data": data}
        await self.api.create(SECRETS, NAMESPACE, body)

    async def operate(self, run: str | None, key: Key = KEY) -> None:
        """Let the status name this run as the one that is wanted; None: none."""
        operation = run and {
            "type": "Run",
            "token": run,
            "generation": 1,
            "startedAt": "2026-01-01T00:00:00Z",
            "phase": "Intended",
        }
        patch = {"status": {"operation": operation or None}}
        self.services.learn(
            await self.api.merge_patch(StrmSyncJob.info.resource, key.namespace, key.name, patch, subresource="status")
        )

    def order(self, key: Key = KEY, **changes: Any) -> RunOrder:
        job = self.services.cache.read(key, StrmSyncJob)
        assert job is not None
        server = self.services.cache.read(job.refers_to()[0], DataServer)
        assert server is not None
        return replace(RunOrder(id=RUN, job=job, server=server, trigger="manual"), **changes)

    async def pod_of(self, job: str, *, token: str, name: str = "x", owner_uid: str | None = None) -> Body:
        """What the Job controller and the kubelet do: the Job's pod, with a token of its own."""
        namespace, owner = NAMESPACE, (await self.api.get(JOBS, NAMESPACE, job))["metadata"]
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{job}-{name}",
                "namespace": namespace,
                "labels": owner["labels"],
                "ownerReferences": [
                    {
                        "apiVersion": "batch/v1",
                        "kind": "Job",
                        "name": job,
                        "uid": owner_uid or owner["uid"],
                        "controller": True,
                    }
                ],
            },
        }
        pod = await self.api.create(PODS, namespace, body)
        self.kube.tokens[token] = (namespace, pod["metadata"]["name"], pod["metadata"]["uid"])
        return pod

    async def post(
        self, run: str, report: RunReport | bytes | None = None, *, token: str | None = None
    ) -> tuple[int, Any]:
        """POST a report as a run does; the status and the answer, decoded if it is JSON."""
        data = report.model_dump_json(by_alias=True).encode() if isinstance(report, RunReport) else report or b"{}"
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        url = f"https://127.0.0.1:{self.settings.port}/v1/runs/{run}"
        async with self.session.post(url, data=data, headers=headers) as response:
            text = await response.text()
            self.headers = dict(response.headers)
            return response.status, json.loads(text) if text.startswith("{") else text

    async def news(self) -> Key:
        """Wait until a job is to be looked at."""
        key = await asyncio.wait_for(self.services.queue.get(), 60)
        self.services.queue.done(key)
        return key

    async def until_ended(self, handle: str) -> RunState:
        while True:
            state: RunState | None = await self.runs.look(KEY, RUN, handle)
            assert state is not None
            if not state.running:
                return state
            await self.news()

    async def result(self, handle: str) -> RunResult:
        """Of the run, once it has said it."""
        state = await self.until_ended(handle)
        assert state.result is not None, state
        return state.result

    async def restart(self) -> None:
        """Another process of the same installation: nothing is known but what the API server has."""
        await self.stop()
        fresh = services_on(self.kube, self.clock)
        for kind in ("DataServer", "StrmSyncJob", "Job"):
            for key in self.services.cache.keys(kind):
                body = self.services.cache.get(key)
                assert body is not None
                fresh.cache.absorb(body)
        self.services = fresh
        self.service = await service_on(fresh, self.settings)
        await self.start()

    async def start(self) -> None:
        serving = self.service.serve(ready=lambda: self.ready, leader=lambda: self.leader)
        self.tasks = [asyncio.create_task(serving), asyncio.create_task(self.service.executor.keep())]
        await asyncio.wait_for(self.service.listening.wait(), 10)

    async def stop(self) -> None:
        """As the process does: what it has begun ends first, while it still hears."""
        for task in reversed(self.tasks):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def services_on(kube: Any, clock: Clock) -> Services:
    services = Services.create(kube=kube, clock=clock, random=Random(1))
    for watched in (Watched(DataServer.info.resource), Watched(StrmSyncJob.info.resource), WATCHED):
        services.cache.register(watched)
    return services


async def service_on(services: Services, settings: RunsSettings) -> RunsService:
    secret = (SYSTEM, SECRET_NAME)
    certificate = await ensure(settings, services, secret)
    return RunsService(
        settings, services=services, installation="lab", secret=secret, certificate=certificate
    )  # fmt: skip


@asynccontextmanager
async def running_lab(folder: Path) -> AsyncIterator[Lab]:
    """With the roots `media` (what is mirrored) and `library`, both open to the namespace of the tests."""
    api = ApiServer(clock=SystemClock(), rng=Random(1), crds=[crd.definition(kind) for kind in kinds.ALL])
    kube, clock = Reviewing(api), LaterClock()
    services = services_on(kube, clock)
    await load_installation(kube, SYSTEM)
    for name in ("media", "library"):
        (folder / name).mkdir()
    (port,) = free_ports(1, rng=Random())
    settings = RunsSettings(
        host="127.0.0.1",
        port=port,
        url=f"https://pantograph-runs.{SYSTEM}.svc:8443",
        image="registry.example.org/pantograph:1",
        pull_policy="IfNotPresent",
        pull_secrets=("registry",),
        roots=(
            *(Root(name, folder / name, frozenset({NAMESPACE})) for name in ("media", "library", "unplugged")),
            Root("secret", folder / "library", frozenset({"elsewhere"})),
        ),
        directory=folder / "private",
    )
    service = await service_on(services, settings)
    secret = await api.get(SECRETS, SYSTEM, SECRET_NAME)
    context = ssl.create_default_context(cadata=_decoded(secret["data"]["runs-ca.crt"]))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        lab = Lab(folder, clock, api, kube, services, settings, service, session)
        await lab.start()
        try:
            yield lab
        finally:
            await lab.stop()


def _decoded(value: str) -> str:
    return base64.b64decode(value).decode()


def server(**spec: Any) -> Body:
    """A DataServer: the root `media`, unless `spec` says otherwise."""
    local = {"driver": "Local", "local": {"root": {"name": "media"}, "sentinel": "here"}}
    return _object("DataServer", "nas", spec or local)


def job(name: str = "movies", **spec: Any) -> Body:
    """A StrmSyncJob into the root `library`."""
    body = {
        "serverRef": {"name": "nas"},
        "source": {"path": "/"},
        "target": {"root": {"name": "library", "subPath": name}},
        "link": {"mode": "Mount", "mountPrefix": "/mnt"},
    }
    return _object("StrmSyncJob", name, body | spec)


def claimed(name: str = "movies", **spec: Any) -> Body:
    """Likewise into a claim."""
    return job(name, target={"persistentVolumeClaim": {"claimName": "library", "subPath": name}}, **spec)


def remote(**limits: Any) -> Body:
    """A DataServer that is reached over HTTP."""
    return server(
        driver="OpenList", endpoint="http://openlist:5244", credentialsRef={"name": "openlist"}, limits=limits or None
    )


def slow_server(endpoint: str) -> Body:
    """An OpenList that is asked ten times a second at most."""
    limits = {"requestsPerMinute": 600, "burst": 1}
    return server(driver="OpenList", endpoint=endpoint, credentialsRef={"name": "openlist"}, limits=limits)


def _object(kind: str, name: str, spec: Body) -> Body:
    return {
        "apiVersion": "pantograph.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {key: value for key, value in spec.items() if value is not None},
    }
