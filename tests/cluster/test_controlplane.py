"""The test control plane does what the other tests of this tier take for granted."""

import json
from pathlib import Path

import psutil
import pytest
import requests

from hack.controlplane.build import MODULES
from hack.controlplane.controlplane import CommandError, ControlPlane

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap"}


def config_map(name: str, **metadata: object) -> str:
    return json.dumps({**CONFIG_MAP, "metadata": {"name": name, **metadata}})


def owner(name: str, uid: str, **more: object) -> dict[str, object]:
    return {**CONFIG_MAP, "name": name, "uid": uid, **more}


def test_server_and_kubectl_are_of_the_pinned_version(control_plane: ControlPlane) -> None:
    pinned = {module.name: module.version for module in MODULES}
    versions = json.loads(control_plane.kubectl("version", "-o", "json"))
    assert versions["serverVersion"]["gitVersion"] == pinned["kubernetes"]
    assert versions["clientVersion"]["gitVersion"] == pinned["kubernetes"]


def test_helm_installs_a_chart_that_kubectl_sees(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: probe\nversion: 0.1.0\n")
    (tmp_path / "templates" / "map.yaml").write_text(config_map("from-chart"))
    control_plane.helm("install", "probe", str(tmp_path), "-n", namespace)
    assert "from-chart" in control_plane.kubectl("get", "configmap", "-n", namespace, "-o", "name")


def test_a_failed_command_tells_what_the_server_said(control_plane: ControlPlane, namespace: str) -> None:
    with pytest.raises(CommandError, match=r'configmaps "absent" not found') as caught:
        control_plane.kubectl("get", "configmap", "absent", "-n", namespace)
    assert caught.value.returncode == 1


def test_an_owned_object_is_collected_after_its_owner(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("create", "-n", namespace, "-f", "-", stdin=config_map("owner"))
    uid = control_plane.kubectl("get", "configmap", "owner", "-n", namespace, "-o", "jsonpath={.metadata.uid}")
    owned = config_map("owned", ownerReferences=[owner("owner", uid)])
    control_plane.kubectl("create", "-n", namespace, "-f", "-", stdin=owned)
    control_plane.kubectl("delete", "configmap", "owner", "-n", namespace)
    control_plane.kubectl("wait", "--for=delete", "configmap/owned", "-n", namespace, "--timeout=180s")


def test_a_token_is_the_service_account_and_nothing_more(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("create", "serviceaccount", "worker", "-n", namespace)
    kubeconfig = control_plane.kubeconfig_for(namespace, "worker")
    who = control_plane.kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}", kubeconfig=kubeconfig)
    assert who == f"system:serviceaccount:{namespace}:worker"
    with pytest.raises(CommandError, match="cannot list resource"):
        control_plane.kubectl("get", "configmaps", kubeconfig=kubeconfig)


def test_blocking_an_owners_deletion_needs_the_right_to_its_finalizers(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.kubectl("create", "serviceaccount", "worker", "-n", namespace)
    control_plane.kubectl("create", "role", "maps", "--verb=create,get", "--resource=configmaps", "-n", namespace)
    account = f"--serviceaccount={namespace}:worker"
    control_plane.kubectl("create", "rolebinding", "maps", "--role=maps", account, "-n", namespace)
    worker = control_plane.kubeconfig_for(namespace, "worker")
    control_plane.kubectl("create", "-f", "-", stdin=config_map("owner"), kubeconfig=worker)
    uid = control_plane.kubectl("get", "configmap", "owner", "-o", "jsonpath={.metadata.uid}", kubeconfig=worker)
    owned = config_map("owned", ownerReferences=[owner("owner", uid, controller=True, blockOwnerDeletion=True)])
    with pytest.raises(CommandError, match="cannot set blockOwnerDeletion"):
        control_plane.kubectl("create", "-f", "-", stdin=owned, kubeconfig=worker)
    finalizers = ("--verb=update", "--resource=configmaps/finalizers")
    control_plane.kubectl("create", "role", "finalizers", *finalizers, "-n", namespace)
    control_plane.kubectl("create", "rolebinding", "finalizers", "--role=finalizers", account, "-n", namespace)
    control_plane.kubectl("create", "-f", "-", stdin=owned, kubeconfig=worker)


def test_the_audit_log_names_user_verb_and_object(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("create", "-n", namespace, "-f", "-", stdin=config_map("audited"))
    events = [json.loads(line) for line in control_plane.audit_log.read_text().splitlines()]
    ours = [
        event
        for event in events
        if event.get("objectRef", {}).get("name") == "audited" and event["objectRef"]["namespace"] == namespace
    ]
    assert [(event["user"]["username"], event["verb"], event["level"]) for event in ours] == [
        ("admin", "create", "Metadata")
    ]


def test_data_outlives_a_crash_of_the_api_server(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("create", "-n", namespace, "-f", "-", stdin=config_map("kept"))
    before = control_plane.pids["kube-apiserver"]
    control_plane.stop_apiserver()
    with pytest.raises(CommandError, match="refused"):
        control_plane.kubectl("get", "configmap", "kept", "-n", namespace)
    control_plane.start_apiserver()
    assert control_plane.pids["kube-apiserver"] != before
    assert "kept" in control_plane.kubectl("get", "configmap", "kept", "-n", namespace)


def test_after_compaction_and_a_restart_an_old_version_is_gone(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("create", "-n", namespace, "-f", "-", stdin=config_map("first"))
    version = control_plane.kubectl("get", "cm", "first", "-n", namespace, "-o", "jsonpath={.metadata.resourceVersion}")
    control_plane.kubectl("create", "-n", namespace, "-f", "-", stdin=config_map("second"))
    watch = f"/api/v1/namespaces/{namespace}/configmaps?watch=1&timeoutSeconds=1&resourceVersion={version}"
    assert '"name":"second"' in control_plane.kubectl("get", "--raw", watch)
    assert control_plane.compact_etcd() > int(version)
    control_plane.stop_apiserver()
    control_plane.start_apiserver()
    assert '"reason":"Expired","code":410' in control_plane.kubectl("get", "--raw", watch)


def test_stop_leaves_no_process_no_data_and_no_open_port() -> None:
    plane = ControlPlane()
    plane.start()
    pids, url = plane.pids, plane.url
    assert set(pids) == {"etcd", "kube-apiserver", "kube-controller-manager"}
    assert all(psutil.pid_exists(pid) for pid in pids.values())
    plane.stop()
    assert not [name for name, pid in pids.items() if psutil.pid_exists(pid)]
    assert not plane.data.exists()
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)
