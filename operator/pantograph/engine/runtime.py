"""The process around the core: the server at once, the core when the Lease is ours, and an orderly end.

Three things run beside each other: the server, the elector, and the manager with kopf's watch in it. If one of them
ends by itself, the process ends: a fresh one finds everything again, a half one would idle unnoticed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from pantograph.garbage import collect_seldom

from .informer import MissingKinds
from .lease import Elector, LeaseLost
from .login import LoginError
from .manager import Background, Manager
from .server import ProbeServer

logger = logging.getLogger(__name__)

GRACE_S = 10.0
"""What reconciles in hand get on SIGTERM; within Kubernetes' 30 s before the kill."""


class Runtime:
    """Runs until SIGTERM or SIGINT (then `run` returns), or until a part ends (then it raises what ended it)."""

    def __init__(
        self,
        *,
        manager: Manager,
        server: ProbeServer | None = None,
        elector: Elector | None = None,
        beside: Sequence[Background] = (),
        grace_s: float = GRACE_S,
    ) -> None:
        """Without `elector` it works at once. `beside` runs on a standby too (refreshing credentials)."""
        self._manager = manager
        self._server = server
        self._elector = elector
        self._beside = beside
        self._grace_s = grace_s
        self._stop = asyncio.Event()
        self._leads = elector is None

    @property
    def ready(self) -> bool:
        """A standby is ready; a leader once its cache is complete."""
        return not self._leads or self._manager.ready

    def stop(self) -> None:
        """End in good order, as SIGTERM does."""
        self._stop.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        tasks = [asyncio.create_task(work(), name="beside") for work in self._beside]
        if self._server is not None:
            tasks.append(asyncio.create_task(self._server.run(), name="server"))
        work = asyncio.create_task(self._work(), name="work")
        try:
            await _first_end([work, *tasks], self._stop)
            if not work.done():
                await self._end(work)
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
            await _cancel([work, *tasks])

    async def _work(self) -> None:
        if self._elector is None:
            await self._manager.run()
            return
        await self._elector.acquire()
        self._leads = True
        hold = asyncio.create_task(self._elector.hold(), name="elector")
        core = asyncio.create_task(self._manager.run(), name="manager")
        try:
            # The manager ends by itself only after `stop`; meanwhile the Lease is renewed to the end.
            await asyncio.wait([hold, core], return_when=asyncio.FIRST_COMPLETED)
            if core.done():
                await core
            else:
                await hold
        finally:
            await _cancel([hold, core])

    async def _end(self, work: asyncio.Task[None]) -> None:
        """Finish what is in hand, then let the successor begin."""
        logger.info("asked to stop")
        if self._leads:
            self._manager.stop(grace_s=self._grace_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(work, self._grace_s + 5)
        else:
            await _cancel([work])
        if self._elector is not None:
            await self._elector.release()


async def _first_end(tasks: Sequence[asyncio.Task[None]], stop: asyncio.Event) -> None:
    """Return when `stop` is set; raise what ended a task before that."""
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
    for task in done - {stopping}:
        await task
        raise RuntimeError(f"{task.get_name()} has ended by itself")


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def run_process(main: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run `main` as the whole process; the exit code, with the reason of a failure in the log."""
    collect_seldom()
    try:
        asyncio.run(main())
    except (MissingKinds, LoginError) as error:
        logger.critical("%s", error)
        return 1
    except LeaseLost as error:
        logger.critical("another process may work now, so this one ends: %s", error)
        logging.shutdown()
        os._exit(1)  # at once: threads of blocking libraries would be waited for
    except Exception:
        logger.critical("the operator ends", exc_info=True)
        return 1
    return 0
