"""The pages below docs against the code: nothing is missing there, and nothing stands there that does not exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pantograph.api import crd, kinds
from pantograph.providers.proxmox import privileges
from pantograph.providers.proxmox.privileges import MissingRight
from tests.fakes.apiserver import schema as structural
from tests.unit.docs.source import (
    CHECKOUT,
    KINDS,
    comes_back,
    fields,
    openapi,
    reasons,
    sample_reasons,
    stalled_reasons,
)

DOCS = CHECKOUT / "docs"
SPEC = DOCS / "spec"
CRDS: dict[str, crd.Kind] = {kind.info.resource.kind.lower(): kind for kind in kinds.ALL}
DOCUMENTS = sorted(
    path
    for root in (CHECKOUT, DOCS, CHECKOUT / "charts")
    for path in root.glob("*.md" if root == CHECKOUT else "**/*.md")
)


def page(name: str) -> str:
    return (SPEC / f"{name}.md").read_text()


def rows(text: str, heading: str) -> list[tuple[str, ...]]:
    """The cells of the tables whose first column has this heading."""
    found: list[tuple[str, ...]] = []
    inside = False
    for line in text.splitlines():
        cells = tuple(cell.strip() for cell in line.strip("|").split("|")) if line.startswith("|") else ()
        if not cells:
            inside = False
        elif cells[0] == heading:
            inside = True
        elif inside and not set(cells[0]) <= set("-"):
            found.append(cells)
    return found


def first_cells(text: str, heading: str) -> list[str]:
    return [re.sub(r"[*`]", "", cells[0]) for cells in rows(text, heading)]


def test_the_code_gives_reasons_of_every_sort() -> None:
    """The collector is no test if it finds nothing."""
    found = reasons()
    assert found["NodeOffline"] == {"templatereplica"}
    assert found["Fetching"] == {"vmtemplate"}
    assert found["Sufficient"] == {"proxmoxcluster"}
    assert {"StorageFull", "SourceStalled", "CircuitOpen", "APIForbidden", "Succeeded", "InternalError"} <= found.keys()
    assert {"SourceUnusable", "RunLost", "RootNotFound", "WatchUnsupported"} <= found.keys()
    assert {"StorageFull", "ChecksumMismatch", "Moved", "MarkRefused", "PruneBlocked"} <= stalled_reasons()
    assert stalled_reasons() <= found.keys()


@pytest.mark.parametrize("name", KINDS)
def test_every_field_of_a_kind_stands_once_in_its_page_or_among_what_all_share(name: str) -> None:
    shared = set.intersection(*(set(fields(kind)) for kind in CRDS.values()))
    assert sorted(first_cells(page("common"), "field")) == sorted(shared)
    assert sorted(first_cells(page(name), "field")) == sorted(fields(CRDS[name]).keys() - shared)


@pytest.mark.parametrize("name", KINDS)
def test_a_page_names_the_defaults_and_choices_that_the_api_server_applies(name: str) -> None:
    known = fields(CRDS[name])
    for cells in rows(page(name), "field"):
        field = known[re.sub(r"[*`]", "", cells[0])]
        if isinstance(default := field.get("default"), str | int):
            assert cells[2] == f"`{str(default).lower() if isinstance(default, bool) else default}`", cells[0]
        if field.get("type") == "string" and "enum" in field and cells[1] != "string":
            assert cells[1].split(", ") == field["enum"], cells[0]


def test_fields_in_bold_are_those_that_the_api_server_freezes() -> None:
    frozen = {rule.field_path.lstrip(".") for rule in CRDS["vmtemplate"].info.rules if rule.field_path}
    bold = {re.sub(r"[*`]", "", cells[0]) for cells in rows(page("vmtemplate"), "field") if cells[0].startswith("**")}
    assert bold == frozen


@pytest.mark.parametrize("name", KINDS)
def test_every_reason_of_a_kind_stands_in_its_page_and_no_reason_there_is_made_up(name: str) -> None:
    told = first_cells(page(name), "reason")
    assert len(told) == len(set(told))
    assert {reason for reason, kinds_ in reasons().items() if name in kinds_} - set(told) == set()
    assert set(told) - reasons().keys() == set()


def test_every_reason_of_several_kinds_stands_in_the_common_page_and_none_there_is_made_up() -> None:
    told = first_cells(page("common"), "reason")
    assert len(told) == len(set(told))
    assert {reason for reason, kinds_ in reasons().items() if "common" in kinds_} - set(told) == set()
    assert set(told) - reasons().keys() == set()


def test_every_reason_of_a_sample_stands_in_the_page_and_none_there_is_made_up() -> None:
    assert {"Modified", "Obstructed", "PruneGone", "WouldUpdate"} <= sample_reasons()
    assert sorted(first_cells(page("strmsyncjob"), "sample")) == sorted(sample_reasons())


def test_a_reason_is_called_stalled_if_and_only_if_a_stalled_condition_can_give_it() -> None:
    told = {
        re.sub("`", "", cells[0])
        for name in ("common", *KINDS)
        for cells in rows(page(name), "reason")
        if "stalled" in cells[1]
    }
    bases = {"ProviderError", "DepotFailed"}  # given by nobody as they are
    assert told - bases == stalled_reasons()


@pytest.mark.parametrize("name", ["common", *KINDS])
def test_a_page_tells_what_waits_for_something_else_from_what_is_tried_again(name: str) -> None:
    assert comes_back()["strmsyncjob", "RootNotAnswering"] == {"retried"}
    told = {re.sub("`", "", cells[0]): cells[1] for cells in rows(page(name), "reason")}
    assert {
        reason: told[reason]
        for (kind, reason), words in comes_back().items()
        if kind == name and reason in told and any(word not in told[reason] for word in words)
    } == {}


def test_the_runbook_has_an_entry_for_every_reason_that_stalls() -> None:
    entries = re.findall(r"^### (.+)$", (DOCS / "runbook.md").read_text(), re.M)
    named = [reason for entry in entries for reason in entry.split(", ")]
    assert sorted(named) == sorted(stalled_reasons())


@pytest.mark.parametrize("name", KINDS)
def test_every_condition_of_a_kind_stands_in_its_page(name: str) -> None:
    own = {
        "proxmoxcluster": {"Reachable", "Authorized"},
        "vmtemplate": {"Degraded", "PasswordMissing"},
        "templatereplica": {"StagedFileKept"},
        "dataserver": {"Reachable", "Authorized", "RateLimited"},
        "strmsyncjob": {
            *("SourceReachable", "ListingComplete", "PruneBlocked", "RateLimited", "CollisionsFound"),
            *("WatchConnected", "NotifyFailed", "AlertNotDelivered"),
        },
    }
    assert set(first_cells(page(name), "condition")) == {"Ready", "Suspended"} | own[name]


def manifests() -> Iterator[tuple[str, str]]:
    """Every block of YAML in our documents and every example, by where it stands."""
    for path in DOCUMENTS:
        for number, block in enumerate(re.findall(r"^```ya?ml\n(.*?)^```", path.read_text(), re.M | re.S), 1):
            yield f"{path.relative_to(CHECKOUT)} {number}", block
    for path in sorted(DOCS.glob("examples/*.yaml")):
        yield str(path.relative_to(CHECKOUT)), path.read_text()


MANIFESTS = dict(manifests())


@pytest.mark.parametrize("place", MANIFESTS)
def test_every_manifest_in_a_document_is_one_that_the_api_server_would_take(place: str) -> None:
    for body in yaml.safe_load_all(MANIFESTS[place]):
        kind = CRDS.get(str(body.get("kind", "")).lower()) if isinstance(body, dict) else None
        if kind is not None:
            assert body["apiVersion"] == kind.info.resource.api_version
            assert _faults(body, openapi(kind)) == []


def test_a_manifest_with_a_typing_error_is_no_manifest() -> None:
    body = yaml.safe_load((DOCS / "examples" / "vmtemplate.yaml").read_text())
    body["spec"]["placements"][0]["proxmox"]["storrage"] = "local"
    assert _faults(body, openapi(CRDS["vmtemplate"])) == ["unknown: spec.placements[].proxmox.storrage"]


def _faults(body: dict[str, Any], schema: structural.Schema) -> list[str]:
    """What the structural schema says, and fields that it does not know."""
    own = {name: value for name, value in body.items() if name not in structural.ROOT_FIELDS}
    return [*structural.faults(own, schema), *_unknown(own, schema, "")]


def _unknown(value: Any, schema: structural.Schema, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _unknown(item, schema["items"], f"{path}[]")
    elif isinstance(value, dict) and "properties" in schema:
        for name, item in value.items():
            below = f"{path}.{name}".lstrip(".")
            if name not in schema["properties"]:
                yield f"unknown: {below}"
            else:
                yield from _unknown(item, schema["properties"][name], below)


def test_the_roles_to_create_on_proxmox_are_those_that_remedies_name() -> None:
    needs = [
        *privileges.observe(),
        *privileges.destroy(),
        *privileges.depot_transfer("pve1", staging="local", target="local", bridges=["vmbr0"]),
        *privileges.delete_staged("local"),
    ]
    missing = [MissingRight(need.path, need.privileges) for need in needs]
    wanted = privileges.grant_commands(missing, "pantograph@pve").split("; ")
    told = re.findall(r"^(pveum (?:role add|acl modify) .*)$", (DOCS / "install.md").read_text(), re.M)
    assert set(told) == set(wanted)


LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target, anchor in LINK.findall(document.read_text()):
        path = (document.parent / target).resolve() if target else document
        assert path.exists(), f"{target} is not there"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(), re.M)
            assert anchor in {_anchor(heading) for heading in headings}, f"{target} has no heading for #{anchor}"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
