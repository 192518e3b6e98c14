"""What a template is made of: the bytes that its origin serves when they are wished for, and nobody else's fetch."""

from __future__ import annotations

import hashlib

import pytest

from pantograph.api.meta import RECONCILE_AT
from pantograph.depot.errors import SourceUnreachable
from tests.fakes.proxmox import qcow2
from tests.simulation.lab import IMAGE_URL, Lab

MIRROR_URL = "http://mirror.test/debian.qcow2"
NEWER = qcow2(payload=b"newer")


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def original(lab: Lab) -> bytes:
    """What the origin serves at first."""
    content = lab.disk.origin[IMAGE_URL]
    assert isinstance(content, bytes)
    return content


def served(lab: Lab, name: str) -> str | None:
    """The digest of what the template was made of."""
    image = lab.status(f"vmtemplate/{name}").get("image")
    return image["servedDigest"] if image else None


async def test_a_new_template_of_an_old_url_is_made_of_what_the_origin_serves_now() -> None:
    async with Lab() as lab:
        await lab.make_ready("old")
        lab.disk.origin[IMAGE_URL] = NEWER
        await lab.delete("vmtemplate/old")
        await lab.until(lambda: lab.get("vmtemplate/old") is None)
        await lab.restart()
        await lab.make_ready("new")
        assert served(lab, "new") == digest(NEWER)


async def test_a_new_template_of_an_unchanged_url_moves_no_byte_but_asks_the_origin() -> None:
    async with Lab() as lab:
        await lab.make_ready("old")
        await lab.quiet(for_s=60)
        await lab.make_ready("new")
        assert (lab.disk.fetches, lab.disk.confirmations) == ([IMAGE_URL], [IMAGE_URL])
        lab.disk.origin.clear()
        await lab.apply(lab.template("orphan"))
        await lab.until_reason("vmtemplate/orphan", "SourceRefused")


async def test_an_origin_that_cannot_be_reached_is_told_of_while_it_is_tried_again() -> None:
    async with Lab() as lab:
        lab.disk.origin[IMAGE_URL] = SourceUnreachable("http://origin.test: no connection to origin.test: refused")
        lab.disk.delays_s[IMAGE_URL] = 300
        await lab.apply(lab.template())
        await lab.until(lambda: "no connection" in lab.condition("vmtemplate/debian").get("message", ""), within_s=60)
        ready = lab.condition("vmtemplate/debian")
        assert (ready["reason"], ready["message"].partition(":")[0]) == ("Fetching", "fetching, and trying again")


async def test_a_fetch_that_ended_before_the_process_did_is_found_again() -> None:
    async with Lab() as lab:
        lab.disk.delays_s[IMAGE_URL] = 95  # such a fetch is asked about every nine seconds
        await lab.apply(lab.template())
        await lab.until(lambda: lab.disk.images)
        assert served(lab, "debian") is None
        await lab.restart()
        await lab.until_ready("vmtemplate/debian")
        assert (lab.disk.fetches, lab.disk.confirmations) == ([IMAGE_URL], [])


@pytest.mark.parametrize("a_person_asks", [True, False])
async def test_a_lost_image_is_back_when_the_origin_serves_the_former_file_again(a_person_asks: bool) -> None:
    async with Lab() as lab:
        former = original(lab)
        await lab.make_ready(nodes=["pve1"])
        lab.disk.images.clear()
        lab.disk.origin[IMAGE_URL] = NEWER
        await lab.apply(lab.template(nodes=["pve1", "pve2"]))
        await lab.until_reason("vmtemplate/debian", "SourceGone")
        asked = len(lab.disk.confirmations)
        await lab.quiet(for_s=5 * 3600)
        assert (lab.disk.fetches, len(lab.disk.confirmations)) == ([IMAGE_URL] * 2, asked), "nobody asks all the time"
        lab.disk.origin[IMAGE_URL] = former
        if a_person_asks:
            await lab.patch("vmtemplate/debian", {"metadata": {"annotations": {RECONCILE_AT: "now"}}})
        await lab.until_ready("vmtemplate/debian", within_s=60 if a_person_asks else 2 * 3600)
        assert {machine.node for machine in lab.truth.machines_marked()} == {"pve1", "pve2"}
        assert served(lab, "debian") == digest(former)


