"""The chart in a real API server: what it grants, what an upgrade keeps, what uninstalling leaves."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack.controlplane.controlplane import CommandError, ControlPlane
from tests.chart.cases import CASES
from tests.cluster.rights import Right, granted

CHECKOUT = Path(__file__).parents[2]
CHART = CHECKOUT / "charts/pantograph"
SYSTEM = "pantograph-system"
NAMESPACES = (SYSTEM, "lab", "shop", "leases")
CRDS = tuple(f"{path.stem.partition('_')[2]}.pantograph.dev" for path in sorted((CHECKOUT / "crds").glob("*.yaml")))

Body = dict[str, Any]


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """A control plane of these tests' own: they install and remove what belongs to no namespace."""
    with ControlPlane() as own:
        for namespace in NAMESPACES:
            own.kubectl("create", "namespace", namespace)
        yield own


@pytest.fixture
def clean(plane: ControlPlane) -> Iterator[ControlPlane]:
    """`plane`, and afterwards nothing of the chart is left in it."""
    yield plane
    plane.helm("uninstall", "pantograph", "--namespace", SYSTEM, "--ignore-not-found", "--wait")
    plane.kubectl("delete", "crd", *CRDS, "--ignore-not-found")


def install(plane: ControlPlane, *flags: str, chart: Path = CHART) -> None:
    plane.helm(
        "upgrade", "--install", "pantograph", str(chart), "--namespace", SYSTEM,
        "--set", "replicas=0", *flags,
    )  # fmt: skip
    # A definition that is deleted before the API server can list its kind is not gone before somebody touches it again.
    until(lambda: is_served(plane))


def is_served(plane: ControlPlane) -> bool:
    try:
        for name in CRDS:
            plane.kubectl("get", "--raw", f"/apis/pantograph.dev/v1alpha1/{name.partition('.')[0]}")
    except CommandError:
        return False
    return True


def template(name: str = "debian", **metadata: Any) -> str:
    body = {
        "apiVersion": "pantograph.dev/v1alpha1",
        "kind": "VMTemplate",
        "metadata": {"name": name, "namespace": "default", **metadata},
        "spec": {
            "source": {"http": {"url": "https://images.example.org/debian.qcow2"}},
            "placements": [{"name": "all", "proxmox": {"clusterRef": {"name": "pve"}, "storage": "local"}}],
        },
    }
    return yaml.safe_dump(body)


