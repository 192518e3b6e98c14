"""The CRDs before the real API server: taken whole, defaulting, refusing with a text that names field and rule."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hack.controlplane.controlplane import CommandError, ControlPlane
from pantograph.api import crd, kinds
from pantograph.api.kstatus import Verdict, verdict
from tests.cluster.toys import Toy

Body = dict[str, Any]
KINDS: tuple[crd.Kind, ...] = (*kinds.ALL, Toy)

CLUSTER = {"endpoints": ["pve1.example.org"], "credentialsRef": {"name": "token"}}
TEMPLATE: Body = {
    "source": {"http": {"url": "https://example.org/debian.qcow2"}},
    "placements": [{"name": "all", "proxmox": {"clusterRef": {"name": "lab"}, "storage": "local"}}],
}
REPLICA = {
    "type": "Copy",
    "templateRef": {"name": "debian"},
    "clusterRef": {"name": "lab"},
    "node": "pve1",
    "storage": "local",
}
SERVER: Body = {"driver": "OpenList", "endpoint": "http://openlist:5244"}
JOB: Body = {
    "serverRef": {"name": "openlist"},
    "source": {"path": "/115/Films"},
    "target": {"persistentVolumeClaim": {"claimName": "strm", "subPath": "films"}},
    "link": {"publicBase": "http://openlist.lan:5244"},
}
TOY = {"wood": "oak"}
IMAGE = {"servedDigest": f"sha256:{0:064}", "imageDigest": f"sha256:{0:064}", "format": "qcow2", "virtualSizeBytes": 1}


def an_object(kind: str, spec: Body, *, name: str = "one") -> Body:
    info = next(each.info for each in KINDS if each.info.resource.kind == kind)
    return {
        "apiVersion": info.resource.api_version,
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


class User:
    """A person with kubectl in one namespace, who is warned of nothing in vain."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self._plane = plane
        self._namespace = namespace

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        return self._plane.kubectl(*args, "-n", self._namespace, "--warnings-as-errors", stdin=stdin)

    def create(self, body: Body) -> Body:
        created: Body = json.loads(self.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(body)))
        return created

    def patch(self, what: str, patch: Body, *, subresource: str | None = None) -> Body:
        options = [f"--subresource={subresource}"] if subresource else []
        text = self.kubectl("patch", what, "--type=merge", "-p", json.dumps(patch), "-o", "json", *options)
        patched: Body = json.loads(text)
        return patched

    def refused(self, body: Body) -> str:
        with pytest.raises(CommandError) as caught:
            self.create(body)
        return caught.value.stderr

    def patch_refused(self, what: str, patch: Body) -> str:
        with pytest.raises(CommandError) as caught:
            self.patch(what, patch)
        return caught.value.stderr


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """The control plane with our CRDs and the toys', by a client-side apply, which also bounds their size."""
    manifests = "---\n".join(crd.manifest(kind) for kind in KINDS)
    names = [f"crd/{kind.info.resource.plural}.{kind.info.resource.group}" for kind in KINDS]
    control_plane.kubectl("delete", *names, "--ignore-not-found")  # a chart that another test removed keeps its own
    control_plane.kubectl("apply", "-f", "-", "--warnings-as-errors", stdin=manifests)
    control_plane.kubectl("wait", "--for=condition=Established", *names, "--timeout=180s")
    yield control_plane
    control_plane.kubectl("delete", *names)


@pytest.fixture
def user(plane: ControlPlane, namespace: str) -> User:
    return User(plane, namespace)


@pytest.fixture(scope="module")
def refused_user(plane: ControlPlane) -> User:
    """One whose objects are never taken, so that a namespace of its own is not needed for each."""
    return User(plane, "default")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.info.resource.kind)
def test_the_server_takes_a_definition_without_warning_under_strict_validation(
    plane: ControlPlane, kind: crd.Kind
) -> None:
    options = ("--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "--warnings-as-errors")
    answer = plane.kubectl("apply", *options, "-f", "-", stdin=crd.manifest(kind))
    assert "serverside-applied" in answer


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.info.resource.kind)
def test_the_server_keeps_every_word_of_a_definition_and_finds_it_structural(
    plane: ControlPlane, kind: crd.Kind
) -> None:
    wanted = crd.definition(kind)
    stored = json.loads(plane.kubectl("get", "crd", wanted["metadata"]["name"], "-o", "json"))
    versions = stored["spec"]["versions"]
    for column in versions[0].get("additionalPrinterColumns", []):
        column.pop("priority", None)  # the server writes 0 out
    for version in wanted["spec"]["versions"]:
        for column in version.get("additionalPrinterColumns", []):
            column.pop("priority", None)
    assert versions == wanted["spec"]["versions"]
    conditions = {each["type"]: each["status"] for each in stored["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("ProxmoxCluster", CLUSTER),
        ("VMTemplate", TEMPLATE),
        ("TemplateReplica", REPLICA),
        ("DataServer", SERVER),
        ("StrmSyncJob", JOB),
        ("Toy", TOY),
    ],
)
def test_an_object_that_nobody_has_looked_at_is_in_progress(user: User, kind: str, spec: Body) -> None:
    created = user.create(an_object(kind, spec))
    assert created["status"] == {"observedGeneration": -1}
    assert verdict(created) is Verdict.IN_PROGRESS


