"""Several reasons to run become one run, and none is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pantograph.controllers.strmsyncjob.wishes import Cause, Wish, merge
from pantograph.strm.subtrees import Subtrees

WHOLE = Subtrees()
CRON = Wish(trigger="cron", causes=frozenset({Cause.CRON}))
NOTIFY = Wish(trigger="watch", causes=frozenset({Cause.NOTIFY}), notify_only=True)


def manual(*paths: str) -> Wish:
    return Wish(trigger="manual", causes=frozenset({Cause.REQUEST}), scope=Subtrees(paths))


def hints(*paths: str) -> Wish:
    scope = Subtrees(paths, shallow=True) if paths else WHOLE
    return Wish(trigger="watch", causes=frozenset({Cause.HINTS}), scope=scope)


def test_nothing_to_do_is_no_run() -> None:
    assert merge([]) is None


def test_a_run_over_everything_takes_in_all_others_and_the_most_urgent_names_it() -> None:
    run = merge([CRON, hints("Films"), manual("Shows"), NOTIFY])
    assert run is not None
    assert (run.trigger, run.scope) == ("manual", WHOLE)
    assert run.causes == {Cause.CRON, Cause.HINTS, Cause.REQUEST, Cause.NOTIFY}


def test_a_request_for_a_part_takes_in_the_hints_below_it_and_leaves_the_others() -> None:
    run = merge([hints("Shows/Dark", "Shows/Lost"), manual("Shows")])
    assert run is not None
    assert run.scope == Subtrees(("Shows",))
    assert run.causes == {Cause.REQUEST, Cause.HINTS}
    other = merge([hints("Films", "Shows/Lost"), manual("Shows")])
    assert other is not None
    assert other.scope == Subtrees(("Shows",))
    assert other.causes == {Cause.REQUEST}


def test_a_hint_takes_in_no_request_for_the_same_part() -> None:
    assert not Subtrees(("Shows",), shallow=True).absorbs(Subtrees(("Shows",)))


def test_telling_media_servers_waits_for_no_run_of_its_own_when_another_begins() -> None:
    run = merge([NOTIFY, hints("Films")])
    assert run is not None
    assert not run.notify_only
    assert run.causes == {Cause.NOTIFY, Cause.HINTS}
    alone = merge([NOTIFY])
    assert alone is not None
    assert alone.notify_only


PATHS = st.lists(st.sampled_from(["", "a", "a/b", "a/b/c", "ab", "b"]), max_size=3).map(tuple)
SCOPES = st.builds(Subtrees, PATHS, st.booleans())


@given(SCOPES, SCOPES)
def test_what_a_scope_absorbs_it_covers(wide: Subtrees, narrow: Subtrees) -> None:
    if not wide.absorbs(narrow):
        return
    for path in ("", "a", "a/b", "a/b/c", "a/b/c/d", "ab", "b", "b/x"):
        for known in (True, False):
            assert not narrow.covers(path, known=known) or wide.covers(path, known=known)


@given(
    st.lists(st.one_of(st.just(CRON), st.just(NOTIFY), PATHS.map(lambda p: hints(*p)), PATHS.map(lambda p: manual(*p))))
)
def test_a_run_looks_at_all_that_it_takes_in(wishes: list[Wish]) -> None:
    run = merge(wishes)
    assert (run is None) == (not wishes)
    if run is None:
        return
    widest = [wish for wish in wishes if wish.causes <= run.causes and not wish.notify_only]
    assert any(wish.causes <= run.causes for wish in wishes)
    if any(wish.scope.is_whole and not wish.notify_only for wish in wishes):
        assert run.scope.is_whole
        assert len(widest) == len([wish for wish in wishes if not wish.notify_only])