async def test_an_image_that_is_too_large_for_the_disk_is_not_asked_for_again_before_the_spec_changes() -> None:
    async with Lab() as lab:
        await lab.apply(lab.template(hardware={"disk": {"size": "1Mi"}}))
        await lab.until_reason("vmtemplate/debian", "DiskTooSmall")
        await lab.quiet(for_s=60)
        writes = len(lab.server.writes)
        await lab.quiet(for_s=5 * 3600)
        assert (lab.disk.fetches, lab.disk.confirmations) == ([IMAGE_URL], [])
        assert lab.server.writes[writes:] == []
        await lab.apply(lab.template())
        await lab.until_ready("vmtemplate/debian", within_s=300)


async def begin_at_slow_mirror(lab: Lab, name: str, content: bytes) -> None:
    """A template of this content whose URL takes a day."""
    lab.disk.origin[MIRROR_URL] = content
    lab.disk.delays_s[MIRROR_URL] = 86400
    await lab.apply(lab.template(name, url=MIRROR_URL, checksum=digest(content)))
    await lab.until(lambda: lab.disk.running == [MIRROR_URL])


async def test_a_corrected_url_does_not_wait_for_the_fetch_of_the_old_one() -> None:
    async with Lab() as lab:
        content = original(lab)
        await begin_at_slow_mirror(lab, "debian", content)
        await lab.apply(lab.template(url=IMAGE_URL, checksum=digest(content)))
        await lab.until_ready("vmtemplate/debian", within_s=600)
        assert lab.disk.running == []


async def test_nobody_waits_for_the_fetch_that_somebody_else_declared_the_same_checksum_for() -> None:
    async with Lab() as lab:
        content = original(lab)
        lab.disk.origin[MIRROR_URL] = NEWER
        lab.disk.delays_s[MIRROR_URL] = 30
        await lab.apply(lab.template("first", url=MIRROR_URL, checksum=digest(content)))
        await lab.until(lambda: lab.disk.running == [MIRROR_URL])
        await lab.make_ready("second", url=IMAGE_URL, checksum=digest(content))
        assert lab.events("ChecksumMismatch") == []
        assert lab.disk.fetches == [MIRROR_URL, IMAGE_URL]
        await lab.until_ready("vmtemplate/first")


async def test_an_image_of_the_declared_checksum_is_taken_whoever_brought_it_and_the_own_fetch_ends() -> None:
    async with Lab() as lab:
        content = original(lab)
        await begin_at_slow_mirror(lab, "slow", content)
        await lab.make_ready("quick", url=IMAGE_URL, checksum=digest(content))
        await lab.until_ready("vmtemplate/slow", within_s=600)
        assert lab.disk.running == []


async def test_the_fetch_of_a_deleted_template_ends_unless_another_wants_it() -> None:
    async with Lab() as lab:
        lab.disk.delays_s[IMAGE_URL] = 3600
        await lab.apply(lab.template("one"))
        await lab.apply(lab.template("two"))
        await lab.until(lambda: all(lab.status(f"vmtemplate/{name}").get("operation") for name in ("one", "two")))
        await lab.quiet(for_s=60)
        await lab.delete("vmtemplate/one")
        await lab.until(lambda: lab.get("vmtemplate/one") is None)
        assert lab.disk.running == [IMAGE_URL]
        await lab.delete("vmtemplate/two")
        await lab.until(lambda: lab.get("vmtemplate/two") is None)
        assert lab.disk.running == []
        assert lab.disk.fetches == [IMAGE_URL]


async def test_a_template_that_was_let_go_by_force_leaves_neither_fetch_nor_pin() -> None:
    async with Lab() as lab:
        await lab.make_ready("ready")
        lab.disk.origin[MIRROR_URL] = NEWER
        lab.disk.delays_s[MIRROR_URL] = 86400
        await lab.apply(lab.template("fetching", url=MIRROR_URL))
        await lab.until(lambda: lab.disk.running == [MIRROR_URL])
        assert lab.depot.pinned() == {served(lab, "ready")}
        for name in ("ready", "fetching"):
            await lab.patch(
                f"vmtemplate/{name}", {"metadata": {"annotations": {"pantograph.dev/force-release": "true"}}}
            )
            await lab.delete(f"vmtemplate/{name}")
        await lab.until(lambda: not lab.all("vmtemplate"))
        assert lab.depot.pinned() == set()
        assert lab.disk.running == []