def test_published_defaults_are_in_the_object_and_those_of_code_are_not(user: User) -> None:
    assert user.create(an_object("VMTemplate", {**TEMPLATE, "hardware": {}}))["spec"] == {
        **TEMPLATE,
        "deletionPolicy": "Delete",
        "maxParallel": 4,
        "hardware": {
            "agent": True,
            "cores": 1,
            "cpuType": "x86-64-v2-AES",
            "firmware": "SeaBIOS",
            "memory": "1Gi",
            "osType": "l26",
            "scsiController": "virtio-scsi-single",
            "sockets": 1,
        },
    }


FINGERPRINT = ":".join(["AA"] * 32)


@pytest.mark.parametrize(
    ("kind", "spec", "name", "field", "text"),
    [
        pytest.param(
            "ProxmoxCluster",
            {**CLUSTER, "tls": {"fingerprint": FINGERPRINT, "insecureSkipVerify": True}},
            "one",
            "spec.tls",
            "exactly one of caRef, fingerprint or insecureSkipVerify must be set",
            id="two ways of trust",
        ),
        pytest.param(
            "ProxmoxCluster",
            {**CLUSTER, "endpoints": ["pve1.example.org", "http://pve2.example.org:8006"]},
            "one",
            "spec",
            "http:// would send the credentials unencrypted; write https:// in endpoints",
            id="credentials in the clear",
        ),
        pytest.param(
            "ProxmoxCluster",
            {**CLUSTER, "vmidRange": {"min": 900, "max": 800}},
            "one",
            "spec.vmidRange",
            "vmidRange.min must not be greater than vmidRange.max",
            id="empty range",
        ),
        pytest.param(
            "ProxmoxCluster",
            {**CLUSTER, "interval": "1d"},
            "one",
            "spec.interval",
            "should match",
            id="interval in days",
        ),
        pytest.param(
            "ProxmoxCluster",
            CLUSTER,
            "x" * 41,
            "ProxmoxCluster",
            "metadata.name of a ProxmoxCluster must not be longer than 40 characters",
            id="cluster's long name",
        ),
        pytest.param(
            "VMTemplate",
            TEMPLATE,
            "x" * 41,
            "VMTemplate",
            "metadata.name of a VMTemplate must not be longer than 40 characters",
            id="template's long name",
        ),
        pytest.param(
            "VMTemplate",
            {**TEMPLATE, "hardware": {"tpm": "v2.0"}},
            "one",
            "spec.hardware",
            "hardware.tpm needs hardware.firmware OVMF or OVMFSecureBoot",
            id="tpm without OVMF",
        ),
        pytest.param(
            "VMTemplate",
            {**TEMPLATE, "hardware": {"tags": ["pg-1"]}},
            "one",
            "spec.hardware",
            "hardware.tags must not contain 'pantograph' or 'pg-…': these mark what the operator owns",
            id="our tag",
        ),
        pytest.param(
            "VMTemplate",
            {**TEMPLATE, "minReady": "Most"},
            "one",
            "spec",
            "minReady must be a number from 1 on",
            id="word",
        ),
        pytest.param(
            "VMTemplate", {**TEMPLATE, "minReady": 0}, "one", "spec", "minReady must be a number from 1 on", id="zero"
        ),
        pytest.param(
            "VMTemplate",
            {**TEMPLATE, "placements": TEMPLATE["placements"] * 2},
            "one",
            "spec.placements[1]",
            "Duplicate value",
            id="placement twice",
        ),
        pytest.param(
            "VMTemplate", {**TEMPLATE, "hardwear": {}}, "one", "spec.hardwear", "unknown field", id="typing error"
        ),
        pytest.param(
            "VMTemplate", {"placements": TEMPLATE["placements"]}, "one", "spec.source", "Required value", id="no source"
        ),
        pytest.param(
            "TemplateReplica",
            {**REPLICA, "type": "Logical"},
            "one",
            "spec",
            "copyRef is required with type Logical and only allowed there",
            id="logical without copy",
        ),
        pytest.param(
            "TemplateReplica", {**REPLICA, "type": "Kopie"}, "one", "spec.type", "Unsupported value", id="unknown type"
        ),
        pytest.param(
            "DataServer",
            {"driver": "OpenList"},
            "one",
            "spec",
            "driver other than Local needs endpoint",
            id="no endpoint",
        ),
        pytest.param(
            "DataServer", {"driver": "Local"}, "one", "spec", "driver Local needs local", id="Local without a folder"
        ),
        pytest.param(
            "DataServer",
            {"driver": "OpenList", "endpoint": "http://openlist:5244", "tls": {"caRef": {"name": "home-ca"}}},
            "one",
            "spec",
            "tls needs an endpoint of https://",
            id="an authority for plain http",
        ),
        pytest.param(
            "DataServer",
            {**SERVER, "local": {"root": {"name": "media"}}},
            "one",
            "spec",
            "local needs driver Local; remove local, or set driver: Local",
            id="a folder for a server's driver",
        ),
        *(
            pytest.param(
                "DataServer",
                {"driver": "Local", "local": {"root": {"name": "media"}}, field: value},
                "one",
                "spec",
                f"{field} needs a driver other than Local; remove {field}, or set the driver of its server",
                id=f"{field} of a folder",
            )
            for field, value in (
                ("endpoint", "http://openlist:5244"),
                ("credentialsRef", {"name": "openlist"}),
                ("tls", {"caRef": {"name": "home-ca"}}),
            )
        ),
        pytest.param(
            "DataServer",
            {"driver": "Local", "local": {"root": {"name": "media"}, "sentinel": "../other/.mounted"}},
            "one",
            "spec.local",
            "sentinel must not contain the segments '.' or '..'",
            id="a sentinel outside the volume",
        ),
        pytest.param(
            "DataServer",
            {"driver": "OpenList", "endpoint": "http://openlist:5244", "limits": {"listTimeout": "0s"}},
            "one",
            "spec.limits",
            "listTimeout must be at least 1s",
            id="no time for an answer",
        ),
        pytest.param(
            "DataServer",
            {"driver": "OpenList", "endpoint": "http://openlist:5244", "interval": "1ms"},
            "one",
            "spec",
            "interval must be at least 10s",
            id="an interval of nothing",
        ),
        pytest.param(
            "StrmSyncJob",
            {**JOB, "target": {**JOB["target"], "root": {"name": "media"}}},
            "one",
            "spec.target",
            "exactly one of persistentVolumeClaim or root must be set",
            id="two targets",
        ),
        pytest.param(
            "StrmSyncJob",
            {**JOB, "target": {"root": {"name": "media", "subPath": "a/../../b"}}},
            "one",
            "spec.target.root",
            "subPath must not contain the segments '.' or '..'",
            id="target that leads out",
        ),
        pytest.param(
            "StrmSyncJob",
            {**JOB, "link": {"mode": "Http"}},
            "one",
            "spec.link",
            "link.mode Http needs link.publicBase",
            id="link without base",
        ),
        pytest.param(
            "StrmSyncJob",
            {**JOB, "schedule": {"timeZone": "Europe/Berlin"}},
            "one",
            "spec.schedule",
            "schedule.timeZone needs schedule.cron",
            id="time zone without cron",
        ),
        pytest.param(
            "StrmSyncJob",
            {**JOB, "schedule": {"cron": "0 3 * * *", "startingDeadline": "0s"}},
            "one",
            "spec.schedule",
            "startingDeadline must be at least 1m",
            id="no time to begin",
        ),
        pytest.param(
            "StrmSyncJob",
            {**JOB, "schedule": {"cron": "0 3 * *"}},
            "one",
            "spec.schedule.cron",
            "should match",
            id="four fields of cron",
        ),
        pytest.param(
            "StrmSyncJob",
            {**JOB, "schedule": {"cron": "@reboot"}},
            "one",
            "spec.schedule.cron",
            "should match",
            id="a nickname that is none",
        ),
        pytest.param("Toy", {}, "one", "spec", "exactly one of wood or metal must be set", id="none of two"),
        pytest.param(
            "Toy", {"wood": "oak", "metal": "tin"}, "one", "spec", "exactly one of wood or metal must be set", id="both"
        ),
        pytest.param(
            "Toy",
            {**TOY, "bell": True, "horn": True},
            "one",
            "spec",
            "at most one of bell or horn may be set",
            id="at most one",
        ),
        pytest.param("Toy", {**TOY, "tags": ["a", "a"]}, "one", "spec.tags[1]", "Duplicate value", id="set"),
        pytest.param("Toy", {**TOY, "weights": {"a": 0}}, "one", "spec.weights.a", "greater than 0", id="exclusive"),
        pytest.param("Toy", {**TOY, "bell": False}, "one", "spec.bell", "Unsupported value", id="only true"),
        pytest.param("Toy", {**TOY, "age": True}, "one", "spec.age", "must be of type", id="int or string"),
        pytest.param("Toy", TOY, "x" * 11, "Toy", "metadata.name of a Toy must be short", id="root rule"),
    ],
)
def test_an_invalid_object_is_refused_with_the_field_and_the_rule(
    refused_user: User, kind: str, spec: Body, name: str, field: str, text: str
) -> None:
    said = refused_user.refused(an_object(kind, spec, name=name))
    assert field in said
    assert text in said


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        pytest.param("ProxmoxCluster", {**CLUSTER, "endpoints": ["https://pve1:8006/", "pve2"]}, id="pasted endpoint"),
        pytest.param("VMTemplate", {**TEMPLATE, "cloudInit": {"user": "Administrator"}}, id="user of Windows"),
        pytest.param("DataServer", {"driver": "Local", "local": {"root": {"name": "media"}}}, id="folder"),
        pytest.param(
            "StrmSyncJob", {**JOB, "schedule": {"cron": "@daily", "startingDeadline": "60s"}}, id="a minute to begin"
        ),
    ],
)
def test_what_people_write_in_good_faith_is_taken(user: User, kind: str, spec: Body) -> None:
    assert user.create(an_object(kind, spec))["metadata"]["generation"] == 1


