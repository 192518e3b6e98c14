"""Every call of ours against the whole schema of Proxmox VE 9's API, which fakepve carries as a data file."""

from __future__ import annotations

import ast
import contextlib
import gzip
import inspect
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pantograph.providers.errors import ProviderError
from pantograph.providers.proxmox import adapter
from pantograph.providers.proxmox.port import Upid
from pantograph.providers.proxmox.privileges import Need
from pantograph.providers.proxmox.session import Answer
from pantograph.providers.proxmox.settings import ApiToken, ConnectionSettings
from tests.contract.proxmox.world import fakepve_command
from tests.fakes.proxmox.operations import OPERATIONS
from tests.fakes.proxmox.settings import privilege_of
from tests.fakes.scaledclock import ScaledClock

_UPID = Upid("UPID:pve1:00001234:00005678:6B000000:qmcreate:100:a@pve!b:")
_CONFIG = {
    "name": "x", "memory": "512", "cores": "1", "cpu": "host", "scsihw": "virtio-scsi-single", "machine": "q35",
    "bios": "ovmf", "ostype": "l26", "agent": "1", "tags": "a", "description": "d", "boot": "order=scsi0",
    "scsi0": "local:0,import-from=local:import/x.qcow2", "ide2": "local:cloudinit", "net0": "virtio,bridge=vmbr0",
    "efidisk0": "local:1,efitype=4m", "tpmstate0": "local:1,version=v2.0", "serial0": "socket", "vga": "serial0",
    "ciuser": "u", "cipassword": "p", "sshkeys": "k", "ipconfig0": "ip=dhcp", "nameserver": "1.1.1.1",
    "searchdomain": "x", "balloon": "0", "onboot": "0", "sockets": "1", "rng0": "source=/dev/urandom",
}  # fmt: skip
_ARGUMENTS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "node_version": (("pve1",), {}),
    "storages": (("pve1",), {}),
    "content": (("pve1", "local"), {"content": "images", "vmid": 100}),
    "vm_config": (("pve1", 100), {}),
    "tasks": (("pve1",), {"type": "qmcreate", "since": 1}),
    "task_status": ((_UPID,), {}),
    "task_log": ((_UPID,), {}),
    "query_url_metadata": (("pve1", "http://x/y"), {}),
    "download_url": (
        ("pve1", "local"), {"url": "http://x/y.qcow2", "filename": "y.qcow2", "checksum": f"sha256:{'0' * 64}"}
    ),
    "create_vm": (("pve1", 100, _CONFIG), {}),
    "set_config": (("pve1", 100, {"name": "x"}), {"delete": ["tags"], "digest": "0" * 40}),
    "resize_disk": (("pve1", 100), {"disk": "scsi0", "size_bytes": 1024}),
    "convert_to_template": (("pve1", 100), {"disk": "scsi0"}),
    "destroy_vm": (("pve1", 100), {}),
    "delete_volume": (("pve1", "local", "local:import/x.qcow2"), {}),
    "stop_task": ((_UPID,), {}),
}  # fmt: skip
_NO_CALL = {"user", "close"}


class Recorder:
    """Notes what the adapter asks, and answers nothing that could be decoded."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, set[str]]] = []

    async def request(
        self,
        verb: str,
        template: str,
        values: Mapping[str, str],
        *,
        at: Mapping[str, str | int],
        needs: Sequence[Need] = (),
        claims: int | None = None,
        fail_over: bool = True,
    ) -> Answer:
        self.asked.append((verb, template, set(values)))
        return Answer([] if template.startswith("/cluster") or template == "/nodes" else None)

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture(scope="session")
def schema() -> dict[str, Any]:
    home = fakepve_command().parents[1]
    [file] = Path(home).glob("lib/python*/site-packages/fakepve/data/pve-api.json.gz")
    paths: dict[str, Any] = json.loads(gzip.decompress(file.read_bytes()))["paths"]
    return {_VARIABLE.sub("{}", path): methods for path, methods in paths.items()}


_VARIABLE = re.compile(r"\{[^}]+\}")


def offences(schema: dict[str, Any], verb: str, template: str, names: set[str]) -> list[str]:
    """What the schema has against this call."""
    method = schema.get(_VARIABLE.sub("{}", template), {}).get(verb)
    if method is None:
        return [f"{verb} {template}: unknown"]
    known = method.get("parameters", {}).get("properties", {})
    unknown = {name for name in names if name not in known and re.sub(r"\d+$", "[n]", name) not in known}
    missing = {name for name, rule in known.items() if not rule.get("optional")} - names - _in_path(template)
    return [f"{verb} {template}: no parameter {name!r}" for name in unknown] + [
        f"{verb} {template}: {name!r} is missing" for name in missing
    ]


def _in_path(template: str) -> set[str]:
    """The schema's names of what the path holds; ours for a volume differ."""
    return {"volume" if name == "volid" else name for name in re.findall(r"\{(\w+)\}", template)}


@pytest.mark.parametrize("name", sorted(n for n in vars(adapter.ProxmoxerApi) if not n.startswith("_")))
async def test_a_call_of_the_adapter_is_one_that_proxmox_knows(schema: dict[str, Any], name: str) -> None:
    if name in _NO_CALL:
        return
    recorder = Recorder()
    settings = ConnectionSettings(endpoints=("https://pve1:8006",), credentials=ApiToken("a@pve!b", "s"))
    api = adapter.ProxmoxerApi(settings, ScaledClock(1), transport=recorder)
    positional, named = _ARGUMENTS.get(name, ((), {}))
    with contextlib.suppress(ProviderError):  # the recorder's answer cannot be decoded; what was asked is what counts
        await getattr(api, name)(*positional, **named)
    assert recorder.asked
    for verb, template, names in recorder.asked:
        assert offences(schema, verb, template, names) == []


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_what_the_simulator_offers_is_what_proxmox_offers(schema: dict[str, Any], name: str) -> None:
    operation = OPERATIONS[name]
    names = set(operation.required | operation.optional)
    known = schema[_VARIABLE.sub("{}", operation.path)][operation.method].get("parameters", {}).get("properties", {})
    assert names <= set(known)
    required = {name for name, rule in known.items() if not rule.get("optional")}
    assert operation.required >= required - _in_path(operation.path)


def test_every_setting_that_the_simulator_takes_exists(schema: dict[str, Any]) -> None:
    known = schema["/nodes/{}/qemu"]["POST"]["parameters"]["properties"]
    for name in known:
        if name in {"vmid", "node", "archive", "bwlimit", "force", "live-restore", "pool", "start", "storage",
                    "unique", "import-working-storage", "ha-managed"}:  # fmt: skip
            continue
        plain = name.replace("[n]", "0")
        if plain in {"args", "lock", "hookscript", "vmgenid", "affinity"}:
            assert privilege_of(plain) is None
    for name in _CONFIG:
        assert privilege_of(name) is not None, name


def test_nothing_of_fakepve_is_imported() -> None:
    """It is under the AGPL: a process of its own, and its schema read as data."""
    checkout = Path(inspect.getfile(adapter)).parents[4]
    for file in [*checkout.glob("operator/**/*.py"), *checkout.glob("tests/**/*.py"), *checkout.glob("hack/**/*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "fakepve" for name in names), file
