"""A root whose volume hangs holds up nobody but those who use it."""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path
from threading import Event
from time import monotonic

import pytest

from pantograph.controllers.runs.roots import ANSWER_WITHIN_S, Root, Roots
from pantograph.engine.errors import Terminal, Transient


class Hanging(type(Path())):  # type: ignore[misc]
    """A directory on a mount that does not answer before it is told to."""

    mended: Event
    answered: Event

    def is_dir(self) -> bool:
        self.mended.wait(10)
        self.answered.set()
        return True


def test_a_root_that_hangs_is_waited_for_once_and_is_usable_when_it_answers() -> None:
    path = Hanging("/media")
    Hanging.mended, Hanging.answered = Event(), Event()
    roots = Roots([Root("media", path, frozenset({"*"})), Root("other", Path("/"), frozenset({"*"}))])
    began = monotonic()
    for _ in range(20):
        with pytest.raises(Transient) as hung:
            roots.open("media", "films", user="StrmSyncJob films/tv")
    assert hung.value.reason == "RootNotAnswering"
    assert monotonic() - began < 10 * ANSWER_WITHIN_S
    assert roots.open("other", "films", user="StrmSyncJob films/tv") == Path("/")
    Hanging.mended.set()
    assert Hanging.answered.wait(10)
    found = None
    while found is None:  # the thread has answered, and is about to say so
        with suppress(Transient):
            found = roots.open("media", "films", user="StrmSyncJob films/tv")
    assert found == path


def test_a_root_that_cannot_be_read_is_not_mounted() -> None:
    class Broken(type(Path())):  # type: ignore[misc]
        def is_dir(self) -> bool:
            raise OSError(errno.EIO, "input/output error")

    roots = Roots([Root("media", Broken("/media"), frozenset({"*"}))])
    with pytest.raises(Terminal, match="no directory is"):
        roots.open("media", "films", user="StrmSyncJob films/tv")
