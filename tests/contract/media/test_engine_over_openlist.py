"""The engine over OpenList's driver over a server that fails: what is still there stays, whatever the answer claims."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pantograph.providers.media.openlist import OpenList
from pantograph.strm.report import Report
from tests.contract.media.worlds import PASSWORD, USER, bucket, settings
from tests.fakes.library import Library
from tests.fakes.openlist import FakeOpenList, Fault, serving
from tests.fakes.openlist.accounts import User
from tests.simulation.strm.bench import HOUR, Stage

ROOT, INNER, LEAF = PLACES = ("/", "/Shows", "/Shows/S1")
NO_LIMITS: dict[str, Any] = {"mode": "Delete", "maxPercent": 100, "maxCount": 1_000_000}
ONLY_PROOF: dict[str, Any] = {**NO_LIMITS, "confirmScans": 1, "minAge": "0s"}
"""What two proved listings miss goes, at whatever times they were: nothing but the proof protects."""


def looks_honest(fault: Fault, place: str) -> bool:
    """Whether the answer is what a healthy server would say: of an empty directory, or of the root itself."""
    return fault is Fault.EMPTY or (fault, place) in ((Fault.MOUNTS_ONLY, LEAF), (Fault.ROOT_ECHO, ROOT))


SPOILT = [(fault, place) for fault in Fault for place in PLACES if not looks_honest(fault, place)]
FOLDERS = ("Films", "Films/Old", "Shows", "Shows/S1", "Shows/S2", "Shows/cloud", "cloud")
"""Other storages are mounted as `cloud`."""


def library(below: str = "") -> Library:
    """Eight films in each."""
    shelf = Library()
    for folder in FOLDERS:
        for number in range(8):
            shelf.put(f"{below}/{folder}/{number}.mkv")
    return shelf


class House:
    """A server with a library, and the target that it is mirrored to."""

    def __init__(self, tmp_path: Path, prune: dict[str, Any]) -> None:
        self.shelf = library()
        self.fake = FakeOpenList(self.shelf)
        self.fake.mounts = {"/cloud", "/Shows/cloud"}
        self.fake.accounts.add(User(USER, PASSWORD))
        self.stage = Stage(tmp_path / "target", source={"path": "/"}, prune=prune)
        self._tmp_path = tmp_path

    async def run(self, *, patience_s: float = 20.0) -> Report:
        """One run with a driver of its own, as a Kubernetes Job has it, and an hour after it."""
        own = replace(settings(self._tmp_path, self.fake.base_url), list_timeout_s=patience_s)
        clock = self.stage.clock
        source = OpenList(own, bucket=bucket(clock), clock=clock)
        self.stage.tree = source  # type: ignore[assignment]
        try:
            self.stage.server = (await source.test_connection()).base_path
            return await self.stage.run()
        finally:
            await source.close()
            clock.seconds += HOUR

    def wanted(self) -> set[str]:
        """What the target should hold of what the server has."""
        return {f"{path.strip('/').removesuffix('.mkv')}.strm" for path in self.shelf.files()}

    def names(self) -> set[str]:
        return self.stage.names()


@asynccontextmanager
async def mirrored(tmp_path: Path, prune: dict[str, Any]) -> AsyncIterator[House]:
    """A house whose target holds all that the server has."""
    house = House(tmp_path, prune)
    async with serving(house.fake):
        report = await house.run()
        assert report.result == "Succeeded", report
        assert house.names() == house.wanted()
        yield house


@pytest.mark.parametrize(("fault", "place"), SPOILT)
async def test_what_no_answer_proves_gone_stays_and_what_is_gone_goes(tmp_path: Path, fault: Fault, place: str) -> None:
    async with mirrored(tmp_path, ONLY_PROOF) as house:
        house.shelf.remove("/Films/0.mkv")
        house.shelf.remove("/Films/Old")
        house.fake.faults.begin(fault, place)
        for _ in range(3):
            report = await house.run(patience_s=0.2 if fault is Fault.HANG else 20.0)
            assert report.result in ("Degraded", "Failed"), report
            assert house.wanted() <= house.names()
        house.fake.faults.end()
        for _ in range(3):
            report = await house.run()
        assert (report.result, report.incomplete_dirs) == ("Succeeded", 0), report
        assert house.names() == house.wanted()


@pytest.mark.parametrize(("fault", "place"), [(Fault.EMPTY, INNER), (Fault.EMPTY, LEAF), (Fault.MOUNTS_ONLY, LEAF)])
async def test_a_directory_that_is_called_empty_with_success_is_not_believed_before_six_hours(
    tmp_path: Path, fault: Fault, place: str
) -> None:
    async with mirrored(tmp_path, NO_LIMITS) as house:
        house.fake.faults.begin(fault, place)
        for _ in range(5):
            report = await house.run()
            assert (report.result, report.pruned) == ("Succeeded", 0), report
            assert report.pending_confirmation == report.prune_candidates > 0
            assert house.names() == house.wanted()
        house.fake.faults.end()
        for _ in range(2):
            assert (await house.run()).prune_candidates == 0
        assert house.names() == house.wanted()


async def test_a_root_that_is_called_empty_with_success_is_never_believed(tmp_path: Path) -> None:
    async with mirrored(tmp_path, ONLY_PROOF) as house:
        house.fake.faults.begin(Fault.EMPTY, ROOT)
        for _ in range(5):
            report = await house.run()
            assert (report.result, report.reason, report.pruned) == ("Blocked", "PruneBlocked", 0)
            assert house.names() == house.wanted()
        house.fake.faults.end()
        assert (await house.run()).result == "Succeeded"
        assert house.names() == house.wanted()


@pytest.mark.parametrize("is_signed", [False, True])
async def test_an_equal_library_that_is_adopted_below_another_base_path_is_linked_there(
    tmp_path: Path, is_signed: bool
) -> None:
    """Its listings are equal to the letter, unless signatures differ; its links are not."""
    async with mirrored(tmp_path, NO_LIMITS) as house:
        house.fake.sign_all = is_signed
        house.stage.spec["update"] = {"maxRewritePercent": 100}
        assert (await house.run()).result == "Succeeded"
        names = house.names()
        for path in list(house.shelf.files()):
            house.shelf.put(f"/copy{path}")
        house.fake.accounts.change(USER, base_path="/copy")
        assert (await house.run()).reason == "SourceChanged"
        house.stage.spec["target"] |= {"adopt": True}
        assert (await house.run()).result == "Succeeded"
        assert house.names() == names
        assert all(b"/d/copy/" in text for text in house.stage.files().values())


@pytest.mark.parametrize("place", ["/Media", "/Media/Shows", "/Media/Shows/S1"])
async def test_the_listing_of_a_root_above_the_source_is_believed_of_nothing_in_it(tmp_path: Path, place: str) -> None:
    """Which no run has ever listed."""
    house = House(tmp_path, ONLY_PROOF)
    house.fake.library = house.shelf = library("/Media")
    house.shelf.put("/Music/song.mkv")
    house.fake.mounts = set()
    house.stage.spec["source"] = {"path": "/Media", "allowEmptySource": True}
    async with serving(house.fake):
        assert (await house.run()).result == "Succeeded"
        whole = house.names()
        assert len(whole) == 8 * len(FOLDERS)
        house.fake.faults.begin(Fault.ROOT_ECHO, place)
        for _ in range(3):
            report = await house.run()
            assert report.result in ("Degraded", "Failed"), report
            assert house.names() == whole
        house.fake.faults.end()
        assert (await house.run()).result == "Succeeded"
        assert house.names() == whole
