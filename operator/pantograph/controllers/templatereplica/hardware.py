"""A template's hardware in the words of a Proxmox configuration, and the difference to what stands there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from pantograph.api.units import parse_quantity
from pantograph.api.vmtemplate import CloudInit, Hardware, Network
from pantograph.providers.proxmox.mark import Mark, marked_description

MIB: Final = 1024 * 1024
CLOUD_INIT_DRIVE: Final = "ide2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a template's virtual machine must be."""

    name: str
    storage: str
    hardware: Hardware
    cloud_init: CloudInit
    mark: Mark

    @property
    def boot_disk(self) -> str:
        """The configuration key of the boot disk, such as `scsi0`."""
        return f"{self.hardware.disk.bus if self.hardware.disk else 'scsi'}0"

    @property
    def tags(self) -> set[str]:
        """Our mark's tags and the declared ones, as Proxmox stores them."""
        return {tag.lower() for tag in (*self.mark.tags, *(self.hardware.tags or ()))}


def settings(machine: Machine) -> dict[str, str]:
    """What may change in place, but for the password, the network card and the description (see `difference`)."""
    hardware, cloud_init = machine.hardware, machine.cloud_init
    wanted = {
        "name": machine.name,
        "cores": str(hardware.cores),
        "sockets": str(hardware.sockets),
        "memory": str(parse_quantity(hardware.memory) // MIB),
        "cpu": hardware.cpu_type,
        "agent": "1" if hardware.agent else "0",
        "tags": ";".join(sorted(machine.tags)),
    }
    if cloud_init.user:
        wanted["ciuser"] = cloud_init.user
    if cloud_init.ssh_keys:
        # Proxmox stores the keys percent-encoded and wants them so inside the value.
        wanted["sshkeys"] = quote("\n".join(cloud_init.ssh_keys), safe="")
    if cloud_init.ip_config:
        wanted["ipconfig0"] = cloud_init.ip_config
    return wanted


def network(machine: Machine) -> str | None:
    """The network card as Proxmox writes it, but for its MAC, which Proxmox chooses."""
    return _network(machine.hardware.network, mac=None) if machine.hardware.network else None


def creation(machine: Machine, *, import_from: str, password: str | None) -> dict[str, str]:
    """The configuration of a new virtual machine whose boot disk is imported from the staged volume."""
    hardware = machine.hardware
    # Every volume lies on the disk's storage: one local disk elsewhere would forbid clones to other nodes.
    config = settings(machine) | {
        "ostype": hardware.os_type,
        "scsihw": hardware.scsi_controller,
        machine.boot_disk: f"{machine.storage}:0,import-from={import_from},discard=on",
        "boot": f"order={machine.boot_disk}",
        CLOUD_INIT_DRIVE: f"{machine.storage}:cloudinit",
        "serial0": "socket",
        "description": machine.mark.line,
    }
    if hardware.machine == "q35":
        config["machine"] = "q35"
    if hardware.firmware != "SeaBIOS":
        keys = "1" if hardware.firmware == "OVMFSecureBoot" else "0"
        config["bios"] = "ovmf"
        config["efidisk0"] = f"{machine.storage}:0,efitype=4m,pre-enrolled-keys={keys}"
    if hardware.tpm:
        config["tpmstate0"] = f"{machine.storage}:0,version={hardware.tpm}"
    if hardware.network:
        config["net0"] = _network(hardware.network, mac=None)
    if password is not None:
        config["cipassword"] = password
    return config


@dataclass(frozen=True, slots=True)
class Difference:
    """What a configuration lacks: keys to set, keys to delete."""

    set: Mapping[str, str]
    delete: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.set or self.delete)


def difference(machine: Machine, current: Mapping[str, str]) -> Difference:
    """What must change in place for `current` to be what is declared; only keys that are ours are compared.

    The password is not among them: Proxmox masks it, so whoever calls knows whether it changed.
    """
    wanted = settings(machine)
    changed = {key: value for key, value in wanted.items() if not _same(key, value, current.get(key, ""))}
    gone = [key for key in ("ciuser", "sshkeys", "ipconfig0") if key in current and key not in wanted]

    network = machine.hardware.network
    if network is None and "net0" in current:
        gone.append("net0")
    elif network is not None and not _same_network(network, current.get("net0", "")):
        changed["net0"] = _network(network, mac=_mac(current.get("net0", "")))

    described = marked_description(current.get("description", ""), machine.mark)
    if described != current.get("description", "").rstrip():
        changed["description"] = described
    if machine.cloud_init.password_from is None and "cipassword" in current:
        gone.append("cipassword")
    return Difference(changed, gone)


def _same(key: str, wanted: str, current: str) -> bool:
    if key == "tags":
        return set(wanted.split(";")) == set(current.replace(",", ";").lower().split(";"))
    if key == "sshkeys":
        return unquote(wanted).split() == unquote(current).split()
    if key == "agent":
        return wanted == current.split(",")[0].removeprefix("enabled=")
    if key == "sockets":
        return wanted == (current or "1")
    return wanted == current


def _network(network: Network, *, mac: str | None) -> str:
    model = f"{network.model}={mac}" if mac else network.model
    vlan = f",tag={network.vlan}" if network.vlan else ""
    return f"{model},bridge={network.bridge}{vlan}"


def _mac(net: str) -> str | None:
    _, _, mac = net.split(",")[0].partition("=")
    return mac or None


def _same_network(network: Network, current: str) -> bool:
    """Whether model, bridge and VLAN agree; a person's further options and the MAC are not ours."""
    if not current:
        return False
    first, *rest = current.split(",")
    options = dict(option.partition("=")[::2] for option in rest)
    return (
        first.partition("=")[0] == network.model
        and options.get("bridge") == network.bridge
        and options.get("tag") == (str(network.vlan) if network.vlan else None)
    )
