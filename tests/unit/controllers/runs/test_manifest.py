"""The Job of a run: what its Pod may do, and that nothing secret is written into it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from pantograph.api.dataserver import DataServer
from pantograph.api.meta import Body, Key
from pantograph.api.strmsyncjob import StrmSyncJob
from pantograph.controllers.runs.kubejobs import refuse_apart, refuse_too_large
from pantograph.controllers.runs.manifest import SPEC_ANNOTATION, PodSettings, job_manifest, job_name
from pantograph.controllers.runs.port import RunOrder
from pantograph.engine.errors import Terminal

RUN = "0123456789abcdef"
MEDIA_SERVER = {
    "name": "den",
    "type": "Jellyfin",
    "url": "http://den:8096",
    "secretRef": {"name": "den"},
    "pathMap": [{"from": "/", "to": "/media"}],
}
SETTINGS = PodSettings(
    image="example.org/p:1", pull_policy="Always", pull_secrets=("reg",), report_url="https://r:8443"
)


def order(server: Body | None = None, *, server_namespace: str = "films", **spec: Any) -> RunOrder:
    """On the claim `library`, from an OpenList."""
    remote = {"driver": "OpenList", "endpoint": "http://openlist:5244", "credentialsRef": {"name": "openlist"}}
    job = {
        "serverRef": {"name": "media"},
        "source": {"path": "/"},
        "target": {"persistentVolumeClaim": {"claimName": "library"}},
        "link": {"mode": "Mount", "mountPrefix": "/mnt"},
    }
    meta = {"name": "all.movies", "namespace": "films", "uid": "uid-1", "resourceVersion": "7"}
    return RunOrder(
        id=RUN,
        job=StrmSyncJob.parse({"metadata": meta, "spec": job | spec}),
        server=DataServer.parse(
            {"metadata": {"name": "media", "namespace": server_namespace}, "spec": server or remote}
        ),
        trigger="cron",
        scope=("-odd/path",),
    )


def made(order: RunOrder) -> Body:
    return job_manifest(order, SETTINGS, authority="-----BEGIN", installation="inst")


def pod(order: RunOrder) -> Body:
    spec: Body = made(order)["spec"]["template"]["spec"]
    return spec


def test_the_pod_is_restricted_and_has_no_access_to_the_api() -> None:
    spec = pod(order())
    (container,) = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["restartPolicy"] == "Never"
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    (token,) = (each for each in spec["volumes"] if each["name"] == "token")
    (source,) = token["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == "pantograph"
    assert "env" not in container


def test_the_pod_is_given_both_objects_and_told_every_word_of_the_order() -> None:
    template = made(order())["spec"]["template"]
    server, job = yaml.safe_load_all(template["metadata"]["annotations"][SPEC_ANNOTATION])
    assert (server["kind"], job["kind"], job["metadata"]) == (
        "DataServer",
        "StrmSyncJob",
        {"name": "all.movies", "namespace": "films"},
    )
    assert "status" not in job
    args = template["spec"]["containers"][0]["args"]
    assert args[:2] == ["strm", "run"]
    assert "--path=-odd/path" in args
    assert f"https://r:8443/v1/runs/{RUN}" in args
    assert args[args.index("--trigger") + 1] == "cron"
    assert args[args.index("--installation") + 1] == "inst"


def test_a_source_on_another_claim_is_mounted_for_reading_alone() -> None:
    local = {"driver": "Local", "local": {"persistentVolumeClaim": {"claimName": "media"}}}
    spec = pod(order(local))
    mounts = {each["name"]: each.get("readOnly", False) for each in spec["containers"][0]["volumeMounts"]}
    assert (mounts["claim-0"], mounts["claim-1"]) == (False, True)


def claims_of(spec: Body) -> list[Body]:
    return [each["persistentVolumeClaim"] for each in spec["volumes"] if "persistentVolumeClaim" in each]


def test_the_kubelet_gives_the_target_to_the_runs_group_and_leaves_the_media_as_they_are() -> None:
    """It does so with every volume of a Pod that is not read-only itself, whatever the mount of a container says."""
    apart = pod(order({"driver": "Local", "local": {"persistentVolumeClaim": {"claimName": "media"}}}))
    assert claims_of(apart) == [{"claimName": "library"}, {"claimName": "media", "readOnly": True}]
    same = pod(order({"driver": "Local", "local": {"persistentVolumeClaim": {"claimName": "library"}}}))
    assert claims_of(same) == [{"claimName": "library"}]


def test_the_authority_of_the_server_is_mounted_beside_its_credentials() -> None:
    signed = {
        "driver": "OpenList",
        "endpoint": "https://openlist:5244",
        "credentialsRef": {"name": "openlist"},
        "tls": {"caRef": {"name": "home-ca"}},
    }
    spec = pod(order(signed))
    mounted = {each["secret"]["secretName"]: each["name"] for each in spec["volumes"] if "secret" in each}
    assert {"openlist", "home-ca"} <= set(mounted)
    (container,) = spec["containers"]
    (path,) = (each["mountPath"] for each in container["volumeMounts"] if each["name"] == mounted["home-ca"])
    assert f"home-ca={path}" in container["args"]


def test_what_people_say_of_execution_reaches_the_pod() -> None:
    execution = {
        "runAsUser": 1000,
        "fsGroup": 2000,
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "nas", "operator": "Exists", "effect": "NoSchedule"}],
        "resources": {"limits": {"memory": "1Gi"}},
    }
    spec = pod(order(execution=execution))
    assert [spec["securityContext"][name] for name in ("runAsUser", "runAsGroup", "fsGroup")] == [1000, 1000, 2000]
    assert spec["nodeSelector"] == {"disk": "ssd"}
    assert spec["tolerations"] == execution["tolerations"]
    assert spec["containers"][0]["resources"] == {
        "limits": {"memory": "1Gi"},
        "requests": {"cpu": "50m", "memory": "96Mi"},
    }


@pytest.mark.parametrize(
    ("given", "requests", "limits"),
    [
        ({}, {"cpu": "50m", "memory": "96Mi"}, {"memory": "512Mi"}),
        ({"limits": {}, "requests": {}}, {"cpu": "50m", "memory": "96Mi"}, {"memory": "512Mi"}),
        ({"limits": {"cpu": "1"}}, {"cpu": "50m", "memory": "96Mi"}, {"cpu": "1", "memory": "512Mi"}),
        ({"requests": {"cpu": "1"}}, {"cpu": "1", "memory": "96Mi"}, {"memory": "512Mi"}),
        ({"limits": {"memory": "64Mi"}}, {"cpu": "50m", "memory": "64Mi"}, {"memory": "64Mi"}),
        ({"limits": {"cpu": "0.02"}}, {"cpu": "0.02", "memory": "96Mi"}, {"cpu": "0.02", "memory": "512Mi"}),
        ({"requests": {"memory": "0.75Gi"}}, {"cpu": "50m", "memory": "0.75Gi"}, {"memory": "0.75Gi"}),
        ({"requests": {"memory": "0.25G"}}, {"cpu": "50m", "memory": "0.25G"}, {"memory": "512Mi"}),
        (
            {"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}},
            {"cpu": "50m", "memory": "1Gi"},
            {"memory": "2Gi"},
        ),
    ],
)
def test_what_is_given_of_resources_in_part_stands_and_the_defaults_give_way(
    given: Body, requests: Body, limits: Body
) -> None:
    (container,) = pod(order(execution={"resources": given}))["containers"]
    assert container["resources"] == {"requests": requests, "limits": limits}


def test_the_deadline_is_the_runs_own_and_kubernetes_only_stands_behind_it() -> None:
    body = made(order(schedule={"deadline": "1h"}))
    args = body["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[args.index("--deadline") + 1] == "3600s"
    assert body["spec"]["activeDeadlineSeconds"] > 3600
    assert "activeDeadlineSeconds" not in made(order())["spec"]


@pytest.mark.parametrize("name", ["a", "all.movies", "x" * 253, "a" * 29 + ".b"])
def test_the_name_of_a_job_is_a_label_and_tells_the_run(name: str) -> None:
    named = job_name(Key("StrmSyncJob", "films", name), RUN)
    assert len(named) <= 63
    assert named.endswith(f"-{RUN}")
    assert "." not in named
    assert "--" not in named


def test_a_purge_needs_no_server_and_no_secret() -> None:
    notify = {"mediaServers": [MEDIA_SERVER]}
    purge = replace(order(server_namespace="elsewhere", notify=notify), purge=True)
    refuse_apart(purge)
    assert not [each for each in pod(purge)["volumes"] if each["name"].startswith("secret")]


def test_a_pod_begins_without_the_secret_of_a_media_server_but_not_without_the_servers_own() -> None:
    volumes = {each["name"]: each for each in pod(order(notify={"mediaServers": [MEDIA_SERVER]}))["volumes"]}
    assert volumes["secret-0"]["secret"] == {"secretName": "openlist", "defaultMode": 0o440}
    assert volumes["secret-1"]["secret"] == {"secretName": "den", "defaultMode": 0o440, "optional": True}
    same = {**MEDIA_SERVER, "secretRef": {"name": "openlist"}}
    (only,) = [each for each in pod(order(notify={"mediaServers": [same]}))["volumes"] if "secret" in each]
    assert "optional" not in only["secret"]


def test_specs_that_no_pod_can_be_told_are_refused_before_the_api_server_is_asked() -> None:
    def patterns(length: int) -> dict[str, list[str]]:
        return {"exclude": [f"{number:03}" + "\U0001f600" * length for number in range(64)]}

    refuse_too_large(made(order(filter=patterns(300))))
    link = {"mode": "Mount", "mountPrefix": "/mnt", "pathMap": [{"from": "/" + "x" * 1000, "to": ""}] * 32}
    with pytest.raises(Terminal) as refused:
        refuse_too_large(made(order(filter=patterns(500) | {"include": patterns(500)["exclude"]}, link=link)))
    assert (refused.value.reason, "a Pod can be told 256 KiB" in refused.value.text) == ("SpecTooLarge", True)


def test_what_no_one_pod_can_have_is_refused_with_the_way_out() -> None:
    with pytest.raises(Terminal) as refused:
        refuse_apart(order(server_namespace="elsewhere"))
    assert (refused.value.reason, "make a DataServer" in refused.value.text) == ("ServerElsewhere", True)
    with pytest.raises(Terminal) as refused:
        refuse_apart(order({"driver": "Local", "local": {"root": {"name": "media"}}}))
    assert (refused.value.reason, "use target.root" in refused.value.text) == ("VolumesApart", True)
