"""The lab of media: the controllers of DataServers and StrmSyncJobs on an in-memory API server, on virtual time.

    async with MediaLab() as lab:
        await lab.apply(lab.job("films"))
        await lab.until_ready("strmsyncjob/films")

The operator can be killed at any time (`kill`, `restart`); data servers, runs and the mailbox live on in `lab.server`,
`lab.runners` and `lab.mailbox`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from pantograph.api.meta import Body, Key
from pantograph.api.strmsyncjob import StrmSyncJob
from pantograph.controllers.dataserver import DataServerController
from pantograph.controllers.mediasources import MediaSources
from pantograph.controllers.runs.cooldowns import Cooldowns
from pantograph.controllers.runs.roots import Root, Roots
from pantograph.controllers.strmsyncjob.controller import StrmSyncJobController
from pantograph.controllers.strmsyncjob.media import Media
from pantograph.controllers.strmsyncjob.watches import Watches
from pantograph.engine.manager import Manager
from pantograph.engine.services import Services
from pantograph.providers.proxmox.connection import ConnectionPool
from tests.simulation.crashpoints import Tap
from tests.simulation.depot import SimulatedDepot
from tests.simulation.jobs.world import FakeRuns, Mailbox, MediaServerWorld, Runners
from tests.simulation.lab import NAMESPACE, Lab, _object, encoded


class MediaLab(Lab):
    """One namespace, one DataServer `openlist`, one root `media`, and an operator that can be killed at any time."""

    def __init__(
        self,
        *,
        seed: int = 1,
        tap: Tap | None = None,
        max_runs: int = 8,
        namespaces: Sequence[str] = (NAMESPACE,),
        server: bool = True,
        **limits: Any,
    ) -> None:
        super().__init__(seed=seed, nodes=("pve1",), tap=tap)
        self.openlist = MediaServerWorld()
        self.runners = Runners(self.clock)
        self.mailbox = Mailbox()
        self.max_runs = max_runs
        self.root = Root("media", Path("/"), frozenset(namespaces))
        self._limits = limits
        self._with_server = server
        self.services: Services | None = None
        self.cooldowns: Cooldowns | None = None

    async def __aenter__(self) -> Self:
        if self._with_server:
            await self.apply(self.login())
            await self.apply(self.data_server(limits=self._limits))
        await self.start()
        return self

    async def _live(self, depot: SimulatedDepot, pool: ConnectionPool) -> None:
        services = self.services = Services.create(kube=self.kube, clock=self.clock, random=self.random)
        self.metrics.append(services.metrics)
        cooldowns = self.cooldowns = Cooldowns(self.clock, on_change=lambda key: services.wake({key}))
        roots = Roots([self.root])
        sources = MediaSources(
            clock=self.clock,
            random=self.random,
            roots=roots,
            cooldowns=cooldowns,
            open_server=self.openlist.open,
        )
        media = Media(
            runs=FakeRuns(self.runners, self.server, self.tap),
            sources=sources,
            watches=Watches(clock=self.clock, wake=lambda key: services.wake({key}), refuse=sources.refuse),
            roots=roots,
            cooldowns=cooldowns,
            alerts=self.mailbox,
            max_runs=self.max_runs,
        )
        manager = Manager(
            services=services,
            source=self.server,
            controllers=[
                DataServerController(services, sources=sources, cooldowns=cooldowns),
                StrmSyncJobController(services, media),
            ],
        )
        try:
            await manager.run()
        finally:
            await media.watches.close()
            await sources.close()

    async def kill(self) -> None:
        await super().kill()
        self.runners.operator_died()

    # --- what users write

    def login(self, *, password: str = "secret") -> Body:
        return self.secret("openlist", username="anna", password=password)

    def secret(self, name: str, **values: str) -> Body:
        data = {key: encoded(value) for key, value in values.items()}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}

    def data_server(self, name: str = "openlist", **spec: Any) -> Body:
        declared = {
            "driver": "OpenList",
            "endpoint": "http://openlist:5244",
            "credentialsRef": {"name": "openlist"},
            **spec,
        }
        return _object("DataServer", name, {key: value for key, value in declared.items() if value})

    def job(self, name: str = "films", *, path: str = "/Films", **spec: Any) -> Body:
        return _object(
            "StrmSyncJob",
            name,
            {
                "serverRef": {"name": "openlist"},
                "source": {"path": path},
                "target": {"root": {"name": "media", "subPath": name}},
                "link": {"publicBase": "http://openlist.lan:5244"},
                **spec,
            },
        )

    async def annotate(self, name: str, **annotations: str | None) -> None:
        """`kubectl annotate`, of our annotations: `cancel="1"`."""
        values = {f"pantograph.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
        await self.patch(f"strmsyncjob/{name}", {"metadata": {"annotations": values}})

    async def annotate_server(self, **annotations: str) -> None:
        values = {f"pantograph.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
        await self.patch("dataserver/openlist", {"metadata": {"annotations": values}})

    def wake(self, name: str) -> None:
        """A run of the job has said something."""
        assert self.services is not None
        self.services.queue.add(Key("StrmSyncJob", NAMESPACE, name))

    def turn_clock(self, **by: float) -> None:
        """Somebody sets the wall clock: what is measured goes on as before."""
        self.clock._epoch += timedelta(**by)

    # --- what users read

    @property
    def server_key(self) -> Key:
        return Key("DataServer", NAMESPACE, "openlist")

    def reason_in(self, namespace: str, job: str) -> str:
        """Ready's reason of a job in another namespace."""
        body = self.kubectl.store.all(StrmSyncJob.info.resource).get((namespace, job)) or {}
        conditions = body.get("status", {}).get("conditions", [])
        return next((each["reason"] for each in conditions if each["type"] == "Ready"), "")

    def run(self, name: str = "films") -> Body:
        """The run at work, or `{}`."""
        run: Body = self.status(f"strmsyncjob/{name}").get("run", {})
        return run

    def last(self, name: str = "films") -> Body:
        """The last run, or `{}`."""
        last: Body = self.status(f"strmsyncjob/{name}").get("lastRun", {})
        return last

    def begun(self, name: str = "films") -> list[str]:
        """Why each run of the job was begun."""
        return [run.order.trigger for run in self.runners.of(name)]

    def picture(self) -> str:
        lines = []
        for kind in ("dataserver", "strmsyncjob"):
            for body in self.all(kind):
                what = f"{kind}/{body['metadata']['name']}"
                status = self.status(what)
                said = [
                    f"{c['type']}={c['status']} {c['reason']}: {c['message']}" for c in status.get("conditions", [])
                ]
                rest = {key: value for key, value in status.items() if key != "conditions"}
                lines.append(f"{what} {rest}\n    " + "\n    ".join(said))
        return "\n".join(lines)
