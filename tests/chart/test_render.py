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
from tests.chart.conftest import CHART, Body, Helm, Id, Refused, Render, identify

CHECKOUT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
CRD = "CustomResourceDefinition"


class Strict(yaml.SafeLoader):
    """YAML as the API server takes it: no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"twice: {keys}"
        return super().construct_mapping(node, deep)


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
    assert {root.name for root in roots if root.is_open_to("films")} == {"library", "originals", "nas"}
    assert volumes["root-library"]["persistentVolumeClaim"] == {"claimName": "library"}
    assert volumes["root-archive"]["hostPath"]["path"] == "/srv/archive"
    assert volumes["root-nas"]["nfs"]["server"] == "nas.example.org"
    assert [name for name, mount in mounts.items() if mount.get("readOnly")] == ["root-originals", "root-nas"]


def test_the_files_of_a_claim_that_is_only_read_never_get_the_group_of_the_pod(render: Render) -> None:
    """The kubelet applies fsGroup to whatever it mounts writable, whatever the container's own mount says."""
    claims = [("strm", "strm", False), ("media", "media", True), ("strm-for-others", "strm", True)]
    roots = [
        {"name": name, "existingClaim": claim, "readOnly": read_only, "namespaces": []}
        for name, claim, read_only in claims
    ]
    pod = pod_of(render({"roots": roots}))
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["root-strm"]["persistentVolumeClaim"] == {"claimName": "strm"}
    assert volumes["root-media"]["persistentVolumeClaim"] == {"claimName": "media", "readOnly": True}
    assert volumes["root-strm-for-others"]["persistentVolumeClaim"] == {"claimName": "strm"}, "it is mounted once"
    mounts = pod["containers"][0]["volumeMounts"]
    assert [mount["name"] for mount in mounts if mount.get("readOnly")] == ["root-media", "root-strm-for-others"]


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


def test_the_pod_resolves_the_names_that_the_values_give_it(render: Render) -> None:
    pod = pod_of(render(CASES["everything"]))
    assert pod["hostAliases"] == [{"ip": "192.0.2.20", "hostnames": ["pve1.example.org"]}]
    assert pod["dnsConfig"] == {"options": [{"name": "ndots", "value": "1"}]}
    assert pod_of(render({})).keys().isdisjoint({"hostAliases", "dnsConfig"})


def test_of_a_label_given_twice_the_one_that_selects_wins_then_that_of_the_pod_then_the_common_one(
    helm: Helm,
) -> None:
    name, part, component = (f"app.kubernetes.io/{key}" for key in ("name", "part-of", "component"))
    labels = {name: "other", part: "shop", component: "web", "example.org/empty": "", "example.org/kind": "common"}
    monitoring = {"enabled": True, "labels": {part: "monitoring", name: "third"}}
    values = {
        "commonLabels": labels,
        "podLabels": labels | {part: "cart", "example.org/kind": "pod"},
        "metrics": dict.fromkeys(("serviceMonitor", "podMonitor", "prometheusRule"), monitoring),
    }
    rendered = {identify(body): body for body in yaml.load_all(helm.text(values), Strict) if body is not None}
    (deployment,) = objects_of(rendered, "Deployment")
    pod = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= pod.items()
    assert (pod[name], pod[part], pod["example.org/kind"]) == ("pantograph", "cart", "pod")
    own = deployment["metadata"]["labels"]
    assert own == own | labels | {name: "pantograph"}
    for monitor in objects_of(rendered, "ServiceMonitor", "PodMonitor", "PrometheusRule"):
        assert monitor["metadata"]["labels"][part] == "monitoring"
    (monitor,) = objects_of(rendered, "ServiceMonitor")
    service = rendered[Id("Service", "pantograph-system", "pantograph-metrics")]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()


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


def notes_of(helm: Helm, *flags: str, stdin: str | None = None) -> str:
    command = ("install", "pantograph", str(CHART), "--namespace", "pantograph-system", "--dry-run=client")
    return helm.run(*command, *flags, stdin=stdin).split("NOTES:")[1]


def test_the_notes_say_what_is_missing_and_what_to_apply_next(helm: Helm) -> None:
    def notes(*flags: str) -> str:
        return notes_of(helm, *flags)

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


def test_the_notes_name_roots_by_what_may_be_done_with_them(helm: Helm) -> None:
    notes = notes_of(helm, "--values", "-", stdin=yaml.safe_dump({"roots": CASES["everything"]["roots"]}))
    assert "StrmSyncJobs of films, shows may use /roots/library as target.root.name=library" in notes
    assert "DataServers of every namespace may read /srv/nas as local.root.name=nas" in notes
    assert "target.root.name=nas" not in notes


def test_the_notes_tell_commands_for_the_namespaces_that_are_served(helm: Helm) -> None:
    notes = notes_of(helm, "--set", "watchNamespaces={lab,shop}")
    commands = re.findall(r"^  (kubectl (?!delete crd|--namespace|get servicecidrs|cluster-info).*)$", notes, re.M)
    assert commands
    assert {command for command in commands if "--namespace lab" not in command} == {
        f"kubectl delete {kinds} --all --namespace shop"
        for kinds in ("vmtemplates,templatereplicas", "proxmoxclusters", "strmsyncjobs", "dataservers")
    }
    assert "--all-namespaces" not in notes


def alerts_of(rendered: dict[Id, Body]) -> dict[str, Body]:
    (rule,) = objects_of(rendered, "PrometheusRule")
    return {alert["alert"]: alert for alert in rule["spec"]["groups"][0]["rules"]}


def test_the_leader_that_an_alert_misses_is_that_of_this_release_and_none_is_missed_where_none_is_to_run(
    render: Render,
) -> None:
    rules = {"prometheusRule": {"enabled": True}}
    expression = alerts_of(render({"metrics": rules}))["PantographNoLeader"]["expr"]
    assert set(re.findall(r"pantograph_leader(\S*?)[) ]", expression + " ")) == {'{namespace="pantograph-system"}'}
    assert "PantographNoLeader" not in alerts_of(render({"metrics": rules, "replicas": 0}))


def test_the_first_unforeseen_error_is_seen_though_its_counter_is_born_with_it(render: Render) -> None:
    alert = alerts_of(render({"metrics": {"prometheusRule": {"enabled": True}}}))["PantographUnforeseenError"]
    assert "pantograph_unforeseen_errors_total unless pantograph_unforeseen_errors_total offset 15m" in alert["expr"]


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
