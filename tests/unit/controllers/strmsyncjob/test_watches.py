"""One stream a server for all its jobs, over as little of a folder as they need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

from pantograph.api.meta import Key
from pantograph.api.run import RunResult
from pantograph.clock import Clock, SystemClock
from pantograph.controllers.strmsyncjob.watches import Followed, Watches
from pantograph.providers.errors import Unauthorized
from pantograph.providers.media.port import Hint, HintKind, MediaSource
from pantograph.strm.subtrees import Subtrees

SERVER = Key("DataServer", "media", "nas")


class Source:
    """Tells what is put into its streams."""

    def __init__(self) -> None:
        self.watched: list[str] = []
        self.streams: list[asyncio.Queue[Hint | Exception]] = []

    async def watch(self, path: str) -> AsyncIterator[Hint]:
        stream: asyncio.Queue[Hint | Exception] = asyncio.Queue()
        self.watched.append(path)
        self.streams.append(stream)
        yield Hint(HintKind.RESCAN, path)
        while True:
            told = await stream.get()
            if isinstance(told, Exception):
                raise told
            yield told


class LaterClock(SystemClock):
    """Ahead of the real one by what the test says."""

    passed_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.passed_s


class Listener:
    """Who is woken, and a way to wait for it."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.woken: asyncio.Queue[Key] = asyncio.Queue()
        self.refused: list[tuple[Key, object]] = []
        self.source = Source()
        self.watches = Watches(clock=clock or SystemClock(), wake=self.woken.put_nowait, refuse=self.refuse)

    def refuse(self, key: Key, error: Unauthorized, /, *, source: MediaSource) -> None:
        self.refused.append((key, source))

    def follow(self, name: str, root: str, *, everything: bool = False) -> Followed:
        source = cast(MediaSource, cast(Any, self.source))
        return self.watches.follow(job(name), server=SERVER, source=source, root=root, everything=everything)

    async def next(self) -> str:
        return (await asyncio.wait_for(self.woken.get(), 5)).name


def job(name: str) -> Key:
    return Key("StrmSyncJob", "media", name)


async def test_a_folder_is_watched_from_the_deepest_directory_that_holds_all_roots() -> None:
    here = Listener()
    films = here.follow("films", "/Media/Films")
    assert await here.next() == "films"
    shows = here.follow("shows", "/Media/Shows")
    assert {await here.next(), await here.next()} == {"films", "shows"}
    assert here.source.watched == ["/Media/Films", "/Media"]
    extras = here.follow("extras", "/Media/Shows/Extras")
    assert (extras.connected, extras.hints.pending) == (True, [Subtrees()])
    for each in (films, shows, extras):
        each.hints.clear()
    here.source.streams[-1].put_nowait(Hint(HintKind.CHANGED, "/Media/Shows/Dark/a.mkv"))
    assert await here.next() == "shows"
    assert (films.hints.pending, extras.hints.pending) == ([], [])
    assert shows.hints.pending == [Subtrees(("Dark",), shallow=True)]
    await here.watches.close()


async def test_a_server_is_watched_as_a_whole_and_its_stream_ends_with_the_last_job() -> None:
    here = Listener()
    here.follow("films", "/Films", everything=True)
    here.follow("shows", "/Shows", everything=True)
    assert {await here.next(), await here.next()} == {"films", "shows"}
    assert here.source.watched == ["/"]
    here.follow("films", "/Films", everything=True)
    here.watches.drop(job("films"))
    here.watches.drop(job("shows"))
    here.watches.drop(job("shows"))
    await here.watches.close()
    assert here.source.watched == ["/"]


async def test_a_stream_that_is_refused_says_so_and_is_not_opened_again_at_once() -> None:
    here = Listener()
    films = here.follow("films", "/Films", everything=True)
    assert await here.next() == "films"
    films.hints.begin(Subtrees())
    here.source.streams[0].put_nowait(Unauthorized("the token has ended"))
    assert await here.next() == "films"
    assert (films.connected, films.why, here.refused) == (False, "the token has ended", [(SERVER, here.source)])
    here.follow("films", "/Films", everything=True)
    assert here.source.watched == ["/"]
    await here.watches.close()


async def test_a_stream_that_a_defect_ends_counts_as_lost_and_is_opened_again_later() -> None:
    here = Listener(clock := LaterClock())
    films = here.follow("films", "/Films", everything=True)
    assert await here.next() == "films"
    films.hints.begin(Subtrees())
    here.source.streams[0].put_nowait(KeyError("path"))
    assert await here.next() == "films"
    assert (films.connected, "defect (KeyError)" in films.why) == (False, True)
    here.follow("films", "/Films", everything=True)
    assert here.source.watched == ["/"]
    clock.passed_s += 60
    here.follow("films", "/Films", everything=True)
    assert await here.next() == "films"
    assert (films.connected, here.source.watched) == (True, ["/", "/"])
    await here.watches.close()


async def test_what_a_run_took_and_left_is_tried_again_later_unless_it_is_dropped() -> None:
    here = Listener(clock := LaterClock())
    films = here.follow("films", "/Films", everything=True)
    await here.next()
    films.hints.clear()
    here.source.streams[0].put_nowait(Hint(HintKind.DELETED, "/Films/Old/a.mkv"))
    await here.next()
    (pending,) = films.hints.pending
    films.hints.begin(pending)
    assert films.hints.pending == []
    here.watches.end_run(job("films"), RunResult(result="Failed"), took_s=20)
    assert (here.watches.left(job("films")), films.hints.due(clock.monotonic())) == (["/Old"], [])
    clock.passed_s += 30
    assert films.hints.due(clock.monotonic()) == [Subtrees(("Old",), shallow=True)]
    here.watches.drop_hints(job("films"))
    assert (here.watches.left(job("films")), films.hints.due(clock.monotonic())) == ([], [])
    await here.watches.close()