def test_both_forms_of_a_number_or_word_are_taken(user: User) -> None:
    assert user.create(an_object("VMTemplate", {**TEMPLATE, "minReady": 2}))["spec"]["minReady"] == 2
    assert user.create(an_object("Toy", {**TOY, "age": "Any"}))["spec"]["age"] == "Any"


@pytest.mark.parametrize("field", ["type", "templateRef", "clusterRef", "node", "storage"])
def test_the_place_of_a_replica_never_changes(user: User, field: str) -> None:
    user.create(an_object("TemplateReplica", {**REPLICA, "copyRef": None}))
    new: Any = {"name": "other"} if field.endswith("Ref") else "other"
    if field == "type":
        patch: Body = {"type": "Logical", "copyRef": {"name": "other"}}
    else:
        patch = {field: new}
    said = user.patch_refused("trep/one", {"spec": patch})
    assert f"{field} is immutable; delete this replica and make another" in said


def test_a_replicas_revision_may_be_set_once(user: User) -> None:
    user.create(an_object("TemplateReplica", REPLICA))
    user.patch("trep/one", {"spec": {"revision": "0123456789"}})
    for other in ("abcdef0123", None):
        said = user.patch_refused("trep/one", {"spec": {"revision": other}})
        assert "revision is immutable once set" in said


