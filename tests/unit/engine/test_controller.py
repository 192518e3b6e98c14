"""The skeleton's contract, seen through the API server of a toy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import groupby

import pytest

from pantograph.api.crd import definition
from pantograph.api.meta import EVENTS, FINALIZER, Key
from pantograph.engine.controller import Step
from pantograph.engine.errors import Terminal, Transient, Waiting
from pantograph.engine.kube import OutcomeUnknown, Unavailable
from pantograph.engine.manager import Manager

from .toy import BOXES, TOYS, WORKERS, Nursery, Toy, ToyController, ToyScope, Wall, new_manager, new_server, running


@pytest.fixture
async def nursery() -> AsyncIterator[Nursery]:
    api, wall = new_server(), Wall()
    manager = new_manager(api, wall)
    async with running(manager):
        yield Nursery(api, api.connect("kubectl"), wall, manager)


def raising(error: Exception) -> None:
    raise error


async def make_unreadable(nursery: Nursery) -> None:
    """The toy is now one that this version cannot read."""
    crd = definition(Toy)
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["required"] = []
    nursery.user.register(crd)
    await nursery.patch({"spec": {"colour": None}})


async def test_a_toy_becomes_ready_with_one_finalizer_and_one_status_write(nursery: Nursery) -> None:
    await nursery.create(colour="red")
    await nursery.pass_time()
    toy = await nursery.get()
    assert toy["metadata"]["finalizers"] == [FINALIZER]
    assert toy["status"]["painted"] == "red"
    assert toy["status"]["observedGeneration"] == 1
    assert [(c["type"], c["status"], c["reason"]) for c in toy["status"]["conditions"]] == [
        ("Ready", "True", "Succeeded")
    ]
    assert [write.kind for write in nursery.api.writes] == ["Toy", "Toy", "Event"]


async def test_a_converged_toy_causes_no_write_also_over_hours_and_after_a_restart(nursery: Nursery) -> None:
    await nursery.create(colour="red")
    await nursery.pass_time()
    before, looks = len(nursery.api.writes), nursery.wall.looks
    await nursery.pass_time(2 * 3600)
    assert nursery.wall.looks > looks + 10
    async with running(new_manager(nursery.api, nursery.wall)):
        await nursery.pass_time(60)
    assert len(nursery.api.writes) == before


async def test_waiting_is_in_progress_with_its_reason_and_comes_back_after_its_time(nursery: Nursery) -> None:
    nursery.wall.fault = lambda: raising(Waiting("BrushNotReady", "the brush dries", after=30, remedy="fetch another"))
    await nursery.create(colour="red")
    await nursery.pass_time()
    ready, reconciling = await nursery.condition("Ready"), await nursery.condition("Reconciling")
    assert ready is not None
    assert reconciling is not None
    assert (ready["status"], ready["reason"]) == ("False", "BrushNotReady")
    assert ready["message"] == "the brush dries; to mend it: fetch another"
    assert (reconciling["status"], reconciling["reason"]) == ("True", "BrushNotReady")
    nursery.wall.fault = None
    await nursery.pass_time(20)
    assert nursery.wall.strokes == 0
    await nursery.pass_time(15)
    assert nursery.wall.strokes == 1
    assert await nursery.condition("Reconciling") is None


async def test_a_terminal_fault_stalls_and_is_judged_again_when_the_spec_changes(nursery: Nursery) -> None:
    await nursery.create(colour="octarine")
    await nursery.pass_time()
    stalled = await nursery.condition("Stalled")
    assert stalled is not None
    assert stalled["reason"] == "NoSuchColour"
    assert "to mend it: set spec.colour to red" in stalled["message"]
    assert await nursery.condition("Reconciling") is None
    await nursery.patch({"spec": {"colour": "red"}})
    await nursery.pass_time()
    assert await nursery.condition("Stalled") is None
    ready = await nursery.condition("Ready")
    assert ready is not None
    assert (ready["status"], ready["observedGeneration"]) == ("True", 2)


async def test_who_waits_for_a_person_is_counted_while_that_lasts_and_by_a_successor_too(nursery: Nursery) -> None:
    def waiting(manager: Manager = nursery.manager) -> float | None:
        return manager.services.metrics.registry.get_sample_value("pantograph_stalled_objects", {"kind": "Toy"})

    for name in ("x", "y", "z"):
        await nursery.create(name, colour="octarine", interval="12h")
    await nursery.create("sound", colour="red")
    await nursery.pass_time()
    assert waiting() == 3
    await nursery.patch({"spec": {"colour": "red"}}, "x")
    await nursery.patch({"spec": {"suspend": True}}, "y")
    await nursery.pass_time()
    assert waiting() == 1
    async with running(successor := new_manager(nursery.api, nursery.wall)):
        await nursery.pass_time(3600)
        assert waiting(successor) == 1
    await nursery.user.delete(TOYS, "a", "z")
    await nursery.pass_time()
    assert waiting() == 0


async def test_a_terminal_fault_mended_outside_is_found_within_the_interval(nursery: Nursery) -> None:
    nursery.wall.fault = lambda: raising(Terminal("WallMissing", "there is no wall"))
    await nursery.create(colour="red", interval="5m")
    await nursery.pass_time()
    looks = nursery.wall.looks
    await nursery.pass_time(200)
    assert nursery.wall.looks == looks  # no back-off: nobody knocks at a wall that is not there
    nursery.wall.fault = None
    await nursery.pass_time(200)
    assert nursery.wall.strokes == 1


async def test_a_transient_fault_is_tried_again_and_writes_its_status_once(nursery: Nursery) -> None:
    nursery.wall.fault = lambda: raising(Transient("BrushLost", "the brush fell down"))
    await nursery.create(colour="red")
    await nursery.pass_time(120)
    reconciling = await nursery.condition("Reconciling")
    assert reconciling is not None
    assert reconciling["reason"] == "ProgressingWithRetry"
    assert nursery.wall.looks > 4
    assert nursery.status_writes == 1


async def test_an_unforeseen_error_shows_its_type_and_not_its_text_and_ends_no_worker(nursery: Nursery) -> None:
    nursery.wall.fault = lambda: raising(ZeroDivisionError("password is hunter2"))
    await nursery.create(colour="red")
    await nursery.pass_time(300)
    ready = await nursery.condition("Ready")
    assert ready is not None
    assert ready["reason"] == "InternalError"
    assert "ZeroDivisionError" in ready["message"]
    assert "hunter2" not in ready["message"]
    metrics = nursery.manager.services.metrics.render().decode()
    assert 'pantograph_unforeseen_errors_total{kind="Toy",type="ZeroDivisionError"}' in metrics
    nursery.wall.fault = None
    await nursery.pass_time(600)
    assert nursery.wall.strokes == 1


async def test_deletion_undoes_first_and_lets_go_afterwards(nursery: Nursery) -> None:
    await nursery.create(colour="red")
    await nursery.pass_time()
    nursery.wall.fault = lambda: raising(Waiting("WallLocked", "the wall is locked", after=60))
    await nursery.user.delete(TOYS, "a", "x")
    await nursery.pass_time()
    ready = await nursery.condition("Ready")
    assert ready is not None
    assert ready["reason"] == "WallLocked"
    nursery.wall.fault = None
    await nursery.pass_time(61)
    assert nursery.wall.paint == {}
    assert (await nursery.user.list(TOYS)).items == []
    assert nursery.manager.services.cache.keys("Toy") == []


async def test_a_suspended_toy_is_not_painted_but_can_be_deleted(nursery: Nursery) -> None:
    await nursery.create(colour="red")
    await nursery.pass_time()
    await nursery.patch({"spec": {"colour": "blue", "suspend": True}})
    await nursery.pass_time(3600)
    toy = await nursery.get()
    assert toy["status"]["painted"] == "red"
    assert toy["status"]["observedGeneration"] == 1
    assert {c["type"]: c["status"] for c in toy["status"]["conditions"]} == {"Ready": "True", "Suspended": "True"}
    await nursery.user.delete(TOYS, "a", "x")
    await nursery.pass_time()
    assert nursery.wall.paint == {}
    assert (await nursery.user.list(TOYS)).items == []


async def test_resuming_drops_the_condition_and_catches_up(nursery: Nursery) -> None:
    await nursery.create(colour="red", suspend=True)
    await nursery.pass_time()
    assert nursery.wall.strokes == 0
    await nursery.patch({"spec": {"suspend": False}})
    await nursery.pass_time()
    assert nursery.wall.strokes == 1
    assert await nursery.condition("Suspended") is None


async def test_force_release_lets_go_and_an_event_names_what_remains(nursery: Nursery) -> None:
    await nursery.create(colour="red")
    await nursery.pass_time()
    nursery.wall.fault = lambda: raising(Transient("WallGone", "the wall does not answer"))
    await nursery.user.delete(TOYS, "a", "x")
    await nursery.pass_time()
    await nursery.patch({"metadata": {"annotations": {"pantograph.dev/force-release": "true"}}})
    await nursery.pass_time()
    assert (await nursery.user.list(TOYS)).items == []
    events = (await nursery.user.list(EVENTS, namespace="a")).items
    released = [event for event in events if event["reason"] == "ForceReleased"]
    assert [event["type"] for event in released] == ["Warning"]
    assert "wash the wall" in released[0]["message"]
    assert nursery.wall.paint != {}


@pytest.mark.parametrize("readable", [True, False])
async def test_what_is_at_work_for_an_object_is_stopped_before_force_lets_it_go(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch, readable: bool
) -> None:
    there: list[bool] = []

    async def stop_work(_: ToyController, key: Key) -> None:
        there.append(FINALIZER in (await nursery.get(key.name))["metadata"]["finalizers"])

    monkeypatch.setattr(ToyController, "stop_work", stop_work)
    await nursery.create(colour="red")
    await nursery.pass_time()
    nursery.wall.fault = lambda: raising(Transient("WallGone", "the wall does not answer"))
    if not readable:
        await make_unreadable(nursery)
    await nursery.user.delete(TOYS, "a", "x")
    await nursery.pass_time()
    assert there == []
    await nursery.patch({"metadata": {"annotations": {"pantograph.dev/force-release": "true"}}})
    await nursery.pass_time()
    assert there == [True]
    assert (await nursery.user.list(TOYS)).items == []


@pytest.mark.parametrize("fault", [ValueError("it bites"), None])
async def test_work_that_cannot_be_stopped_holds_nobody(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Exception | None
) -> None:
    async def stop_work(_: ToyController, key: Key) -> None:
        if fault is not None:
            raise fault
        await asyncio.Event().wait()

    monkeypatch.setattr(ToyController, "stop_work", stop_work)
    await nursery.create(colour="red")
    await nursery.pass_time()
    await nursery.patch({"metadata": {"annotations": {"pantograph.dev/force-release": "true"}}})
    await nursery.user.delete(TOYS, "a", "x")
    await nursery.pass_time(ToyController.deadline_s + 2)
    assert (await nursery.user.list(TOYS)).items == []
    assert ("it bites" if fault else "TimeoutError") in caplog.text


async def test_events_tell_transitions_only(nursery: Nursery) -> None:
    nursery.wall.fault = lambda: raising(Transient("BrushLost", "the brush fell down"))
    await nursery.create(colour="red")
    await nursery.pass_time(600)
    nursery.wall.fault = None
    await nursery.pass_time(3600)
    events = (await nursery.user.list(EVENTS, namespace="a")).items
    assert sorted((e["type"], e["reason"], e["count"]) for e in events) == [
        ("Normal", "Succeeded", 1),
        ("Warning", "BrushLost", 1),
    ]


async def test_reconcile_at_is_obeyed_at_once_and_recorded(nursery: Nursery) -> None:
    await nursery.create(colour="red")
    await nursery.pass_time()
    nursery.wall.paint.clear()
    await nursery.patch({"metadata": {"annotations": {"pantograph.dev/reconcile-at": "now-please"}}})
    await nursery.pass_time()
    assert nursery.wall.strokes == 2
    assert (await nursery.get())["status"]["lastHandledReconcileAt"] == "now-please"


async def test_a_change_of_a_referred_object_wakes_who_refers_to_it(nursery: Nursery) -> None:
    nursery.wall.fault = lambda: raising(Terminal("BoxMissing", "there is no box"))
    await nursery.create(colour="red", box="big")
    await nursery.pass_time()
    nursery.wall.fault = None
    await nursery.user.create(BOXES, "a", {"metadata": {"name": "big"}, "spec": {}})
    await nursery.pass_time()
    assert nursery.wall.strokes == 1


@pytest.mark.parametrize("done", [True, False], ids=["done", "not done"])
async def test_a_status_write_whose_answer_was_lost_ends_in_the_right_status(nursery: Nursery, done: bool) -> None:
    nursery.api.fail_next("merge_patch", OutcomeUnknown("reset"), kind="Toy", after_effect=done)
    await nursery.create(colour="red")
    await nursery.pass_time(10)
    assert (await nursery.get())["status"]["painted"] == "red"
    assert nursery.wall.strokes == 1


async def test_a_conflict_is_settled_quietly(nursery: Nursery) -> None:
    """The user's change comes between our reading and our writing."""

    def meddle_once() -> None:
        nursery.wall.fault = None
        store = nursery.user.store
        store.update(TOYS, "a", "x", lambda old: {**old, "spec": {**old["spec"], "colour": "blue"}}, subresource=None)

    nursery.wall.fault = meddle_once
    await nursery.create(colour="red")
    await nursery.pass_time(5)
    toy = await nursery.get()
    assert (toy["status"]["painted"], toy["status"]["observedGeneration"]) == ("blue", 2)
    events = (await nursery.user.list(EVENTS, namespace="a")).items
    assert [event["reason"] for event in events] == ["Succeeded"]


