"""Whose turn it is, against a list that is searched from one end to the other."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pantograph.api.meta import Key
from pantograph.controllers.strmsyncjob.runqueue import RunQueue


def job(number: int) -> Key:
    return Key("StrmSyncJob", "media", f"job-{number}")


def server(number: int) -> Key:
    return Key("DataServer", "media", f"server-{number}")


def everywhere(_: Key) -> bool:
    return True


def test_a_request_by_hand_comes_before_a_change_and_a_change_before_the_clock() -> None:
    queue = RunQueue()
    for number, priority in enumerate((2, 1, 0)):
        queue.offer(job(number), server=server(0), priority=priority)
    order = []
    while (key := queue.first(everywhere)) is not None:
        order.append(key)
        queue.withdraw(key)
    assert order == [job(2), job(1), job(0)]


def test_a_job_that_says_again_that_it_waits_keeps_its_place() -> None:
    queue = RunQueue()
    for number in (0, 1, 0):
        queue.offer(job(number), server=server(0), priority=2)
    assert queue.first(everywhere) == job(0)


def test_a_full_server_holds_up_nobody_elsewhere_and_goes_on_when_a_place_is_free() -> None:
    queue, full = RunQueue(), {server(0)}
    queue.offer(job(0), server=server(0), priority=0)
    queue.offer(job(1), server=server(1), priority=2)
    assert queue.first(lambda each: each not in full) == job(1)
    queue.withdraw(job(1))
    assert queue.first(lambda each: each not in full) is None
    full.clear()
    queue.freed(server(0))
    assert queue.first(everywhere) == job(0)


def test_a_job_that_was_looked_at_and_did_not_ask_again_waits_no_more() -> None:
    queue = RunQueue()
    queue.offer(job(0), server=server(0), priority=0)
    queue.sweep(job(0))
    assert queue.first(everywhere) == job(0)
    queue.sweep(job(0))
    assert queue.first(everywhere) is None


def test_a_full_server_is_not_asked_about_by_everybody_who_waits_elsewhere() -> None:
    queue, asked = RunQueue(), 0
    for number in range(1000):
        queue.offer(job(number), server=server(number), priority=2)

    def has_room(_: Key) -> bool:
        nonlocal asked
        asked += 1
        return False

    for _ in range(100):
        assert queue.first(has_room) is None
    assert asked == 1000


class Turns(RuleBasedStateMachine):
    """The queue and a model that is a list."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = RunQueue()
        self.model: dict[Key, tuple[Key, int, int]] = {}
        self.full: set[Key] = set()
        self.number = 0

    @rule(number=st.integers(0, 5), at=st.integers(0, 2), priority=st.integers(0, 2))
    def offer(self, number: int, at: int, priority: int) -> None:
        self.queue.offer(job(number), server=server(at), priority=priority)
        if self.model.get(job(number), (None, None))[:2] != (server(at), priority):
            self.model[job(number)] = (server(at), priority, self.number)
            self.number += 1

    @rule(number=st.integers(0, 5))
    def withdraw(self, number: int) -> None:
        self.queue.withdraw(job(number))
        self.model.pop(job(number), None)

    @rule(at=st.integers(0, 2))
    def fill(self, at: int) -> None:
        self.full.add(server(at))

    @rule(at=st.integers(0, 2))
    def free(self, at: int) -> None:
        self.full.discard(server(at))
        self.queue.freed(server(at))

    @invariant()
    def the_turn_is_the_same(self) -> None:
        waiting = [(priority, number, key) for key, (at, priority, number) in self.model.items() if at not in self.full]
        assert self.queue.first(lambda each: each not in self.full) == (min(waiting)[2] if waiting else None)
        assert len(self.queue) == len(self.model)


Turns.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestTurns = Turns.TestCase
