"""The quota: what is in use stays, what is not goes, the least recently used first."""

from __future__ import annotations

import errno
import gzip
from pathlib import Path
from random import Random

import pytest

from pantograph.depot import FetchRequest, ImageNotInDepot
from tests.contract.depot.conftest import Lab, failure, fetched, files_of, sha256
from tests.contract.depot.fetching import brought
from tests.fakes.images import qcow2

MIB = 1 << 20


def image(seed: int) -> bytes:
    """About 1.3 MiB, each its own."""
    return qcow2(payload=Random(seed).randbytes(MIB))


@pytest.mark.parametrize("unused", range(3))
async def test_the_least_recently_used_image_makes_room(lab: Lab, unused: int) -> None:
    depot = await lab.depot(quota_bytes=5 * MIB)
    stored = [await fetched(depot, FetchRequest(lab.origin.put(f"x{n}", image(n)))) for n in range(3)]
    for n in {0, 1, 2} - {unused}:
        depot.url_for(stored[n].image_digest, base_url="http://depot.example")
    await fetched(depot, FetchRequest(lab.origin.put("x3", image(3))))
    assert [n for n in range(3) if depot.find(stored[n].image_digest) is None] == [unused]
    assert depot.used_bytes() <= 5 * MIB


async def test_what_a_running_fetch_has_brought_is_not_taken_from_it(lab: Lab) -> None:
    depot = await lab.depot(quota_bytes=4 * MIB)
    stored = await fetched(depot, FetchRequest(lab.origin.put("stored", image(1))))
    running = FetchRequest(lab.origin.put("running", image(2)))
    lab.origin["running"].stall_at = MIB
    await brought(depot, running, MIB)
    depot.url_for(stored.image_digest, base_url="http://depot.example")
    await fetched(depot, FetchRequest(lab.origin.put("other", image(3))))
    lab.origin["running"].stall_at = None
    lab.origin.release()
    assert (await fetched(depot, running)).image_digest == sha256(image(2))
    assert lab.origin.sent("running") == len(image(2))


async def test_a_pinned_image_stays_and_a_fetch_that_cannot_fit_is_told_so(lab: Lab) -> None:
    depot = await lab.depot(quota_bytes=2 * MIB)
    kept = await fetched(depot, FetchRequest(lab.origin.put("a", image(1))))
    depot.pin("default/debian", {kept.image_digest})
    wanted = FetchRequest(lab.origin.put("b", image(2)))
    error = await failure(depot, wanted)
    assert error.reason == "DepotFull"
    assert "1.3 MiB of its 2.0 MiB are in use" in error.message
    assert "larger volume or quota" in error.remedy
    assert depot.find(kept.image_digest) == kept
    assert depot.used_bytes() == kept.size_bytes
    depot.pin("default/debian", set())
    assert (await fetched(depot, wanted)).image_digest == sha256(image(2))
    assert depot.find(kept.image_digest) is None


async def test_nothing_is_removed_for_an_image_that_would_not_fit_anyway(lab: Lab) -> None:
    depot = await lab.depot(quota_bytes=2 * MIB)
    stored = await fetched(depot, FetchRequest(lab.origin.put("a", image(1))))
    huge = qcow2(payload=Random(2).randbytes(3 * MIB))
    assert (await failure(depot, FetchRequest(lab.origin.put("b", huge)))).reason == "DepotFull"
    assert depot.find(stored.image_digest) == stored


async def test_pins_survive_a_restart_until_their_owner_is_gone(lab: Lab) -> None:
    depot = await lab.depot(quota_bytes=2 * MIB)
    kept = await fetched(depot, FetchRequest(lab.origin.put("a", image(1))))
    depot.pin("default/debian", {kept.image_digest})
    restarted = await lab.depot(quota_bytes=2 * MIB)
    wanted = FetchRequest(lab.origin.put("b", image(2)))
    assert (await failure(restarted, wanted)).reason == "DepotFull"
    restarted.keep_owners({"default/ubuntu"})
    assert (await fetched(restarted, wanted)).image_digest == sha256(image(2))


async def test_an_abandoned_download_makes_room_before_an_image_that_was_used_later(lab: Lab) -> None:
    lab.origin.put("abandoned", image(1))
    lab.origin["abandoned"].stall_at = MIB
    depot = await lab.depot(quota_bytes=3 * MIB)
    await brought(depot, FetchRequest(f"{lab.origin.base_url}/abandoned"), MIB)
    await depot.close()
    restarted = await lab.depot(quota_bytes=3 * MIB)
    stored = await fetched(restarted, FetchRequest(lab.origin.put("a", image(2))))
    await fetched(restarted, FetchRequest(lab.origin.put("b", image(3))))
    assert restarted.find(stored.image_digest) == stored
    assert not [name for name in files_of(lab.root) if name.startswith("partial/")]


async def test_what_unpacks_beyond_the_quota_is_depot_full_and_leaves_only_the_download(lab: Lab) -> None:
    depot = await lab.depot(quota_bytes=80 * MIB)
    bomb = gzip.compress(b"\0" * (100 * MIB))
    error = await failure(depot, FetchRequest(lab.origin.put("x", bomb)))
    assert error.reason == "DepotFull"
    assert {Path(name).suffix for name in files_of(lab.root)} == {".part", ".json"}


async def test_a_volume_without_room_is_depot_full(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    depot = await lab.depot()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pantograph.depot.partial.Partial.begin", full)
    error = await failure(depot, FetchRequest(lab.origin.put("x", image(1))))
    assert (error.reason, error.message) == ("DepotFull", "the depot's volume is full")


async def test_a_url_for_an_image_that_is_not_stored_is_refused(lab: Lab) -> None:
    with pytest.raises(ImageNotInDepot, match="does not hold the image sha256:0000"):
        (await lab.depot()).url_for(f"sha256:{'0' * 64}", base_url="http://depot.example")