async def test_another_controllers_finalizer_stays(nursery: Nursery) -> None:
    other = "example.com/other"
    await nursery.user.create(TOYS, "a", {"metadata": {"name": "x", "finalizers": [other]}, "spec": {"colour": "red"}})
    await nursery.pass_time()
    assert (await nursery.get())["metadata"]["finalizers"] == [other, FINALIZER]
    await nursery.user.delete(TOYS, "a", "x")
    await nursery.pass_time()
    assert (await nursery.get())["metadata"]["finalizers"] == [other]


async def test_a_status_from_another_version_counts_as_empty(nursery: Nursery) -> None:
    crd = definition(Toy)
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    schema["status"]["properties"]["painted"] = {"x-kubernetes-int-or-string": True}
    nursery.user.register(crd)
    await nursery.create(colour="red", suspend=True)
    await nursery.pass_time()
    await nursery.user.merge_patch(TOYS, "a", "x", {"status": {"painted": 7}}, subresource="status")
    await nursery.patch({"spec": {"suspend": False}})
    await nursery.pass_time()
    assert (await nursery.get())["status"]["painted"] == "red"


async def test_an_api_outage_delays_and_loses_nothing(nursery: Nursery) -> None:
    nursery.api.fail_next("write", Unavailable("connection refused"), times=4)
    await nursery.create(colour="red")
    await nursery.pass_time(60)
    assert (await nursery.get())["status"]["painted"] == "red"
    assert nursery.wall.strokes == 1


