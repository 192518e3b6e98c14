"""Watching: everything that is, then everything that changes, in order for one object."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from pantograph.api.meta import SECRETS, ResourceType
from pantograph.engine.kube import KubeApi, Listed, WatchEvent, WatchSource
from tests.contract.apiserver.waiting import LIMIT_S
from tests.contract.apiserver.widget import WIDGETS, settled, widget

OURS = "contract.pantograph.dev/ours"


class Seen:
    """What one watch has delivered of one namespace."""

    def __init__(self, namespace: str) -> None:
        self.events: list[WatchEvent] = []
        self._namespace = namespace
        self._changed = asyncio.Event()

    def __call__(self, _: ResourceType, event: WatchEvent) -> None:
        if event.object["metadata"]["namespace"] == self._namespace:
            self.events.append(event)
            self._changed.set()

    def of(self, name: str) -> list[WatchEvent]:
        return [event for event in self.events if event.object["metadata"]["name"] == name]

    def types(self, name: str) -> list[str | None]:
        return [event.type for event in self.of(name)]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def watching(
    source: WatchSource, namespace: str, *resources: ResourceType, since: Listed | None = None
) -> AsyncIterator[Seen]:
    """Run `source` until the block ends; its error is the test's."""
    seen = Seen(namespace)
    task = asyncio.create_task(source.run(resources or (WIDGETS,), seen, since=since))
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        await task


async def test_what_is_there_comes_first_and_then_every_change_in_order(
    api: KubeApi, watch: WatchSource, namespace: str
) -> None:
    await api.create(WIDGETS, namespace, widget("old"))
    async with watching(watch, namespace) as seen:
        await seen.until(lambda: bool(seen.of("old")))
        await api.create(WIDGETS, namespace, widget("new"))
        for size in (2, 3, 4):
            await api.merge_patch(WIDGETS, namespace, "new", {"spec": {"size": size}})
        await api.merge_patch(WIDGETS, namespace, "new", {"status": {"phase": "Done"}}, subresource="status")
        await api.delete(WIDGETS, namespace, "new")
        await seen.until(lambda: "DELETED" in seen.types("new"))
    assert seen.types("old") == [None]
    assert seen.types("new") == ["ADDED", "MODIFIED", "MODIFIED", "MODIFIED", "MODIFIED", "DELETED"]
    assert [event.object["spec"]["size"] for event in seen.of("new")] == [1, 2, 3, 4, 4, 4]
    versions = [int(event.object["metadata"]["resourceVersion"]) for event in seen.of("new")]
    assert versions == sorted(set(versions))
    assert seen.of("new")[-1].object["status"]["phase"] == "Done"
    assert all(event.object["kind"] == "Widget" for event in seen.events)


async def test_a_watch_since_a_list_tells_everything_that_came_after_it(
    api: KubeApi, watch: WatchSource, namespace: str
) -> None:
    await api.create(WIDGETS, namespace, widget("listed"))
    version = (await api.list(WIDGETS)).resource_version
    await api.merge_patch(WIDGETS, namespace, "listed", {"spec": {"size": 2}})
    await api.create(WIDGETS, namespace, widget("later"))
    async with watching(watch, namespace, since={(WIDGETS, None): version}) as seen:
        await seen.until(lambda: bool(seen.of("listed")) and bool(seen.of("later")))
    assert seen.of("listed")[-1].object["spec"]["size"] == 2


async def test_a_watch_since_a_list_that_is_long_past_lists_anew(
    api: KubeApi, watch: WatchSource, namespace: str
) -> None:
    await api.create(WIDGETS, namespace, widget("old"))
    async with watching(watch, namespace, since={(WIDGETS, None): "1"}) as seen:
        await seen.until(lambda: bool(seen.of("old")))


async def test_a_write_that_changes_nothing_is_no_event(api: KubeApi, watch: WatchSource, namespace: str) -> None:
    async with watching(watch, namespace) as seen:
        await api.create(WIDGETS, namespace, widget("before"))
        await seen.until(lambda: bool(seen.of("before")))
        await settled(api, namespace, widget("a"))
        await api.merge_patch(WIDGETS, namespace, "a", {"spec": {"size": 1}})
        await api.merge_patch(WIDGETS, namespace, "a", {"spec": {"size": 2}})
        await seen.until(lambda: len(seen.of("a")) >= 3)
    assert [event.object["spec"]["size"] for event in seen.of("a")] == [1, 1, 2]


async def test_a_held_deletion_is_a_change_and_its_end_the_deletion(
    api: KubeApi, watch: WatchSource, namespace: str
) -> None:
    async with watching(watch, namespace) as seen:
        await api.create(WIDGETS, namespace, widget("before"))
        await seen.until(lambda: bool(seen.of("before")))
        await api.create(WIDGETS, namespace, widget("a", metadata={"finalizers": [OURS]}))
        await api.delete(WIDGETS, namespace, "a")
        await api.delete(WIDGETS, namespace, "a")
        await api.merge_patch(WIDGETS, namespace, "a", {"metadata": {"finalizers": None}})
        await seen.until(lambda: "DELETED" in seen.types("a"))
    assert seen.types("a") == ["ADDED", "MODIFIED", "DELETED"]
    assert "deletionTimestamp" in seen.of("a")[1].object["metadata"]


async def test_several_kinds_come_by_one_watch(api: KubeApi, watch: WatchSource, namespace: str) -> None:
    await api.create(SECRETS, namespace, {"metadata": {"name": "secret"}})
    await api.create(WIDGETS, namespace, widget("a"))
    async with watching(watch, namespace, WIDGETS, SECRETS) as seen:
        await seen.until(lambda: bool(seen.of("secret")) and bool(seen.of("a")))
    assert (seen.of("secret")[0].object["kind"], seen.of("a")[0].object["kind"]) == ("Secret", "Widget")