def test_what_a_copy_was_made_from_is_correctable_until_the_image_is_fetched(user: User) -> None:
    user.create(an_object("VMTemplate", TEMPLATE))
    corrected = {"spec": {"source": {"http": {"url": "https://example.org/debian-13.qcow2"}}}}
    user.patch("vmt/one", corrected)
    user.patch("vmt/one", {"status": {"image": IMAGE}}, subresource="status")
    said = user.patch_refused("vmt/one", {"spec": {"source": {"http": {"url": "https://example.org/other.qcow2"}}}})
    assert "spec.source.http.url: Invalid value" in said
    assert "spec.source.http.url cannot change after the image was fetched" in said
    said = user.patch_refused("vmt/one", {"spec": {"hardware": {"disk": {"size": "8Gi"}}}})
    assert "spec.hardware.disk.size cannot change after the image was fetched" in said


@pytest.mark.parametrize("hardware", [None, {}, {"cores": 1}], ids=["absent", "empty", "given"])
def test_what_can_change_in_place_may_change_after_the_image_was_fetched(user: User, hardware: Body | None) -> None:
    user.create(an_object("VMTemplate", {**TEMPLATE, **({} if hardware is None else {"hardware": hardware})}))
    user.patch("vmt/one", {"status": {"image": IMAGE}}, subresource="status")
    patched = user.patch("vmt/one", {"spec": {"hardware": {"cores": 4, "memory": "2Gi"}}})
    assert (patched["spec"]["hardware"]["cores"], patched["spec"]["hardware"]["memory"]) == (4, "2Gi")