async def test_a_spec_that_this_version_cannot_read_is_stalled_and_mended_by_the_user(nursery: Nursery) -> None:
    crd = definition(Toy)
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["required"] = []
    nursery.user.register(crd)
    await nursery.create()
    await nursery.pass_time()
    stalled = await nursery.condition("Stalled")
    assert stalled is not None
    assert stalled["reason"] == "InvalidSpec"
    assert "spec.colour: Field required; to mend it: correct the fields named" in stalled["message"]
    await nursery.patch({"spec": {"colour": "red"}})
    await nursery.pass_time()
    assert await nursery.condition("Stalled") is None
    assert (await nursery.get())["status"]["painted"] == "red"


async def test_the_finalizer_of_an_unreadable_object_holds_it_until_it_is_forced(nursery: Nursery) -> None:
    await nursery.create(colour="red")
    await nursery.pass_time()
    await make_unreadable(nursery)
    await nursery.user.delete(TOYS, "a", "x")
    await nursery.pass_time()
    assert (await nursery.get())["metadata"]["finalizers"] == [FINALIZER]
    await nursery.patch({"metadata": {"annotations": {"pantograph.dev/force-release": "true"}}})
    await nursery.pass_time()
    assert (await nursery.user.list(TOYS)).items == []


def with_step(monkeypatch: pytest.MonkeyPatch, step: Step) -> None:
    monkeypatch.setattr(ToyController, "steps", (*ToyController.steps, step))


