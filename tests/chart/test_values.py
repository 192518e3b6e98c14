"""Wrong values are refused before anything is installed, by a message that names the field."""

import json
from typing import Any

import pytest
import yaml

from tests.chart.conftest import CHART, Body, Helm, Refused


@pytest.mark.parametrize(
    ("values", "named"),
    [
        pytest.param({"replica": 1}, "replica", id="an unknown value"),
        pytest.param({"depot": {"externalUrl": "http://a"}}, "externalUrl", id="an unknown value inside"),
        pytest.param({"replicas": -1}, "/replicas", id="fewer than none"),
        pytest.param({"replicas": "two"}, "/replicas", id="a word for a number"),
        pytest.param({"image": {"digest": "latest"}}, "/image/digest", id="a tag for a digest"),
        pytest.param({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy", id="an unknown policy"),
        pytest.param({"depot": {"externalURL": "192.0.2.1:8081"}}, "/depot/externalURL", id="an address for a URL"),
        pytest.param({"depot": {"quota": "much"}}, "/depot/quota", id="a quota without a number"),
        pytest.param({"depot": {"service": {"type": "ExternalName"}}}, "/depot/service/type", id="an unusable Service"),
        pytest.param({"watchNamespaces": "lab"}, "/watchNamespaces", id="a word for a list"),
        pytest.param({"watchNamespaces": ["Lab"]}, "/watchNamespaces/0", id="an impossible namespace"),
        pytest.param({"leaderElection": {"leaseDuration": 15}}, "/leaderElection/leaseDuration", id="no unit of time"),
        pytest.param(
            {"leaderElection": {"leaseDuration": "10s", "renewDeadline": "10s"}},
            "leaderElection.renewDeadline (10s) must be less than leaderElection.leaseDuration (10s)",
            id="a leader that outlives its Lease",
        ),
        pytest.param(
            {"leaderElection": {"leaseDuration": "1m1s", "renewDeadline": "61500ms"}},
            "leaderElection.renewDeadline (61500ms) must be less than",
            id="a leader that outlives its Lease, in other units",
        ),
        pytest.param({"hostAliases": {"ip": "192.0.2.1"}}, "/hostAliases", id="an alias for a list of them"),
        pytest.param({"fetch": {"clusterRanges": ["10.0.0.1"]}}, "/fetch/clusterRanges/0", id="an address for a range"),
        pytest.param({"fetch": {"clusterRanges": ["10.0.0.0/33"]}}, "/fetch/clusterRanges/0", id="a prefix too long"),
        pytest.param(
            {"depot": {"quota": "20Gi", "persistence": {"enabled": False, "size": "20Gi"}}},
            "depot.quota (20Gi) must be less than depot.persistence.size (20Gi)",
            id="a quota that a pod is evicted for",
        ),
        pytest.param(
            {"depot": {"persistence": {"enabled": False, "size": "48G"}}},
            "depot.quota (45Gi) must be less than depot.persistence.size (48G)",
            id="a default quota that a pod is evicted for",
        ),
        pytest.param({"logging": {"level": "loud"}}, "/logging/level", id="an unknown level"),
        pytest.param({"extraObjects": {"a": 1}}, "/extraObjects", id="an object for a list"),
        pytest.param({"roots": [{"name": "a", "namespaces": []}]}, "/roots/0", id="a root without a volume"),
        pytest.param(
            {"roots": [{"name": "a", "existingClaim": "a", "hostPath": {"path": "/a"}, "namespaces": []}]},
            "/roots/0",
            id="a root of two volumes",
        ),
        pytest.param({"roots": [{"name": "a", "existingClaim": "a"}]}, "namespaces", id="a root without namespaces"),
        pytest.param(
            {"roots": [{"name": "a", "existingClaim": name, "namespaces": []} for name in ("b", "c")]},
            "two are named a",
            id="two roots of one name",
        ),
        pytest.param({"replicas": 2}, "depot.persistence.accessMode=ReadWriteMany", id="two pods, a volume for one"),
        pytest.param(
            {"replicas": 2, "depot": {"persistence": {"enabled": False}}},
            "depot.persistence.enabled=true",
            id="two pods without a common volume",
        ),
        pytest.param(
            {"depot": {"service": {"type": "ClusterIP", "nodePort": 30081}}},
            "depot.service.nodePort",
            id="a node port without its Service",
        ),
    ],
)
def test_a_wrong_value_is_refused_by_name(values: Body, named: str, helm: Helm) -> None:
    with pytest.raises(Refused) as refused:
        helm.render(values)
    assert named in str(refused.value)


@pytest.mark.parametrize(
    "values",
    [
        {"depot": {"persistence": {"enabled": False}}},
        {"depot": {"quota": "900Mi", "persistence": {"enabled": False, "size": "1.5G"}}},
        {"depot": {"quota": "80Gi", "persistence": {"size": "20Gi"}}},
        {"leaderElection": {"leaseDuration": "1m", "renewDeadline": "59s900ms"}},
        {"fetch": {"clusterRanges": ["10.96.0.0/12", "10.1.2.3/32", "0.0.0.0/0", "fd00:10:96::/112", "::/0"]}},
    ],
    ids=str,
)
def test_what_can_work_is_not_refused(values: Body, helm: Helm) -> None:
    assert helm.render(values)


def test_every_value_is_in_the_schema_and_every_entry_of_the_schema_has_a_default() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def compare(node: dict[str, Any], default: Any, path: str) -> None:
        if "$ref" in node:
            node = schema["definitions"][node["$ref"].rsplit("/", 1)[1]]
        if "properties" not in node or not isinstance(default, dict):
            return
        assert node["additionalProperties"] is False, path
        # `claims` is Kubernetes' own, `global` Helm's: allowed, and without a default.
        assert node["properties"].keys() - {"claims", "global"} == default.keys(), path
        for key, value in default.items():
            compare(node["properties"][key], value, f"{path}.{key}")

    compare(schema, values, "values")
