"""`Runs` as it is: a root's runs are children of this process, a claim's are Kubernetes Jobs."""

from __future__ import annotations

from pantograph.api.meta import Key
from pantograph.controllers.runs import kubejobs
from pantograph.controllers.runs.children import Children
from pantograph.controllers.runs.kubejobs import KubeJobs
from pantograph.controllers.runs.port import RunOrder, RunState


class Executor:
    """Implements `Runs`. A handle tells by its beginning who has the run."""

    def __init__(self, children: Children, jobs: KubeJobs) -> None:
        self._children = children
        self._jobs = jobs

    async def start(self, order: RunOrder) -> str:
        here = order.job.spec.target.root is not None
        return await (self._children.start(order) if here else self._jobs.start(order))

    async def find(self, key: Key, run: str) -> str | None:
        return self._children.find(run) or await self._jobs.find(key, run)

    async def look(self, key: Key, run: str, handle: str) -> RunState | None:
        if _is_child(handle):
            return self._children.look(run, handle)
        return await self._jobs.look(key, run, handle)

    async def cancel(self, key: Key, run: str, handle: str) -> None:
        if _is_child(handle):
            self._children.cancel(run)
        else:
            await self._jobs.cancel(key, run, handle)

    async def forget(self, key: Key, run: str, handle: str) -> None:
        if _is_child(handle):
            self._children.forget(run)
        else:
            await self._jobs.forget(key, run, handle)

    async def end(self, key: Key) -> None:
        await self._children.end(key)  # first: for this nobody else is needed
        await self._jobs.end(key)

    async def keep(self) -> None:
        """Background work of the process that leads, until cancelled; ends the children before another may lead."""
        try:
            await self._children.keep()
        finally:
            await self._jobs.close()


def _is_child(handle: str) -> bool:
    return not handle.startswith(f"{kubejobs.HANDLE}/")
