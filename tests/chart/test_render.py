"""What the chart makes of its values."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from pantograph.controllers.runs.roots import parse_roots
from pantograph.controllers.runs.service import names_of
from pantograph.engine.metrics import Metrics
from tests.chart.cases import CASES
from tests.chart.conftest import CHART, Body, Helm, Id, Refused, Render

CHECKOUT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
CRD = "CustomResourceDefinition"


def objects_of(rendered: dict[Id, Body], *kinds: str) -> list[Body]:
    return [body for identity, body in rendered.items() if identity.kind in kinds]


def pod_of(rendered: dict[Id, Body]) -> Body:
    (deployment,) = objects_of(rendered, "Deployment")
    pod: Body = deployment["spec"]["template"]["spec"]
    return pod


def env_of(rendered: dict[Id, Body]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value") for entry in pod_of(rendered)["containers"][0]["env"]}


def test_helm_finds_nothing_to_complain_about(helm: Helm) -> None:
    assert "0 chart(s) failed" in helm.run("lint", "--strict", str(CHART))


@pytest.mark.parametrize("case", CASES)
def test_the_manifests_are_the_ones_that_were_reviewed(case: str, render: Render, pytestconfig: pytest.Config) -> None:
    shown = [
        {**body, "spec": "generated from the models"} if body["kind"] == CRD else body
        for body in render(CASES[case]).values()
    ]
    text = yaml.safe_dump_all(shown, sort_keys=False, width=120)
    golden = GOLDEN / f"{case}.yaml"
    if pytestconfig.getoption("update_goldens"):
        golden.write_text(text)
    assert golden.read_text() == text, f"{golden.name} differs: run pytest tests/chart --update-goldens, read the diff"


def test_every_golden_has_its_case() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


def test_the_definitions_are_those_of_the_models(render: Render) -> None:
    plain = {yaml.safe_load(path.read_text())["metadata"]["name"]: path for path in (CHECKOUT / "crds").glob("*.yaml")}
    charted = {body["metadata"]["name"]: body for body in objects_of(render({}), CRD)}
    assert charted.keys() == plain.keys()
    for name, path in plain.items():
        assert charted[name]["spec"] == yaml.safe_load(path.read_text())["spec"]


def test_the_definitions_are_kept_unless_one_says_otherwise(render: Render) -> None:
    def policies(values: Body) -> set[str | None]:
        found = [body["metadata"].get("annotations", {}) for body in objects_of(render(values), CRD)]
        return {annotations.get("helm.sh/resource-policy") for annotations in found}

    assert policies({}) == {"keep"}
    assert policies({"crds": {"keep": False}}) == {None}
    assert policies({"crds": {"enabled": False}}) == set()


def test_with_named_namespaces_the_operator_may_do_nothing_outside_them_but_ask_whose_a_token_is(
    render: Render,
) -> None:
    rendered = render({"watchNamespaces": ["lab", "shop"]})
    (binding,) = objects_of(rendered, "ClusterRoleBinding")
    review = {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}
    assert rendered[Id("ClusterRole", "", binding["roleRef"]["name"])]["rules"] == [review]
    bound = {identity.namespace for identity in rendered if identity.kind == "RoleBinding"}
    assert bound == {"lab", "shop", "pantograph-system"}
    others = [role for role in objects_of(rendered, "ClusterRole") if role["rules"] != [review]]
    assert all("aggregate-to" in str(role["metadata"]["labels"]) for role in others)
    everywhere = next(
        role for role in objects_of(render({}), "ClusterRole") if role["metadata"]["name"] == "pantograph"
    )
    assert rendered[Id("Role", "lab", "pantograph")]["rules"] == everywhere["rules"]


@pytest.mark.parametrize("case", CASES)
def test_no_right_is_a_wildcard_and_no_secret_can_be_listed(case: str, render: Render) -> None:
    rules = [
        rule
        for role in objects_of(render(CASES[case]), "Role", "ClusterRole")
        if "aggregate-to" not in str(role["metadata"]["labels"])
        for rule in role["rules"]
    ]
    assert rules
    for rule in rules:
        assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
        if "secrets" in rule["resources"]:
            assert set(rule["verbs"]) <= {"get", "create"} | ({"patch"} if rule.get("resourceNames") else set())


@pytest.mark.parametrize("case", CASES)
def test_the_pod_is_one_that_the_restricted_standard_admits(case: str, render: Render) -> None:
    pod = pod_of(render(CASES[case]))
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_old_pod_leaves_the_volume_before_the_new_one_starts_unless_they_share_it(render: Render) -> None:
    def strategy(case: str) -> str:
        (deployment,) = objects_of(render(CASES[case]), "Deployment")
        kind: str = deployment["spec"]["strategy"]["type"]
        return kind

    assert strategy("defaults") == strategy("nothing-runs") == "Recreate"
    assert strategy("two-replicas") == "RollingUpdate"


def test_every_setting_of_the_operator_is_documented_and_every_documented_one_is_set(render: Render) -> None:
    values = {
        "watchNamespaces": ["lab"],
        "depot": {"externalURL": "http://192.0.2.1"},
        "fetch": {"clusterRanges": ["10.0.0.0/8"]},
        "roots": [{"name": "media", "existingClaim": "media", "namespaces": []}],
        "runs": {"imagePullSecrets": ["registry"]},
    }
    rendered = env_of(render(values)).keys()
    unset = {f"PANTOGRAPH_{server}_HOST" for server in ("HTTP", "DEPOT", "RUNS")}
    for document, told in (("values.yaml", rendered), ("README.md", rendered | unset)):
        assert set(re.findall(r"PANTOGRAPH_[A-Z_]+", (CHART / document).read_text())) == told, document


def test_values_reach_the_operator(render: Render) -> None:
    env = env_of(render(CASES["everything"]))
    assert env["PANTOGRAPH_CLUSTER_RANGES"] == "10.96.0.0/12,fd00:10:96::/112"
    assert env["PANTOGRAPH_FETCH_ALLOW_LOOPBACK"] == "true"
    assert env["PANTOGRAPH_DEPOT_QUOTA"] == "18Gi"
    assert env["PANTOGRAPH_DEPOT_EXTERNAL_URL"] == "https://images.example.org/depot"
    assert env["SSL_CERT_FILE"] == "/etc/ca/ca.crt"
    assert "PANTOGRAPH_DEPOT_EXTERNAL_URL" not in env_of(render({}))


def test_roots_are_mounted_where_the_operator_is_told_and_open_to_whom_the_values_say(render: Render) -> None:
    rendered = render(CASES["everything"])
    pod, roots = pod_of(rendered), parse_roots(env_of(rendered)["PANTOGRAPH_ROOTS"])
    mounts = {mount["name"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {root.name: str(root.path) for root in roots} == {
        name.removeprefix("root-"): mount["mountPath"] for name, mount in mounts.items() if name.startswith("root-")
    }
    assert [root.is_open_to("films") for root in roots] == [True, False, True]
    assert volumes["root-library"]["persistentVolumeClaim"] == {"claimName": "library"}
    assert volumes["root-archive"]["hostPath"]["path"] == "/srv/archive"
    assert volumes["root-nas"]["nfs"]["server"] == "nas.example.org"
    assert [name for name, mount in mounts.items() if mount.get("readOnly")] == ["root-nas"]


def test_what_runs_on_roots_are_given_never_touches_a_disk(render: Render) -> None:
    rendered = render({})
    (volume,) = (each for each in pod_of(rendered)["volumes"] if each["name"] == "runs")
    assert volume["emptyDir"]["medium"] == "Memory"
    (mount,) = (each for each in pod_of(rendered)["containers"][0]["volumeMounts"] if each["name"] == "runs")
    assert mount["mountPath"] == env_of(rendered)["PANTOGRAPH_RUNS_DIR"]


def test_runs_reach_the_service_under_a_name_that_the_certificate_has(render: Render) -> None:
    rendered = render({"runs": {"service": {"port": 9443}}})
    service = rendered[Id("Service", "pantograph-system", "pantograph-runs")]
    url = env_of(rendered)["PANTOGRAPH_RUNS_URL"]
    assert url == "https://pantograph-runs.pantograph-system.svc:9443"
    assert service["spec"]["ports"] == [{"name": "runs", "port": 9443, "targetPort": "runs"}]
    assert "pantograph-runs.pantograph-system.svc" in names_of(url)


def test_the_image_is_the_tag_of_the_application_unless_pinned(render: Render) -> None:
    def image(values: Body) -> str:
        name: str = pod_of(render({"image": values}))["containers"][0]["image"]
        return name

    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert image({}) == f"pantograph:{version}"
    assert image({"tag": "edge"}) == "pantograph:edge"
    assert image({"tag": "edge", "digest": "sha256:" + "0" * 64}) == "pantograph@sha256:" + "0" * 64


def test_an_older_kubernetes_is_refused(helm: Helm) -> None:
    helm.render({}, "--kube-version", "1.30.0")
    with pytest.raises(Refused, match=r"kubeVersion: >=1\.30"):
        helm.render({}, "--kube-version", "1.29.9")


def test_the_notes_say_what_is_missing_and_what_to_apply_next(helm: Helm) -> None:
    def notes(*flags: str) -> str:
        command = ("install", "pantograph", str(CHART), "--namespace", "pantograph-system", "--dry-run=client")
        return helm.run(*command, *flags).split("NOTES:")[1]

    plain = notes()
    assert "depot.externalURL is not set" in plain
    assert "kind: ProxmoxCluster" in plain
    assert "kind: VMTemplate" in plain
    assert "docs/install.md, step 6" in plain
    assert plain.index("kubectl delete vmtemplates") < plain.index("helm uninstall pantograph")
    assert "no operator runs" not in plain
    assert "no operator runs" in notes("--set", "replicas=0")
    assert "depot.externalURL is not set" not in notes("--set", "depot.externalURL=http://192.0.2.1:8081")
    assert "fetch.clusterRanges is not set" in plain
    assert "kubectl get servicecidrs" in plain
    assert "fetch.clusterRanges is not set" not in notes("--set", "fetch.clusterRanges={10.96.0.0/12}")


def test_alerts_speak_of_metrics_that_exist(render: Render) -> None:
    (rule,) = objects_of(render({"metrics": {"prometheusRule": {"enabled": True}}}), "PrometheusRule")
    alerts = rule["spec"]["groups"][0]["rules"]
    metrics = Metrics(CollectorRegistry())
    known = {name for family in metrics.registry.collect() for name in (family.name, f"{family.name}_total")}
    for alert in alerts:
        named = set(re.findall(r"\bpantograph_\w+", alert["expr"]))
        assert named
        assert named <= known, alert["alert"]
        assert alert["annotations"]["runbook_url"] == f"docs/runbook.md#{alert['alert'].lower()}"


def test_every_alert_has_its_entry_in_the_runbook(render: Render) -> None:
    (rule,) = objects_of(render({"metrics": {"prometheusRule": {"enabled": True}}}), "PrometheusRule")
    entries = re.findall(r"^## (\w+)$", (CHECKOUT / "docs/runbook.md").read_text(), re.M)
    assert entries == [alert["alert"] for alert in rule["spec"]["groups"][0]["rules"]]
