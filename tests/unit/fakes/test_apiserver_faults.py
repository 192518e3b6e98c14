"""The in-memory API server's faults: each does what it says, and nothing after it ends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Literal

import pytest

from pantograph.api.meta import SECRETS, Body, ResourceType
from pantograph.engine.kube import Conflict, Forbidden, NotFound, OutcomeUnknown, Unavailable, WatchEvent
from tests.contract.apiserver.widget import CRD, WIDGETS, owned_by, settled, widget
from tests.fakes.apiserver import ApiServer, Call, Crash
from tests.fakes.virtualtime import run, virtual_clock

NS = "default"


class Lab:
    """A server on virtual time, and what one watch of its Widgets has seen."""

    def __init__(self) -> None:
        self.clock = virtual_clock()
        self.server = ApiServer(clock=self.clock, rng=random.Random(1), crds=[CRD])
        self.seen: list[WatchEvent] = []
        self.watching: asyncio.Task[None] | None = None

    def sink(self, _: ResourceType, event: WatchEvent) -> None:
        self.seen.append(event)

    async def watch(self) -> None:
        self.watching = asyncio.create_task(self.server.run([WIDGETS], self.sink))
        await self.clock.sleep(1)

    async def make(self, *names: str) -> list[Body]:
        return [await self.server.create(WIDGETS, NS, widget(name)) for name in names]

    def news(self) -> list[tuple[str | None, str]]:
        """Type and name of what came since the last call."""
        news: list[tuple[str | None, str]] = [(event.type, event.object["metadata"]["name"]) for event in self.seen]
        self.seen.clear()
        return news


def simulate(scenario: Callable[[Lab], Awaitable[None]]) -> None:
    """Run a scenario in a lab of its own, on virtual time."""

    async def main() -> None:
        lab = Lab()
        await scenario(lab)
        if lab.watching is not None:
            lab.watching.cancel()
            await asyncio.wait([lab.watching])

    run(main())


def test_a_planned_error_before_the_effect_leaves_the_server_untouched() -> None:
    async def scenario(lab: Lab) -> None:
        lab.server.fail_next("create", Unavailable("busy"), kind="Widget", times=2)
        await lab.server.create(SECRETS, NS, {"metadata": {"name": "a"}})
        for _ in range(2):
            with pytest.raises(Unavailable, match="busy"):
                await lab.make("a")
        assert [write.kind for write in lab.server.writes] == ["Secret"]
        await lab.make("a")

    simulate(scenario)


def test_an_answer_lost_after_the_effect_leaves_the_effect() -> None:
    async def scenario(lab: Lab) -> None:
        lab.server.fail_next("write", OutcomeUnknown("time-out"), after_effect=True)
        assert not (await lab.server.list(WIDGETS)).items
        with pytest.raises(OutcomeUnknown):
            await lab.make("a")
        assert (await lab.server.get(WIDGETS, NS, "a"))["spec"]["size"] == 1
        assert [write.outcome for write in lab.server.writes] == ["changed"]

    simulate(scenario)


@pytest.mark.parametrize(("when", "made"), [("before", False), ("after", True)])
def test_a_hook_can_crash_the_caller_on_either_side_of_the_effect(when: Literal["before", "after"], made: bool) -> None:
    async def scenario(lab: Lab) -> None:
        def hook(moment: str, call: Call) -> None:
            if moment == when and call.is_write:
                raise Crash

        lab.server.hook = hook
        with pytest.raises(Crash):
            await lab.make("a")
        lab.server.hook = None
        assert bool((await lab.server.list(WIDGETS)).items) == made

    simulate(scenario)


@pytest.mark.parametrize(("when", "made"), [("before", False), ("after", True)])
def test_a_hook_can_cancel_the_caller_on_either_side_of_the_effect(
    when: Literal["before", "after"], made: bool
) -> None:
    async def scenario(lab: Lab) -> None:
        def hook(moment: str, _: Call) -> None:
            if moment == when:
                caller.cancel()

        lab.server.hook = hook
        caller = asyncio.create_task(lab.make("a"))
        await asyncio.wait([caller])
        assert caller.cancelled()
        lab.server.hook = None
        assert bool((await lab.server.list(WIDGETS)).items) == made

    simulate(scenario)


def test_writes_are_recorded_with_what_came_of_them_and_reads_are_counted() -> None:
    async def scenario(lab: Lab) -> None:
        await settled(lab.server, NS, widget("a"))
        await lab.clock.sleep(60)
        await lab.server.merge_patch(WIDGETS, NS, "a", {"spec": {"size": 1}})
        await lab.server.merge_patch(WIDGETS, NS, "a", {"status": {"phase": "Done"}}, subresource="status")
        with pytest.raises(NotFound):
            await lab.server.delete(WIDGETS, NS, "b")
        await lab.server.get(WIDGETS, NS, "a")
        assert [(write.verb, write.name, write.subresource, write.outcome) for write in lab.server.writes] == [
            ("create", "a", None, "changed"),
            ("merge_patch", "a", None, "changed"),
            ("merge_patch", "a", None, "unchanged"),
            ("merge_patch", "a", "status", "changed"),
            ("delete", "b", None, "NotFound"),
        ]
        assert (lab.server.writes[2].at - lab.server.writes[1].at).total_seconds() == 60
        assert lab.server.calls["get", "Widget"] == 1
        assert lab.server.calls["merge_patch", "Widget"] == 3

    simulate(scenario)


def test_another_client_has_neither_the_faults_nor_the_records_of_the_first() -> None:
    async def scenario(lab: Lab) -> None:
        user = lab.server.connect("kubectl")
        lab.server.cut()
        await user.create(WIDGETS, NS, widget("a"))
        assert not lab.server.writes
        with pytest.raises(Unavailable):
            await lab.server.get(WIDGETS, NS, "a")
        lab.server.mend()
        await lab.server.apply(WIDGETS, NS, "a", widget("a", size=2, metadata={"labels": {"ours": "1"}}))
        await user.apply(WIDGETS, NS, "a", {"metadata": {"name": "a", "labels": {"theirs": "1"}}})
        body = await lab.server.apply(WIDGETS, NS, "a", widget("a", size=2))
        assert body["metadata"]["labels"] == {"theirs": "1"}

    simulate(scenario)


def test_events_wait_while_the_connection_is_cut() -> None:
    async def scenario(lab: Lab) -> None:
        await lab.watch()
        user = lab.server.connect("kubectl")
        lab.server.cut()
        await user.create(WIDGETS, NS, widget("a"))
        await user.delete(WIDGETS, NS, "a")
        await lab.clock.sleep(3600)
        assert lab.news() == []
        lab.server.mend()
        await lab.clock.sleep(1)
        assert lab.news() == [("ADDED", "a"), ("DELETED", "a")]

    simulate(scenario)


def test_delayed_events_keep_the_order_of_one_object_but_not_of_several() -> None:
    async def scenario(lab: Lab) -> None:
        await lab.watch()
        lab.server.delay_events(WIDGETS, 1, 10)
        names = [f"w{index}" for index in range(10)]
        await lab.make(*names)
        for name in names:
            await lab.server.delete(WIDGETS, NS, name)
        await asyncio.sleep(0)
        assert lab.news() == []
        await lab.clock.sleep(21)
        news = lab.news()
        assert len(news) == 20
        assert [name for kind, name in news if kind == "ADDED"] != names
        for name in names:
            assert [kind for kind, other in news if other == name] == ["ADDED", "DELETED"]

    simulate(scenario)


def test_of_what_was_lost_a_relist_tells_what_is_there_and_not_what_was_deleted() -> None:
    async def scenario(lab: Lab) -> None:
        await lab.make("kept", "deleted")
        await lab.watch()
        lab.news()
        lab.server.drop_events(WIDGETS)
        await lab.make("made")
        await lab.server.delete(WIDGETS, NS, "deleted")
        await lab.clock.sleep(60)
        assert lab.news() == []
        lab.server.relist(WIDGETS)
        await lab.clock.sleep(1)
        assert sorted(lab.news(), key=str) == [(None, "kept"), (None, "made")]
        await lab.make("next")
        await lab.clock.sleep(1)
        assert lab.news() == [("ADDED", "next")]

    simulate(scenario)


def test_replayed_events_come_again_as_old_as_they_were() -> None:
    async def scenario(lab: Lab) -> None:
        await lab.watch()
        await lab.make("a")
        await lab.server.merge_patch(WIDGETS, NS, "a", {"spec": {"size": 2}})
        await lab.clock.sleep(1)
        first = list(lab.seen)
        lab.seen.clear()
        lab.server.replay_events(WIDGETS, 2)
        await lab.clock.sleep(1)
        assert lab.seen == first

    simulate(scenario)


def test_stale_lists_show_the_past_until_they_are_fresh_again() -> None:
    async def scenario(lab: Lab) -> None:
        await lab.make("a")
        past = await lab.server.list(WIDGETS)
        lab.server.stale_lists(WIDGETS)
        await lab.make("b")
        await lab.server.delete(WIDGETS, NS, "a")
        assert await lab.server.list(WIDGETS) == past
        assert (await lab.server.get(WIDGETS, NS, "b"))["metadata"]["name"] == "b"
        lab.server.fresh_lists(WIDGETS)
        assert [item["metadata"]["name"] for item in (await lab.server.list(WIDGETS)).items] == ["b"]

    simulate(scenario)


def test_a_withdrawn_kind_ends_its_watches_and_is_not_served() -> None:
    async def scenario(lab: Lab) -> None:
        await lab.watch()
        lab.server.withdraw(WIDGETS)
        assert lab.watching is not None
        with pytest.raises(NotFound):
            await lab.watching
        assert not await lab.server.served(WIDGETS)
        with pytest.raises(NotFound):
            await lab.make("a")
        with pytest.raises(NotFound):
            await lab.server.run([WIDGETS], lab.sink)
        lab.server.register(CRD)
        assert not (await lab.server.list(WIDGETS)).items

    simulate(scenario)


def test_a_sink_that_fails_ends_the_watch_with_its_error() -> None:
    async def scenario(lab: Lab) -> None:
        def sink(_: ResourceType, event: WatchEvent) -> None:
            raise ValueError(event.object["metadata"]["name"])

        await lab.make("a")
        with pytest.raises(ValueError, match="a"):
            await lab.server.run([WIDGETS], sink)

    simulate(scenario)


def test_a_terminating_namespace_takes_nothing_new_and_loses_what_it_has() -> None:
    async def scenario(lab: Lab) -> None:
        await lab.make("plain")
        await lab.server.create(WIDGETS, NS, widget("held", metadata={"finalizers": ["contract.pantograph.dev/f"]}))
        await lab.server.create(WIDGETS, "elsewhere", widget("other"))
        lab.server.terminate_namespace(NS)
        with pytest.raises(Forbidden, match="being terminated"):
            await lab.make("new")
        assert [item["metadata"]["name"] for item in (await lab.server.list(WIDGETS)).items] == ["held", "other"]
        assert "deletionTimestamp" in (await lab.server.get(WIDGETS, NS, "held"))["metadata"]

    simulate(scenario)


def test_children_are_collected_after_the_delay() -> None:
    async def scenario(lab: Lab) -> None:
        lab.server.collector.delay_s = 2
        (owner,) = await lab.make("owner")
        await lab.server.create(WIDGETS, NS, widget("child", metadata=owned_by(owner)))
        await lab.server.delete(WIDGETS, NS, "owner")
        await lab.clock.sleep(1)
        assert await lab.server.get(WIDGETS, NS, "child")
        await lab.clock.sleep(2)
        with pytest.raises(NotFound):
            await lab.server.get(WIDGETS, NS, "child")
        assert [write.name for write in lab.server.writes] == ["owner", "child", "owner"]

    simulate(scenario)


def test_latency_passes_on_the_clock() -> None:
    async def scenario(lab: Lab) -> None:
        lab.server.latency_s = 4
        began = lab.clock.monotonic()
        await lab.make("a")
        assert lab.clock.monotonic() - began == 4

    simulate(scenario)


def test_an_event_comes_before_its_reply_sometimes_and_after_it_mostly() -> None:
    async def scenario(lab: Lab) -> None:
        await lab.watch()
        first = 0
        for index in range(200):
            await lab.make(f"w{index}")
            first += len(lab.news())
            await lab.clock.sleep(1)
            lab.seen.clear()
        assert 20 < first < 80

    simulate(scenario)


def test_the_same_seed_gives_the_same_run() -> None:
    def history() -> list[Body]:
        bodies: list[Body] = []

        async def scenario(lab: Lab) -> None:
            await lab.watch()
            lab.server.delay_events(WIDGETS, 0, 5)
            await lab.make("a", "b", "c")
            await lab.clock.sleep(10)
            bodies.extend(event.object for event in lab.seen)

        simulate(scenario)
        return bodies

    assert history() == history()


def test_a_conflict_can_be_planned_for_one_verb() -> None:
    async def scenario(lab: Lab) -> None:
        await lab.make("a")
        lab.server.fail_next("merge_patch", Conflict("the object has been modified", code=409, reason="Conflict"))
        await lab.server.json_patch(WIDGETS, NS, "a", [{"op": "replace", "path": "/spec/size", "value": 2}])
        with pytest.raises(Conflict):
            await lab.server.merge_patch(WIDGETS, NS, "a", {"spec": {"size": 3}})
        assert (await lab.server.get(WIDGETS, NS, "a"))["spec"]["size"] == 2

    simulate(scenario)


def test_what_is_sent_crosses_a_wire() -> None:
    async def scenario(lab: Lab) -> None:
        made = await lab.server.create(WIDGETS, NS, widget("a", steps=("x", "y")))
        assert made["spec"]["steps"] == ["x", "y"]
        with pytest.raises(TypeError):
            await lab.server.merge_patch(WIDGETS, NS, "a", {"status": {"phase": lab.clock.now()}}, subresource="status")

    simulate(scenario)
