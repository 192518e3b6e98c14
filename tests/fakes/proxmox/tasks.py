"""Worker tasks: identifiers, logs, exit status, abort and kill.

A task's body is a coroutine that writes to its log and raises `TaskError`. `abort` interrupts it and lets it clean up;
`kill` ends it as `kill -9` or a power cut does: nothing is cleaned up, and its exit status is `unexpected status`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from pantograph.clock import Clock
from tests.fakes.proxmox.answers import PveAnswer, TaskError

KEPT_FINISHED = 2000
"""Finished tasks that a node's list still shows; status and log of older ones can still be read."""


@dataclass(slots=True, eq=False)
class Task:
    upid: str
    node: str
    type: str
    id: str
    user: str
    starttime: int
    pid: int
    pstart: int
    log: list[str] = field(default_factory=list)
    exitstatus: str | None = None
    endtime: int | None = None
    warnings: int = 0
    killed: bool = False
    """The worker was ended without a chance to clean up."""
    done: asyncio.Event = field(default_factory=asyncio.Event)
    _worker: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        return self.exitstatus is None

    def say(self, line: str) -> None:
        self.log.append(line)

    def warn(self, line: str) -> None:
        self.warnings += 1
        self.log.append(f"WARN: {line}")


Body = Callable[[Task], Awaitable[None]]


class Tasks:
    """The tasks of all nodes."""

    def __init__(self, clock: Clock, random: Random) -> None:
        self._clock = clock
        self._random = random
        self._by_upid: dict[str, Task] = {}
        self._running: dict[str, Task] = {}
        self._finished: dict[str, deque[Task]] = {}
        self._let_go = asyncio.Event()
        self._let_go.set()

    def start(self, *, node: str, type: str, id: str, user: str, body: Body) -> str:
        """Fork a worker for `body` and return its UPID at once."""
        pid, pstart = self._random.randrange(0x400, 0x3FFFFF), int(self._clock.monotonic() * 100) & 0xFFFFFFFF
        starttime = int(self._clock.now().timestamp())
        upid = f"UPID:{node}:{pid:08X}:{pstart:08X}:{starttime:08X}:{type}:{id}:{user}:"
        task = Task(upid, node, type, id, user, starttime, pid, pstart)
        self._by_upid[upid] = self._running[upid] = task
        task._worker = asyncio.create_task(self._work(task, body), name=upid)
        return upid

    def get(self, upid: str) -> Task | None:
        return self._by_upid.get(upid)

    def all(self) -> list[Task]:
        """Every task that anybody can still ask for."""
        return list(self._by_upid.values())

    def of_node(self, node: str) -> Iterator[Task]:
        """Newest first: running ones, then finished ones."""
        running = [t for t in self._running.values() if t.node == node]
        yield from sorted(running, key=lambda t: t.starttime, reverse=True)
        yield from reversed(self._finished.get(node, ()))

    def running(self) -> list[Task]:
        return list(self._running.values())

    def abort(self, task: Task) -> None:
        """SIGTERM: the body sees a cancellation and cleans up."""
        if task.running and task._worker is not None:
            task._worker.cancel()

    def kill(self, task: Task) -> None:
        """SIGKILL: nothing more happens in it."""
        if not task.running or task._worker is None:
            return
        task.killed = True
        task._worker.cancel()
        self._end(task, "unexpected status")

    def hold(self) -> None:
        """Tasks that start from now on do not get on with their work."""
        self._let_go.clear()

    def let_go(self) -> None:
        self._let_go.set()

    def forget(self, node: str) -> None:
        """Nobody can ask for the node's tasks any more, running or ended."""
        self._by_upid = {upid: task for upid, task in self._by_upid.items() if task.node != node}
        self._finished.pop(node, None)
        self._running = {upid: task for upid, task in self._running.items() if task.node != node}

    async def settle(self) -> None:
        """Return when no task runs."""
        while self._running:
            await next(iter(self._running.values())).done.wait()

    async def close(self) -> None:
        """End the workers that still run, as a power cut would."""
        workers = [t._worker for t in self._running.values() if t._worker is not None]
        for task in self.running():
            self.kill(task)
        await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, task: Task, body: Body) -> None:
        try:
            await self._let_go.wait()
            await body(task)
        except asyncio.CancelledError:
            if not task.killed:
                self._fail(task, "received interrupt")
        except (TaskError, PveAnswer) as error:
            self._fail(task, error.text if isinstance(error, PveAnswer) else str(error))
        except Exception as error:
            # An error of the simulator itself must be seen, in the task and on the console.
            self._fail(task, f"simulator: {error!r}")
            raise
        else:
            status = f"WARNINGS: {task.warnings}" if task.warnings else "OK"
            task.say(f"TASK {status}")
            self._end(task, status)

    def _fail(self, task: Task, text: str) -> None:
        task.say(f"TASK ERROR: {text}")
        self._end(task, text.replace("\n", " "))

    def _end(self, task: Task, status: str) -> None:
        if task.exitstatus is not None:
            return
        task.exitstatus = status
        task.endtime = int(self._clock.now().timestamp())
        task._worker = None
        task.done.set()
        if self._running.pop(task.upid, None) is None:
            return  # forgotten
        self._finished.setdefault(task.node, deque(maxlen=KEPT_FINISHED)).append(task)
