"""A connection is its namespace's own, unless it says who else may use it."""

from __future__ import annotations

import pytest

from pantograph.api.meta import Body
from tests.simulation.lab import NAMESPACE, RESOURCES, Lab

OTHER = "team-a"


def theirs(lab: Lab, kind: str) -> list[Body]:
    """The objects of the other namespace."""
    found = lab.kubectl.store.all(RESOURCES[kind])
    return [body for (namespace, _), body in found.items() if namespace == OTHER]


def ready(body: Body) -> Body:
    conditions = body.get("status", {}).get("conditions", [])
    return next((condition for condition in conditions if condition["type"] == "Ready"), {})


async def apply_elsewhere(lab: Lab) -> None:
    template = lab.template("debian")
    template["spec"]["placements"][0]["proxmox"]["clusterRef"] = {"name": "prod", "namespace": NAMESPACE}
    await lab.apply(template, namespace=OTHER)


async def test_a_template_of_another_namespace_is_refused_with_the_remedy_and_the_remedy_completes_it() -> None:
    async with Lab() as lab:
        await apply_elsewhere(lab)
        await lab.until(lambda: ready(theirs(lab, "vmtemplate")[0]).get("status") == "False")
        await lab.until(lambda: "may not be used from namespace team-a" in str(theirs(lab, "vmtemplate")))
        message = ready(theirs(lab, "vmtemplate")[0])["message"]
        assert f"ProxmoxCluster {NAMESPACE}/prod may not be used from namespace {OTHER}" in message
        assert f"add {OTHER} to its spec.allowedNamespaces" in message
        await lab.quiet(for_s=1800)
        assert lab.truth.mutations == []

        await lab.apply(lab.cluster(allowedNamespaces=[OTHER]))
        await lab.until(lambda: ready(theirs(lab, "vmtemplate")[0]).get("status") == "True")
        assert len(lab.truth.machines_marked()) == 3
        assert all(f"namespace={OTHER}" in machine.config["description"] for machine in lab.truth.machines())


@pytest.mark.parametrize("allowed", [[OTHER], ["*"]], ids=["named", "all"])
async def test_a_template_of_an_allowed_namespace_is_made_and_deleted(allowed: list[str]) -> None:
    async with Lab() as lab:
        await lab.apply(lab.cluster(allowedNamespaces=allowed))
        await apply_elsewhere(lab)
        await lab.until(lambda: ready(theirs(lab, "vmtemplate")[0]).get("status") == "True")
        await lab.kubectl.delete(RESOURCES["vmtemplate"], OTHER, "debian")
        await lab.until(lambda: theirs(lab, "vmtemplate") == [] == theirs(lab, "templatereplica"))
        assert lab.truth.machines() == []


async def test_a_permission_taken_back_stops_changes_and_still_lets_what_was_made_be_deleted() -> None:
    async with Lab() as lab:
        await lab.apply(lab.cluster(allowedNamespaces=[OTHER]))
        await apply_elsewhere(lab)
        await lab.until(lambda: ready(theirs(lab, "vmtemplate")[0]).get("status") == "True")
        await lab.apply(lab.cluster())
        await lab.quiet(for_s=1800)
        assert len(lab.truth.machines_marked()) == 3

        await lab.kubectl.delete(RESOURCES["vmtemplate"], OTHER, "debian")
        await lab.until(lambda: theirs(lab, "vmtemplate") == [] == theirs(lab, "templatereplica"))
        assert lab.truth.machines() == []


async def test_a_cluster_is_held_by_replicas_of_another_namespace_and_names_them() -> None:
    async with Lab() as lab:
        await lab.apply(lab.cluster(allowedNamespaces=["*"]))
        await apply_elsewhere(lab)
        await lab.until(lambda: ready(theirs(lab, "vmtemplate")[0]).get("status") == "True")
        await lab.delete("proxmoxcluster/prod")
        await lab.until(lambda: lab.condition("proxmoxcluster/prod").get("reason") == "InUse")
        assert f"{OTHER}/debian-pve1-" in lab.condition("proxmoxcluster/prod")["message"]

        lab.kubectl.terminate_namespace(OTHER)
        await lab.until(lambda: lab.get("proxmoxcluster/prod") is None)
        assert lab.truth.machines() == []


async def test_equal_names_in_two_namespaces_are_two_templates() -> None:
    async with Lab() as lab:
        await lab.apply(lab.cluster(allowedNamespaces=["*"]))
        await lab.apply(lab.template("debian"))
        await apply_elsewhere(lab)
        await lab.until(
            lambda: lab.is_ready("vmtemplate/debian") and ready(theirs(lab, "vmtemplate")[0]).get("status") == "True"
        )
        assert len(lab.truth.machines_marked()) == 6
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert len(lab.truth.machines_marked()) == 3
        assert ready(theirs(lab, "vmtemplate")[0])["status"] == "True"
