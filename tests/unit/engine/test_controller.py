"""The skeleton's contract, seen through the API server of a toy."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pantograph.api.meta import EVENTS, FINALIZER
from pantograph.engine.errors import Terminal, Transient, Waiting
from pantograph.engine.kube import OutcomeUnknown, Unavailable

from .toy import BOXES, TOYS, Nursery, Wall, new_manager, new_server, running


@pytest.fixture
async def nursery() -> AsyncIterator[Nursery]:
    api, wall = new_server(), Wall()
    manager = new_manager(api, wall)
    async with running(manager):
        yield Nursery(api, api.connect("kubectl"), wall, manager)


def raising(error: Exception) -> None:
    raise error


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
    await nursery.create(colour="red", suspend=True)
    await nursery.pass_time()
    body = nursery.manager.services.cache.get(nursery.manager.services.cache.keys("Toy")[0])
    assert body is not None
    obj = nursery.manager._controllers["Toy"]._parse({**body, "status": {"conditions": "none", "painted": 7}})
    assert obj.status.painted is None
    assert obj.status.conditions == []


async def test_an_api_outage_delays_and_loses_nothing(nursery: Nursery) -> None:
    nursery.api.fail_next("write", Unavailable("connection refused"), times=4)
    await nursery.create(colour="red")
    await nursery.pass_time(60)
    assert (await nursery.get())["status"]["painted"] == "red"
    assert nursery.wall.strokes == 1