async def test_a_kind_may_stay_ready_while_it_waits_and_say_more(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def report(scope: ToyScope) -> None:
        scope.ready(reason="Degraded", message="one leg is missing")
        scope.set_condition("LegsComplete", False, reason="LegLost", message="leg 3")
        raise Waiting("LegNotReady", "the carpenter works on it", after=60)

    with_step(monkeypatch, report)
    await nursery.create(colour="red")
    await nursery.pass_time()
    found = {c["type"]: (c["status"], c["reason"]) for c in (await nursery.get())["status"]["conditions"]}
    assert found == {
        "Ready": ("True", "Degraded"),
        "Reconciling": ("True", "LegNotReady"),
        "LegsComplete": ("False", "LegLost"),
    }


async def test_the_summary_cannot_be_set_by_hand(nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    async def meddle(scope: ToyScope) -> None:
        scope.set_condition("Ready", True, reason="Because")

    with_step(monkeypatch, meddle)
    await nursery.create(colour="red")
    await nursery.pass_time()
    ready = await nursery.condition("Ready")
    assert ready is not None
    assert ready["reason"] == "InternalError"


async def test_a_commit_with_its_end_saves_the_write_at_the_end(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []

    async def begin(scope: ToyScope) -> None:
        scope.status.painted = "intended"
        waiting = Waiting("Drying", "the paint dries", after=600)
        await scope.commit(waiting)
        seen.append(scope.object.status.painted)
        raise waiting

    with_step(monkeypatch, begin)
    await nursery.create(colour="red")
    await nursery.pass_time()
    assert seen == ["intended"]
    assert nursery.status_writes == 1
    ready = await nursery.condition("Ready")
    assert ready is not None
    assert ready["reason"] == "Drying"
    events = (await nursery.user.list(EVENTS, namespace="a")).items
    assert [event["reason"] for event in events] == ["Drying"]


async def test_an_intent_whose_write_was_lost_does_not_go_on(nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not stored must not be begun."""
    begun: list[str] = []

    async def begin(scope: ToyScope) -> None:
        if scope.object.status.painted == "intended":
            begun.append("adopted")
            return
        scope.status.painted = "intended"
        await scope.commit()
        begun.append("begun")

    monkeypatch.setattr(ToyController, "steps", (begin,))
    nursery.api.fail_next("merge_patch", OutcomeUnknown("reset"), kind="Toy")
    await nursery.create(colour="red")
    await nursery.pass_time(0)
    await nursery.pass_time(5)
    assert begun[0] == "begun"
    assert begun.count("begun") == 1


async def test_a_lost_answer_of_every_write_ends_in_a_visible_status(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once or twice is nobody's business; then it is said."""

    async def write(scope: ToyScope) -> None:
        raise OutcomeUnknown("failed to create typed patch object", code=500)

    with_step(monkeypatch, write)
    await nursery.create(colour="red")
    await nursery.pass_time(120)
    ready = await nursery.condition("Ready")
    assert ready is not None
    assert ready["reason"] == "APIOutcomeUnknown"


async def test_look_again_comes_before_the_interval(nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    async def soon(scope: ToyScope) -> None:
        scope.look_again(40)
        scope.look_again(20)

    with_step(monkeypatch, soon)
    await nursery.create(colour="red")
    await nursery.pass_time()
    looks = nursery.wall.looks
    await nursery.pass_time(100)
    assert nursery.wall.looks == looks + 5


async def test_a_reconcile_that_hangs_is_cut_and_seen(nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(scope: ToyScope) -> None:
        await scope.clock.sleep(100_000)

    with_step(monkeypatch, hang)
    await nursery.create(colour="red")
    await nursery.pass_time(400)
    ready = await nursery.condition("Ready")
    assert ready is not None
    assert "TimeoutError" in ready["message"]


async def test_an_interval_below_the_least_is_taken_as_the_least(nursery: Nursery) -> None:
    await nursery.create(colour="red", interval="0s")
    await nursery.pass_time()
    looks = nursery.wall.looks
    await nursery.pass_time(100)
    assert looks + 8 <= nursery.wall.looks <= looks + 12


async def test_others_have_their_turn_between_reconciles_that_wait_for_nothing(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        await nursery.create(f"toy-{number}", colour="red")
    await nursery.pass_time()
    seen: list[str] = []

    async def note(scope: ToyScope) -> None:
        seen.append("look")
        asyncio.get_running_loop().call_soon(seen.append, "turn of another")

    with_step(monkeypatch, note)
    async with running(new_manager(nursery.api, nursery.wall)):
        await nursery.pass_time(60)
    assert seen.count("look") == 50
    longest = max(len(list(group)) for what, group in groupby(seen) if what == "look")
    assert longest <= WORKERS
