"""No secret value leaves its Secret: not into a status, an Event, a ConfigMap, a log, a metric or a task log."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import generate_latest

from pantograph.api.meta import SECRETS
from pantograph.depot.errors import SourceRefused
from tests.fakes.proxmox import PveAnswer
from tests.fakes.proxmox.faults import Call
from tests.simulation.lab import IMAGE_URL, OPERATOR_NAMESPACE, Lab

HEADER = "Bearer-5f1cbb9a-header-value"
PASSWORD = "pw-5f1cbb9a-cloud-init"
CHANGED = "pw-77aa01c2-cloud-init"


def secret(name: str, **values: str) -> dict[str, Any]:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


def outputs(lab: Lab, caplog: pytest.LogCaptureFixture) -> Iterator[tuple[str, str]]:
    """Everything that people, dashboards and other tools can read, by where it stands."""
    for resource, body in lab.kubectl.store.everything():
        if resource != SECRETS:
            yield f"{resource.kind} {body['metadata']['name']}", json.dumps(body)
    formatter = logging.Formatter("%(message)s")
    for record in caplog.records:
        fields = {key: value for key, value in vars(record).items() if key not in ("msg", "args", "exc_info")}
        yield f"log of {record.name}", f"{formatter.format(record)} {fields!r}"
    for metrics in lab.metrics:
        yield "metrics", generate_latest(metrics.registry).decode()
    for task in lab.pve.tasks.all():
        yield f"task {task.upid}", "\n".join([task.upid, *task.log])


def require_silence(lab: Lab, caplog: pytest.LogCaptureFixture, values: dict[str, str]) -> None:
    seen = list(outputs(lab, caplog))
    kinds = {where.split(" ")[0] for where, _ in seen}
    assert {"VMTemplate", "TemplateReplica", "ProxmoxCluster", "Event", "ConfigMap", "log", "metrics", "task"} <= kinds
    for what, value in values.items():
        spellings = {value, base64.b64encode(value.encode()).decode()}
        found = [where for where, text in seen if any(spelling in text for spelling in spellings)]
        assert found == [], f"{what} stands in {found}"


async def test_no_secret_value_is_seen_anywhere_from_the_first_copy_to_the_last_deletion(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with Lab() as lab:
        await lab.until(lambda: lab.is_ready("proxmoxcluster/prod"))
        installation = lab.kubectl.store.get(SECRETS, OPERATOR_NAMESPACE, "pantograph-installation")
        key = base64.b64decode(installation["data"]["key"])
        values = {
            "the token": lab.pve.token_secret,
            "the request header": HEADER,
            "the password": PASSWORD,
            "the changed password": CHANGED,
            "the installation's key": key.hex(),
        }
        await lab.apply(secret("headers", Authorization=HEADER))
        await lab.apply(secret("login", password=PASSWORD))
        template = lab.template("debian", cloudInit={"passwordFrom": {"name": "login", "key": "password"}})
        template["spec"]["source"]["http"]["headersFrom"] = {"name": "headers"}
        await lab.apply(template)
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        assert {machine.config["cipassword"] for machine in lab.truth.machines()} == {PASSWORD}, "it is in use"
        require_silence(lab, caplog, values)

        await lab.apply(secret("login", password=CHANGED))
        await lab.until(lambda: {machine.config["cipassword"] for machine in lab.truth.machines()} == {CHANGED})
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.machines() == []
        await lab.apply(template | {"metadata": {"name": "again"}})
        await lab.until(lambda: lab.is_ready("vmtemplate/again"))
        require_silence(lab, caplog, values)


async def test_no_secret_value_is_seen_when_everything_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = "0badc0de-0000-4000-8000-00000badc0de"
    async with Lab() as lab:
        await lab.apply(secret("headers", Authorization=HEADER))
        await lab.apply(secret("login", password=PASSWORD))
        image = lab.disk.origin[IMAGE_URL]
        lab.disk.origin[IMAGE_URL] = SourceRefused("images.test answered 403 Forbidden", code=403)
        template = lab.template("debian", cloudInit={"passwordFrom": {"name": "login", "key": "password"}})
        template["spec"]["source"]["http"]["headersFrom"] = {"name": "headers"}
        await lab.apply(template)
        await lab.until(lambda: lab.condition("vmtemplate/debian").get("reason") == "SourceRefused")

        refused = 0

        def refuse(call: Call, when: str) -> None:
            """Proxmox repeats what it was given, as its parameter checks do."""
            nonlocal refused
            if when == "before" and call.verb == "create_vm":
                refused += 1
                given = call.params["cipassword"]
                raise PveAnswer(400, "Parameter verification failed.", {"cipassword": f"invalid value '{given}'"})

        lab.disk.origin[IMAGE_URL] = image
        lab.pve.faults.hooks.append(refuse)
        await lab.apply(template | {"metadata": {"name": "other"}})
        await lab.until(lambda: refused > 3)
        await lab.apply(lab.credentials(secret=wrong))
        await lab.restart()
        await lab.until(lambda: lab.condition("proxmoxcluster/prod").get("reason") == "CredentialsRefused")
        values = {
            "the token": lab.pve.token_secret,
            "the wrong token": wrong,
            "the request header": HEADER,
            "the password": PASSWORD,
        }
        require_silence(lab, caplog, values)
