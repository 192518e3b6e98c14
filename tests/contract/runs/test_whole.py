"""The controllers and what executes their runs, together: real children on real folders, an API server in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from hack.controlplane.process import free_ports
from pantograph.api import crd, kinds
from pantograph.api.meta import Body
from pantograph.api.strmsyncjob import StrmSyncJob
from pantograph.clock import SystemClock
from pantograph.controllers.dataserver import DataServerController
from pantograph.controllers.installation import load_installation
from pantograph.controllers.mediasources import MediaSources
from pantograph.controllers.runs.roots import Root, Roots
from pantograph.controllers.runs.service import RunsSettings
from pantograph.controllers.strmsyncjob.alerting import Messengers
from pantograph.controllers.strmsyncjob.controller import StrmSyncJobController
from pantograph.controllers.strmsyncjob.media import Media
from pantograph.controllers.strmsyncjob.watches import Watches
from pantograph.engine.kube import NotFound
from pantograph.engine.manager import Manager
from pantograph.engine.services import Services
from tests.contract.runs.lab import NAMESPACE, SYSTEM, job, server, service_on
from tests.fakes.apiserver import ApiServer

JOBS = StrmSyncJob.info.resource


@dataclass
class Whole:
    """The operator with two roots, `media` and `library`."""

    folder: Path
    api: ApiServer

    async def apply(self, *bodies: Body) -> None:
        for body in bodies:
            resource = next(kind.info.resource for kind in kinds.ALL if kind.info.resource.kind == body["kind"])
            await self.api.apply(resource, NAMESPACE, body["metadata"]["name"], body)

    async def annotate(self, **annotations: str) -> None:
        values = {f"pantograph.dev/{name.replace('_', '-')}": value for name, value in annotations.items()}
        await self.api.merge_patch(JOBS, NAMESPACE, "movies", {"metadata": {"annotations": values}})

    async def job(self) -> Body:
        return await self.api.get(JOBS, NAMESPACE, "movies")

    async def until(self, condition: Callable[[Body], Any]) -> Body:
        """The job's status, once `condition` holds of it; a real minute is enough for a few files."""
        async with asyncio.timeout(60):
            while True:
                status: Body = (await self.job()).get("status", {})
                if condition(status):
                    return status
                await asyncio.sleep(0.1)

    def film(self, name: str) -> None:
        path = self.folder / "media" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"film")

    def library(self) -> list[str]:
        root = self.folder / "library/movies"
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.strm"))


@asynccontextmanager
async def operating(folder: Path) -> AsyncIterator[Whole]:
    api = ApiServer(clock=SystemClock(), rng=Random(1), crds=[crd.definition(kind) for kind in kinds.ALL])
    for name in ("media", "library"):
        (folder / name).mkdir()
    (folder / "media/here").touch()
    (port,) = free_ports(1, rng=Random())
    roots = tuple(Root(name, folder / name, frozenset({NAMESPACE})) for name in ("media", "library"))
    settings = RunsSettings(
        host="127.0.0.1",
        port=port,
        url=f"https://pantograph-runs.{SYSTEM}.svc:8443",
        image="registry.example.org/pantograph:1",
        pull_policy="IfNotPresent",
        pull_secrets=(),
        roots=roots,
        directory=folder / "private",
    )
    await load_installation(api, SYSTEM)
    services = Services.create(kube=api, clock=SystemClock(), random=Random(1))
    runs = await service_on(services, settings)
    sources = MediaSources(
        clock=services.clock, random=services.random, roots=Roots(roots), cooldowns=runs.cooldowns
    )  # fmt: skip
    media = Media(
        runs=runs.executor,
        sources=sources,
        watches=Watches(clock=services.clock, wake=lambda key: services.wake({key}), refuse=sources.refuse),
        roots=Roots(roots),
        cooldowns=runs.cooldowns,
        alerts=Messengers(),
    )
    manager = Manager(
        services=services,
        source=api,
        controllers=[
            DataServerController(services, sources=sources, cooldowns=runs.cooldowns),
            StrmSyncJobController(services, media),
        ],
        background=[runs.executor.keep],
    )
    tasks = [
        asyncio.create_task(runs.serve(ready=lambda: manager.ready, leader=lambda: "")),
        asyncio.create_task(manager.run()),
    ]
    try:
        yield Whole(folder, api)
        assert not any(task.done() for task in tasks)
    finally:
        for task in reversed(tasks):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await media.watches.close()
        await sources.close()


def is_ready(status: Body) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", []))


def ended(run: int) -> Callable[[Body], bool]:
    return lambda status: len(status.get("history", [])) >= run and "run" not in status


async def test_a_folder_is_mirrored_kept_and_removed_with_its_job(tmp_path: Path) -> None:
    async with operating(tmp_path) as whole:
        for name in ("A/a.mkv", "B/b.mkv"):
            whole.film(name)
        await whole.apply(server(), job(deletionPolicy="Delete"))
        status = await whole.until(is_ready)
        assert whole.library() == ["A/a.strm", "B/b.strm"]
        assert (status["lastRun"]["created"], status["inventory"]["strm"]) == (2, 2)

        whole.film("C/c.mkv")
        await whole.annotate(reconcile_at="again")
        status = await whole.until(ended(1))
        assert whole.library() == ["A/a.strm", "B/b.strm", "C/c.strm"]
        assert (status["lastRun"]["created"], status["lastRun"]["unchanged"]) == (1, 2)

        (tmp_path / "library/movies/A/a.strm").write_text("somebody's own")
        await whole.api.delete(JOBS, NAMESPACE, "movies")
        async with asyncio.timeout(60):
            while True:
                try:
                    await whole.job()
                except NotFound:
                    break
                await asyncio.sleep(0.1)
        assert whole.library() == ["A/a.strm"]


async def test_a_source_that_is_gone_removes_nothing_and_the_job_says_so(tmp_path: Path) -> None:
    async with operating(tmp_path) as whole:
        whole.film("A/a.mkv")
        await whole.apply(server(), job(prune={"mode": "Delete"}))
        await whole.until(is_ready)
        (tmp_path / "media/here").unlink()
        (tmp_path / "media/A/a.mkv").unlink()
        await whole.annotate(reconcile_at="again")
        status = await whole.until(lambda status: status.get("consecutiveFailures"))
        assert status["lastRun"]["reason"] == "MountMissing"
        assert whole.library() == ["A/a.strm"]
        reachable = next(each for each in status["conditions"] if each["type"] == "SourceReachable")
        assert reachable["status"] == "False"


async def test_a_new_film_is_followed_by_a_run_over_its_folder(tmp_path: Path) -> None:
    async with operating(tmp_path) as whole:
        whole.film("A/a.mkv")
        await whole.apply(server(), job(watch={"minInterval": "1s"}))
        await whole.until(is_ready)
        await whole.until(
            lambda status: (
                "run" not in status
                and any(each["type"] == "WatchConnected" and each["status"] == "True" for each in status["conditions"])
            )
        )
        whole.film("A/b.mkv")
        await whole.until(lambda _: whole.library() == ["A/a.strm", "A/b.strm"])
        status = await whole.until(lambda status: status["lastRun"]["created"] == 1 and "run" not in status)
        assert status["lastRun"]["trigger"] == "watch"
