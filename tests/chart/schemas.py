"""JSON schemas for kubeconform without the network: built-in kinds as the API server describes them, ours from `crds/`.

Both become strict: a field that the schema does not name is a fault, as `kubectl apply` treats it.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from hack.controlplane.controlplane import ControlPlane

Schema = dict[str, Any]

FILE_NAMES = "{{.ResourceKind}}-{{.Group}}-{{.ResourceAPIVersion}}.json"
"""How kubeconform finds them (its template: the kind in lower case)."""


def write_schemas(control_plane: ControlPlane, crds: Path, *, api_versions: Iterable[str], folder: Path) -> None:
    """Write a schema for every kind of `api_versions`, and for every CRD below `crds`, into `folder`."""
    for api_version in api_versions:
        prefix = "apis" if "/" in api_version else "api"
        document = json.loads(control_plane.kubectl("get", "--raw", f"/openapi/v3/{prefix}/{api_version}"))
        for name, schema in _built_in(document):
            (folder / name).write_text(json.dumps(schema))
    for path in crds.glob("*.yaml"):
        for name, schema in _custom(yaml.safe_load(path.read_text())):
            (folder / name).write_text(json.dumps(schema))


def _built_in(document: Schema) -> Iterator[tuple[str, Schema]]:
    components = strict(document["components"])
    for name, schema in components["schemas"].items():
        kinds = schema.get("x-kubernetes-group-version-kind", [])
        if len(kinds) == 1:  # those of many groups are parameters of calls, such as DeleteOptions
            yield _file_name(**kinds[0]), {"$ref": f"#/components/schemas/{name}", "components": components}


def _custom(crd: Schema) -> Iterator[tuple[str, Schema]]:
    for version in crd["spec"]["versions"]:
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"] |= {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
        }
        yield _file_name(group=crd["spec"]["group"], version=version["name"], kind=crd["spec"]["names"]["kind"]), schema


def _file_name(*, group: str, version: str, kind: str) -> str:
    # kubeconform takes what stands before the slash of apiVersion, so for the core group its version.
    return f"{kind.lower()}-{group or version}-{version}.json"


def strict(node: Any) -> Any:
    """A copy in which every object with known properties has no others."""
    if isinstance(node, list):
        return [strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    copy = {key: strict(value) for key, value in node.items()}
    if isinstance(copy.get("properties"), dict) and not copy.get("x-kubernetes-preserve-unknown-fields"):
        copy.setdefault("additionalProperties", False)
    return copy
