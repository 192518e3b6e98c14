"""The streams on which data servers tell of changes: one a server, for all jobs that want to hear of it.

What is heard is a hint, kept in memory only: whatever a lost stream or a process that ended did not hear, the rescan
mends with which every stream begins.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from pantograph.api.meta import Key
from pantograph.api.run import RunResult
from pantograph.clock import Clock
from pantograph.providers.errors import ProviderError, Unauthorized
from pantograph.providers.media.port import Hint, HintKind, MediaSource
from pantograph.strm.watching import Hints

logger = logging.getLogger(__name__)

RETRY_S: Final = 60.0
OPENING: Final = "the stream is being opened"


@dataclass(slots=True)
class Followed:
    """What one job hears."""

    root: str
    hints: Hints
    connected: bool = False
    why: str = OPENING
    """Why it is not connected."""


class Refuse(Protocol):
    """See `MediaSources.refuse`."""

    def __call__(self, key: Key, error: Unauthorized, /, *, source: MediaSource) -> None: ...


@dataclass(slots=True)
class _Stream:
    source: MediaSource
    path: str
    """The directory that holds all that the jobs want to hear of."""
    jobs: dict[Key, Followed] = field(default_factory=dict)
    connected: bool = False
    task: asyncio.Task[None] | None = None
    retry_at: float = 0.0
    """A stream that has ended by a fault is not opened again before."""


class Watches:
    """One a process."""

    def __init__(self, *, clock: Clock, wake: Callable[[Key], None], refuse: Refuse) -> None:
        """`wake`: look at this job, it has heard something; `refuse`: this server has refused this source's login."""
        self._clock = clock
        self._wake = wake
        self._refuse = refuse
        self._streams: dict[Key, _Stream] = {}
        self._server_of: dict[Key, Key] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def follow(self, job: Key, *, server: Key, source: MediaSource, root: str, everything: bool) -> Followed:
        """The job hears of changes below `root` from now on; asked again, it goes on as before.

        `everything`: the stream costs the same whatever it watches, so it watches all of the source.
        """
        if self._server_of.get(job, server) != server:
            self.drop(job)
        stream = self._streams.setdefault(server, _Stream(source, "/" if everything else root))
        is_covered = everything or _is_below(root, stream.path)
        known = stream.jobs.get(job)
        if known is None or known.root != root:
            known = stream.jobs[job] = Followed(root, Hints(root))
            self._server_of[job] = server
            if stream.connected and is_covered:
                # An open stream says RESCAN to nobody again, and what changed before was not heard for this root.
                known.connected = True
                known.hints.hear(Hint(HintKind.RESCAN, root))
        if not is_covered:
            stream.path = _common_directory(followed.root for followed in stream.jobs.values())
            self._begin(server, stream, source)
        elif stream.source is not source or (stream.task is None and self._clock.monotonic() >= stream.retry_at):
            self._begin(server, stream, source)
        return known

    def drop(self, job: Key) -> None:
        """The job wants to hear nothing any more."""
        server = self._server_of.pop(job, None)
        if server is None:
            return
        stream = self._streams[server]
        del stream.jobs[job]
        if not stream.jobs:
            del self._streams[server]
            self._end(stream)

    def end_run(self, job: Key, result: RunResult, *, took_s: float) -> None:
        """The run at work has ended, after so many seconds: what it has left is tried again later."""
        known = self._known(job)
        if known is not None:
            known.hints.end(result, now=self._clock.monotonic(), took_s=took_s)

    def left(self, job: Key) -> list[str]:
        """The directories below the job's source that its runs could not finish, and that are tried again."""
        known = self._known(job)
        parts = [] if known is None else known.hints.left.parts
        return list(dict.fromkeys(f"/{''.join(part.paths)}" for part in parts))

    def drop_hints(self, job: Key) -> None:
        """Nothing that was heard or left need be looked at."""
        known = self._known(job)
        if known is not None:
            known.hints.clear()

    async def close(self) -> None:
        """End all streams; for the end of the process."""
        for job in list(self._server_of):
            self.drop(job)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _known(self, job: Key) -> Followed | None:
        server = self._server_of.get(job)
        return None if server is None else self._streams[server].jobs[job]

    def _begin(self, server: Key, stream: _Stream, source: MediaSource) -> None:
        self._end(stream)
        stream.source = source
        stream.connected = False
        for followed in stream.jobs.values():
            followed.connected, followed.why = False, OPENING
        stream.task = asyncio.get_running_loop().create_task(self._listen(server, stream), name=f"watch {server}")

    def _end(self, stream: _Stream) -> None:
        if stream.task is not None:
            stream.task.cancel()
            self._ending.add(stream.task)
            stream.task.add_done_callback(self._ending.discard)
            stream.task = None

    async def _listen(self, server: Key, stream: _Stream) -> None:
        why = "the stream has ended"
        try:
            async for hint in stream.source.watch(stream.path):
                self._hear(stream, hint)
        except Unauthorized as error:
            why = error.message
            self._refuse(server, error, source=stream.source)
        except ProviderError as error:
            why = error.message
        except Exception as error:  # a stream that ended in silence would count as connected for ever
            logger.exception("the stream of %s has ended by a defect", server)
            why = f"the stream has ended by a defect ({type(error).__name__}), which is in the operator's log"
        logger.warning("%s tells of no changes any more: %s", server, why)
        stream.task, stream.retry_at = None, self._clock.monotonic() + RETRY_S
        self._hear(stream, Hint(HintKind.LOST, stream.path, why=why))

    def _hear(self, stream: _Stream, hint: Hint) -> None:
        if hint.kind in (HintKind.RESCAN, HintKind.LOST):
            stream.connected = hint.kind is HintKind.RESCAN
        for job, followed in stream.jobs.items():
            before = (followed.connected, followed.hints.pending)
            if hint.kind in (HintKind.RESCAN, HintKind.LOST):
                followed.connected, followed.why = hint.kind is HintKind.RESCAN, hint.why
            followed.hints.hear(hint)
            if (followed.connected, followed.hints.pending) != before:
                self._wake(job)


def _is_below(path: str, directory: str) -> bool:
    return directory == "/" or path == directory or path.startswith(f"{directory}/")


def _common_directory(roots: Iterable[str]) -> str:
    """The deepest directory that holds all of them."""
    split = [[part for part in root.split("/") if part] for root in roots]
    common = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return "/" + "/".join(common)