def test_an_immutable_field_is_neither_changed_nor_added_nor_removed(user: User) -> None:
    parts = [{"name": "wheel", "colour": "red"}]
    user.create(an_object("Toy", {**TOY, "year": 1926, "parts": parts}, name="dated"))
    user.create(an_object("Toy", TOY, name="undated"))
    assert "spec.maker" in (said := user.patch_refused("toy/dated", {"spec": {"maker": "somebody"}}))
    assert "maker cannot be changed" in said
    assert "year is stamped into it" in user.patch_refused("toy/dated", {"spec": {"year": 1927}})
    assert "year is stamped into it" in user.patch_refused("toy/dated", {"spec": {"year": None}})
    assert "year is stamped into it" in user.patch_refused("toy/undated", {"spec": {"year": 1926}})
    repainted = {"spec": {"parts": [{"name": "door", "colour": "blue"}, {"name": "wheel", "colour": "blue"}]}}
    assert "spec.parts[1].colour" in (said := user.patch_refused("toy/dated", repainted))
    assert "colour cannot be changed" in said


def test_get_shows_the_columns_by_short_name_and_all_kinds_by_category(user: User) -> None:
    kinds_and_specs = (
        ("ProxmoxCluster", CLUSTER),
        ("VMTemplate", TEMPLATE),
        ("TemplateReplica", REPLICA),
        ("DataServer", SERVER),
        ("StrmSyncJob", JOB),
    )
    for kind, spec in kinds_and_specs:
        user.create(an_object(kind, spec))
    names = ("pmx", "vmt", "trep", "dsrv", "ssj")
    headers = {name: user.kubectl("get", name).splitlines()[0].split() for name in names}
    assert headers == {
        "pmx": ["NAME", "READY", "REASON", "VERSION", "NODES", "AGE"],
        "vmt": ["NAME", "READY", "STATUS", "PROGRESS", "REVISION", "AGE"],
        "trep": ["NAME", "NODE", "VMID", "PHASE", "READY", "REASON", "PROGRESS", "AGE"],
        "dsrv": ["NAME", "DRIVER", "READY", "REASON", "VERSION", "RUNS", "AGE"],
        "ssj": ["NAME", "SERVER", "READY", "REASON", "PHASE", "PROGRESS", "FILES", "LAST", "NEXT", "AGE"],
    }
    assert user.kubectl("get", "vmt", "-o", "wide").splitlines()[0].split()[-2:] == ["MESSAGE", "AGE"]
    assert user.kubectl("get", "pantograph", "-o", "name").split() == [
        "dataserver.pantograph.dev/one",
        "proxmoxcluster.pantograph.dev/one",
        "strmsyncjob.pantograph.dev/one",
        "templatereplica.pantograph.dev/one",
        "vmtemplate.pantograph.dev/one",
    ]


def test_a_kind_with_scale_is_scaled_and_one_with_selectable_fields_is_selected(user: User) -> None:
    user.create(an_object("Toy", {**TOY, "maker": "anna"}))
    user.create(an_object("Toy", {**TOY, "maker": "otto"}, name="two"))
    user.kubectl("scale", "toy/one", "--replicas=3")
    assert user.kubectl("get", "toy", "one", "-o", "jsonpath={.spec.replicas}") == "3"
    assert user.kubectl("get", "toys", "--field-selector=spec.maker=otto", "-o", "name").split() == [
        "toy.test.pantograph.dev/two"
    ]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("vmtemplate", "A golden image that becomes a template in every place it is wanted."),
        ("vmtemplate.spec.source.http.checksum", "of the file as served, before it is unpacked."),
        ("templatereplica.spec.copyRef", "Of a `Logical` one: the real copy."),
        ("proxmoxcluster.spec.tls", "Trust any certificate. Whoever stands between can then read the credentials."),
        ("proxmoxcluster.status.conditions.reason", "Why, in one word for programs."),
    ],
)
def test_explain_says_what_the_models_say(plane: ControlPlane, path: str, words: str) -> None:
    text = " ".join(explain(plane, path).split())
    assert words in text


def explain(plane: ControlPlane, path: str) -> str:
    """What kubectl explains; the server publishes the schema of a new kind a moment after it serves the kind."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return plane.kubectl("explain", path)
        except CommandError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
