"""What is on disk after any line of the store was the last one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pantograph.depot.model import Image, file_name
from pantograph.depot.partial import Validators
from pantograph.depot.store import Fetched, Store

CONTENT = b"a disk" * 1000
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
IMAGE = Image(DIGEST, DIGEST, "raw", len(CONTENT), len(CONTENT), file_name(DIGEST, "raw"))
FETCHED = Fetched(IMAGE, Validators("", etag='"v1"'), 1000.0)
KEY = f"url:{'ab' * 32}@team-a"


class Killed(BaseException):
    """Nothing catches it: the process is gone."""


def opened(root: Path) -> Store:
    store = Store(root)
    store.open()
    return store


def add(store: Store) -> None:
    """Add the image as a fetch does, beginning with what an earlier one left."""
    partial = store.partial(KEY)
    if not partial.path.exists():
        partial.path.write_bytes(CONTENT)
    store.add(KEY, FETCHED, partial.path)
    partial.discard()


def kill_before(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies before its `step`-th call that changes the disk."""
    left = [step]

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return function(*args, **kwargs)

        return call

    for owner, name in ((Path, "replace"), (Path, "unlink"), (Path, "mkdir"), (os, "fsync"), (os, "utime")):
        monkeypatch.setattr(owner, name, dying(getattr(owner, name)))


def test_killed_before_any_change_the_image_is_whole_or_its_bytes_still_are(tmp_path: Path) -> None:
    for step in range(1000):
        root = tmp_path / str(step)
        store = opened(root)
        (root / "partial" / store.partial(KEY).path.name).write_bytes(CONTENT)
        with pytest.MonkeyPatch.context() as monkeypatch:
            kill_before(step, monkeypatch)
            try:
                add(store)
            except Killed:
                finished = False
            else:
                finished = True
        after = opened(root)
        if after.find_fetched(KEY) is None:
            assert after.partial(KEY).path.read_bytes() == CONTENT
            add(after)
        assert (after.find(DIGEST), after.find_fetched(KEY)) == (IMAGE, FETCHED)
        assert after.path(IMAGE).read_bytes() == CONTENT
        if finished:
            assert step > 8
            return
    pytest.fail("the store never came to an end")


def test_opening_removes_what_nobody_can_use(tmp_path: Path) -> None:
    store = opened(tmp_path)
    add(store)
    store.path(IMAGE).unlink()
    (tmp_path / "fetched" / "row.json.tmp").write_text("half")
    store.scratch(KEY).write_bytes(b"half unpacked")
    opened(tmp_path)
    assert not list((tmp_path / "fetched").iterdir())
    assert not list((tmp_path / "partial").iterdir())


def test_an_image_that_lost_bytes_is_not_found(tmp_path: Path) -> None:
    store = opened(tmp_path)
    add(store)
    os.truncate(store.path(IMAGE), 10)
    assert (store.find(DIGEST), store.find_fetched(KEY)) == (None, None)


def test_a_row_that_is_no_row_means_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path)
    add(store)
    (row,) = (tmp_path / "fetched").iterdir()
    row.write_text('{"format": "raw"')
    assert store.find_fetched(KEY) is None
    assert store.find(DIGEST) == IMAGE


@pytest.mark.parametrize("digest", ["sha256:../../etc/passwd", "sha256:", f"sha256:{'A' * 64}", "md5:" + "0" * 32])
def test_what_is_no_digest_is_never_looked_for(tmp_path: Path, digest: str) -> None:
    assert opened(tmp_path).find(digest) is None


def test_removing_an_image_forgets_every_fetch_that_brought_it(tmp_path: Path) -> None:
    store = opened(tmp_path)
    add(store)
    store.remove(IMAGE)
    assert (store.find(DIGEST), store.find_fetched(KEY)) == (None, None)
    assert not list(store.stored())


def test_last_used_is_what_the_caller_says(tmp_path: Path) -> None:
    store = opened(tmp_path)
    add(store)
    store.touch(IMAGE, now=2000.5)
    assert [(stored.image, stored.last_used) for stored in store.stored()] == [(IMAGE, 2000.5)]
