"""The mark names its carrier: what people clone from our templates is never ours."""

from __future__ import annotations

import pytest

from pantograph.providers.proxmox.mark import (
    Mark,
    carrier_tag,
    foreign_mark,
    marked_description,
    own_mark,
    parse_line,
    staged_name,
    tagged_uid16,
)
from pantograph.providers.proxmox.port import GuestRow, VmConfig

MARK = Mark(
    installation="inst-1",
    kind="TemplateReplica",
    namespace="lab",
    name="debian-pve1-0123456789",
    uid="6f1c2d3e-4a5b-6c7d-8e9f-001122334455",
    vmid=120,
    revision="0123456789",
)


def config(vmid: int, description: str) -> VmConfig:
    return VmConfig(vmid, "pve1", {"description": description})


def row(vmid: int, *tags: str) -> GuestRow:
    return GuestRow(vmid, "pve1", "qemu", None, "unknown", None, tags=tags)


def test_what_is_written_is_read_again() -> None:
    assert parse_line(MARK.line) == MARK
    assert own_mark(config(120, marked_description("", MARK)), installation="inst-1") == MARK


def test_a_clone_carries_the_line_and_is_not_ours() -> None:
    assert own_mark(config(121, MARK.line), installation="inst-1") is None
    assert foreign_mark(config(121, MARK.line), installation="inst-2") is None


def test_another_installation_marks_nothing_of_ours_and_is_seen_as_foreign() -> None:
    assert own_mark(config(120, MARK.line), installation="inst-2") is None
    assert foreign_mark(config(120, MARK.line), installation="inst-2") == MARK


@pytest.mark.parametrize(
    "line",
    [
        "pantograph is nice",
        MARK.line.replace("uid=", "udi="),
        MARK.line.replace("vmid=120", "vmid=x"),
        MARK.line.replace(" revision=0123456789", ""),
        MARK.line.replace("name=debian-pve1-0123456789", "name="),
    ],
)
def test_a_damaged_line_marks_nothing(line: str) -> None:
    assert own_mark(config(120, line), installation="inst-1") is None


def test_what_a_person_wrote_stays_above_and_below() -> None:
    first = marked_description("# golden image\nask Ann", MARK)
    assert first == f"# golden image\nask Ann\n\n{MARK.line}"
    by_a_person = first + "\nbelow too\n"
    newer = Mark(**{name: getattr(MARK, name) for name in MARK.__slots__} | {"revision": "ffffffffff"})
    assert marked_description(by_a_person, newer) == f"# golden image\nask Ann\n\n{newer.line}\nbelow too"


def test_a_copied_line_is_replaced_and_only_one_remains() -> None:
    copied = MARK.line.replace("vmid=120", "vmid=99")
    assert marked_description(f"a\n{copied}\nb\n{copied}", MARK) == f"a\n{MARK.line}\nb"


def test_writing_twice_changes_nothing() -> None:
    once = marked_description("note", MARK)
    assert marked_description(once + "\n", MARK) == once


def test_the_tag_leads_to_the_carrier_alone() -> None:
    tag = carrier_tag(MARK.uid, 120)
    assert tag == "pg-6f1c2d3e4a5b6c7d-120"
    assert tagged_uid16(row(120, "web", "pantograph", tag)) == "6f1c2d3e4a5b6c7d"
    assert tagged_uid16(row(121, "pantograph", tag)) is None
    assert tagged_uid16(row(120, "pantograph")) is None


def test_a_staged_file_is_named_after_its_content() -> None:
    assert staged_name("sha256:" + "AB" * 32, "qcow2") == "pantograph-abababababababab.qcow2"


@pytest.mark.parametrize(("digest", "image_format"), [("sha256:ab", "qcow2"), ("ab" * 32, "img"), ("../../x", "raw")])
def test_a_name_that_could_not_be_known_again_is_refused(digest: str, image_format: str) -> None:
    with pytest.raises(ValueError, match="no name of a staged image"):
        staged_name(digest, image_format)
