"""No secret value leaves its Secret: not by what is written, said, logged, measured or passed on."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote

import requests

from hack.stage import SYSTEM, Body, Stage, until
from tests.cluster.playing import IMAGE, QUICK, template

PASSWORD = "correct-horse-battery-staple"
HEADER = "Bearer a1b2c3d4-header-of-the-origin"
WRONG = "deadbeef-0000-4000-8000-wrong-token-secret"


def secret(name: str, **values: str) -> Body:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}


def spellings(value: bytes) -> list[bytes]:
    """How a value looks in JSON, YAML, a URL, or a Secret's data."""
    text = value.decode(errors="ignore")
    return [value, base64.b64encode(value), quote(text).encode(), json.dumps(text)[1:-1].encode()]


def test_no_secret_value_is_found_anywhere_else(stage: Stage) -> None:
    simulator, origin = stage.start_simulator(*QUICK), stage.start_origin()
    operator = stage.start_operator(PANTOGRAPH_LOG_LEVEL="debug")
    url = origin.put("debian.qcow2", IMAGE)

    connection, cluster = stage.connection(simulator)
    refused = secret("pve-token", tokenId=simulator.token_id, tokenSecret=WRONG)
    body = template(url)
    body["spec"]["source"]["http"]["headersFrom"] = {"name": "origin-headers"}
    body["spec"]["cloudInit"]["passwordFrom"] = {"name": "golden", "key": "password"}
    headers = secret("origin-headers", Authorization=HEADER)
    stage.apply(refused, cluster, headers, secret("golden", password=PASSWORD), body)
    until(lambda: stage.condition("proxmoxcluster/pve").get("reason") == "CredentialsRefused", "the token refused")
    missing = template(f"{url}.missing", name="missing")
    missing["spec"]["source"]["http"]["headersFrom"] = {"name": "origin-headers"}
    stage.apply(missing)
    until(lambda: stage.condition("vmtemplate/missing").get("reason") == "SourceRefused", "the source refused")
    stage.apply(connection)
    # A changed Secret is read within a minute; a changed spec reads it at once.
    stage.kubectl("patch", "proxmoxcluster/pve", "--type=merge", "-p", '{"spec":{"limits":{"requestsPerSecond":50}}}')
    stage.await_ready("vmtemplate/debian")
    machine = simulator.truth("machines_marked")[0]
    assert machine["config"]["cipassword"], "the password has arrived where it belongs"
    stage.kubectl("patch", "vmtemplate/debian", "--type=merge", "-p", '{"spec":{"hardware":{"cores":4}}}')
    until(lambda: simulator.truth("machines_marked")[0]["config"]["cores"] == "4", "applied in place")
    stage.await_ready("vmtemplate/debian")

    installation = json.loads(
        stage.plane.kubectl("get", "secret", "pantograph-installation", "-n", SYSTEM, "-o", "json")
    )
    process = Path(f"/proc/{operator.process.pid}")
    places = {
        "objects": stage.kubectl(
            "get", "vmt,trep,pmx,configmaps,events", "-o", "json", "--show-managed-fields"
        ).encode(),
        "the operator's namespace": stage.plane.kubectl(
            "get", "configmaps,events,leases", "-n", SYSTEM, "-o", "json"
        ).encode(),
        "log": operator.log.read_bytes(),
        "metrics": operator.metrics().encode(),
        "probe": requests.get(f"http://127.0.0.1:{operator.http_port}/healthz", timeout=10).content,
        "argv": (process / "cmdline").read_bytes(),
        "environment": (process / "environ").read_bytes(),
        "task logs": json.dumps(simulator.truth("task_logs")).encode(),
        "audit log": stage.plane.audit_log.read_bytes(),
    }
    values = {
        "token": simulator.token_secret.encode(),
        "refused token": WRONG.encode(),
        "password": PASSWORD.encode(),
        "header": HEADER.encode(),
        "installation key": base64.b64decode(installation["data"]["key"]),
    }
    assert b'"level": "DEBUG"' in places["log"], "it was asked to say everything"
    assert all(places.values()), "every place was looked at"
    found = [
        f"{what} in {where}"
        for what, value in values.items()
        for where, text in places.items()
        if any(spelling and spelling in text for spelling in spellings(value))
    ]
    assert found == []