def replica(owner_uid: str) -> str:
    owner = {
        "apiVersion": "pantograph.dev/v1alpha1",
        "kind": "VMTemplate",
        "name": "debian",
        "uid": owner_uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    body = {
        "apiVersion": "pantograph.dev/v1alpha1",
        "kind": "TemplateReplica",
        "metadata": {"name": f"debian-{owner_uid[:8]}", "namespace": "default", "ownerReferences": [owner]},
        "spec": {
            "type": "Copy",
            "templateRef": {"name": "debian"},
            "clusterRef": {"name": "pve"},
            "node": "pve1",
            "storage": "local",
        },
    }
    return yaml.safe_dump(body)


def uid_of(plane: ControlPlane, *resource: str) -> str:
    return plane.kubectl("get", *resource, "-o", "jsonpath={.metadata.uid}")


def present_crds(plane: ControlPlane) -> set[str]:
    names = plane.kubectl("get", "crd", "-o", "jsonpath={.items[*].metadata.name}").split()
    return {name for name in names if name.endswith(".pantograph.dev")}


def until(holds: Callable[[], bool], *, timeout_s: float = 30.0) -> None:
    """Ask again until it holds: the authorizer learns of a changed role a moment later, and tells nobody."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"still not so after {timeout_s:.0f} s"


def table(text: str) -> set[Right]:
    """Rights from lines of `resource: verbs`, or `resource=name: verbs`."""
    found = set()
    for line in text.split("\n"):
        if not line.strip():
            continue
        resource, verbs = line.split(":")
        name, _, only = resource.strip().partition("=")
        found |= {(verb, name, only or "*") for verb in verbs.split()}
    return found


OBJECTS = table("""
    pantograph.dev/proxmoxclusters: get list watch patch
    pantograph.dev/proxmoxclusters/status: patch
    pantograph.dev/vmtemplates: get list watch patch
    pantograph.dev/vmtemplates/status: patch
    pantograph.dev/vmtemplates/finalizers: update
    pantograph.dev/templatereplicas: get list watch patch create delete
    pantograph.dev/templatereplicas/status: patch
    pantograph.dev/dataservers: get list watch
    pantograph.dev/dataservers/status: patch
    pantograph.dev/strmsyncjobs: get list watch patch
    pantograph.dev/strmsyncjobs/status: patch
    pantograph.dev/strmsyncjobs/finalizers: update
    batch/jobs: get list watch create delete
    pods: get list
    configmaps: create patch
    events: create patch
    secrets: get
""")
LEASE = table("""
    coordination.k8s.io/leases: create
    coordination.k8s.io/leases=pantograph: get update
""")
INSTALLATION = table("""
    secrets: create
    secrets=pantograph-installation: get patch
""")
REVIEWS = table("""
    authentication.k8s.io/tokenreviews: create
""")
"""They belong to no namespace, so they are shown for every one."""


def test_the_operator_may_do_this_and_nothing_else(clean: ControlPlane) -> None:
    install(clean)
    until(lambda: granted(clean, SYSTEM) >= OBJECTS | LEASE | INSTALLATION | REVIEWS)
    assert granted(clean, SYSTEM) == OBJECTS | LEASE | INSTALLATION | REVIEWS
    assert granted(clean, "default") == OBJECTS | REVIEWS


def test_with_named_namespaces_it_may_do_nothing_elsewhere(clean: ControlPlane) -> None:
    install(clean, "--set", "watchNamespaces={lab,shop}", "--set", "leaderElection.namespace=leases")
    until(lambda: granted(clean, "lab") >= OBJECTS | REVIEWS)
    assert granted(clean, "lab") == granted(clean, "shop") == OBJECTS | REVIEWS
    assert granted(clean, "leases") == LEASE | REVIEWS
    assert granted(clean, SYSTEM) == INSTALLATION | REVIEWS
    assert granted(clean, "default") == REVIEWS


def test_people_get_rights_by_the_roles_that_they_have(clean: ControlPlane) -> None:
    install(clean)
    for role in ("view", "edit", "admin"):
        clean.kubectl("create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}", "-n", "lab")

    def may(who: str, verb: str, resource: str, *flags: str) -> bool:
        command = ("auth", "can-i", verb, f"{resource}.pantograph.dev", *flags, "--as", who, "-n", "lab")
        try:
            return clean.kubectl(*command).strip() == "yes"
        except CommandError as refused:
            if refused.stdout.strip() != "no":
                raise
            return False

    until(lambda: may("view", "list", "vmtemplates") and may("edit", "create", "vmtemplates"))
    until(lambda: may("admin", "deletecollection", "proxmoxclusters"))
    assert not may("view", "create", "vmtemplates")
    assert may("edit", "patch", "proxmoxclusters")
    assert not may("edit", "patch", "vmtemplates", "--subresource=status")


def test_a_replica_may_block_its_templates_deletion_only_by_the_right_to_the_finalizers(clean: ControlPlane) -> None:
    install(clean)
    clean.kubectl("apply", "-f", "-", stdin=template())
    operator = clean.kubeconfig_for(SYSTEM, "pantograph")
    child = replica(uid_of(clean, "vmtemplate", "debian"))
    apply = ("apply", "--server-side", "--field-manager=pantograph", "-f", "-")

    def applied() -> bool:
        try:
            clean.kubectl(*apply, stdin=child, kubeconfig=operator)
        except CommandError as refused:
            # The admission plugin learns of a new kind a moment later than the rest of the API server.
            if "cannot find RESTMapping" not in refused.stderr:
                raise
            return False
        return True

    until(lambda: granted(clean, "default") == OBJECTS | REVIEWS)
    until(applied, timeout_s=60)
    clean.kubectl("delete", "-f", "-", stdin=child)

    role = json.loads(clean.kubectl("get", "clusterrole", "pantograph", "-o", "json"))
    role["rules"] = [rule for rule in role["rules"] if rule["resources"] != ["vmtemplates/finalizers"]]
    clean.kubectl("replace", "-f", "-", stdin=json.dumps(role))
    rest = OBJECTS - table("pantograph.dev/vmtemplates/finalizers: update") | REVIEWS
    until(lambda: granted(clean, "default") == rest)
    with pytest.raises(CommandError, match="cannot set blockOwnerDeletion"):
        clean.kubectl(*apply, stdin=child, kubeconfig=operator)


def test_an_upgrade_keeps_objects_and_updates_definitions(clean: ControlPlane, tmp_path: Path) -> None:
    older = tmp_path / "pantograph"
    shutil.copytree(CHART, older)
    for path in (older / "templates/crds").iterdir():
        path.write_text(re.sub(r"^( *)- pantograph$", r"\1- outdated", path.read_text(), flags=re.M))
    (older / "Chart.yaml").write_text(
        (CHART / "Chart.yaml").read_text().replace("\nversion: 0.1.0", "\nversion: 0.0.9")
    )
    install(clean, chart=older)
    clean.kubectl("apply", "-f", "-", stdin=template())
    before = uid_of(clean, "vmtemplate", "debian")
    categories = ("get", "crd", *CRDS, "-o", "jsonpath={.items[*].spec.names.categories[*]}")
    assert clean.kubectl(*categories).split() == ["outdated"] * len(CRDS)

    install(clean)

    assert clean.kubectl(*categories).split() == ["pantograph"] * len(CRDS)
    assert uid_of(clean, "vmtemplate", "debian") == before


def test_definitions_and_objects_outlive_the_release_and_are_taken_over_by_the_next(clean: ControlPlane) -> None:
    install(clean)
    clean.kubectl("apply", "-f", "-", stdin=template())
    before = uid_of(clean, "vmtemplate", "debian")
    clean.helm("uninstall", "pantograph", "--namespace", SYSTEM)
    assert uid_of(clean, "vmtemplate", "debian") == before
    install(clean)
    assert uid_of(clean, "vmtemplate", "debian") == before


def test_definitions_go_with_the_release_if_that_was_asked_for(clean: ControlPlane) -> None:
    install(clean, "--set", "crds.keep=false")
    clean.helm("uninstall", "pantograph", "--namespace", SYSTEM)
    clean.kubectl("wait", "--for=delete", *(f"crd/{name}" for name in CRDS), "--timeout=180s")


def documented_commands(*, after: str, before: str) -> list[str]:
    """The shell commands of a part of docs/uninstall.md."""
    text = (CHECKOUT / "docs/uninstall.md").read_text().split(after, 1)[1].split(before, 1)[0]
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.M | re.S)
    return [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def run(plane: ControlPlane, command: str) -> None:
    done = subprocess.run(
        ["sh", "-c", command], env=plane.environment(), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"


def test_uninstalling_as_documented_leaves_nothing(clean: ControlPlane) -> None:
    install(clean)
    clean.kubectl("apply", "-f", "-", stdin=template())
    clean.kubectl("create", "secret", "generic", "pantograph-installation", "-n", SYSTEM)
    commands = documented_commands(after="# Uninstall", before="## When the operator went first")
    assert len(commands) == 8
    for command in commands:
        run(clean, command)
    assert present_crds(clean) == set()
    every = ("all,secret,configmap,role,rolebinding,lease,pvc,serviceaccount", "-n", SYSTEM, "-o", "name")
    left = clean.kubectl("get", *every).split()
    assert set(left) == {"configmap/kube-root-ca.crt", "serviceaccount/default"}
    assert not clean.kubectl("get", "clusterrole,clusterrolebinding", "-l", "app.kubernetes.io/part-of=pantograph")


def test_an_object_that_waits_for_an_operator_that_is_gone_can_be_let_go_as_documented(clean: ControlPlane) -> None:
    install(clean)
    clean.kubectl("apply", "-f", "-", stdin=template(finalizers=["pantograph.dev/finalizer"]))
    clean.kubectl("delete", "vmtemplate", "debian", "--wait=false")
    *_, last = documented_commands(after="Without any operator", before="## A release of another name")
    run(clean, last)
    clean.kubectl("wait", "--for=delete", "vmtemplate/debian", "--timeout=30s")


@pytest.mark.parametrize("case", CASES)
def test_the_api_server_takes_every_manifest(case: str, plane: ControlPlane) -> None:
    values = yaml.safe_dump(CASES[case] | {"metrics": {"service": {"enabled": True}}})
    text = plane.helm("template", "pantograph", str(CHART), "--namespace", SYSTEM, "--values", "-", stdin=values)
    plane.kubectl("apply", "--dry-run=server", "-f", "-", stdin=text)
