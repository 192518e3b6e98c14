"""A guest's settings as parameters: which exist, which privilege each needs, which texts refuse them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tests.fakes.proxmox.answers import PveAnswer, forbidden, parameter_error, refusal
from tests.fakes.proxmox.cluster import SimulatedCluster
from tests.fakes.proxmox.gate import Request
from tests.fakes.proxmox.guests import DISK_KEY, split_tags

_GROUPS = {
    "VM.Config.CPU": "cores sockets cpu cpulimit cpuunits numa vcpus",
    "VM.Config.Memory": "memory balloon shares",
    "VM.Config.HWType": "acpi hotplug kvm machine scsihw smbios1 tablet vga watchdog audio0 rng0",
    "VM.Config.Options": "agent autostart bios description keyboard localtime name onboot ostype protection reboot "
    "startdate template tags startup",
    "VM.Config.Cloudinit": "ciuser cipassword sshkeys nameserver searchdomain cicustom citype ciupgrade",
    "VM.Config.Disk": "boot bootdisk vmstatestorage",
}
_PRIVILEGE = {key: privilege for privilege, keys in _GROUPS.items() for key in keys.split()}
_NUMBERED = (
    (re.compile(r"^net\d+$"), "VM.Config.Network"),
    (re.compile(r"^ipconfig\d+$"), "VM.Config.Cloudinit"),
    (re.compile(r"^serial\d+$"), "VM.Config.HWType"),
    (DISK_KEY, "VM.Config.Disk"),
    (re.compile(r"^unused\d+$"), "VM.Config.Disk"),
)
_ROOT_ONLY = frozenset({"args", "lock", "hookscript", "vmgenid", "affinity", "parent", "smbios0"})
_NAME = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")


def privilege_of(key: str) -> str | None:
    """The VM.Config.* privilege of a setting; None: no such setting, or only root@pam may touch it."""
    if key in _PRIVILEGE:
        return _PRIVILEGE[key]
    return next((privilege for pattern, privilege in _NUMBERED if pattern.match(key)), None)


def check_keys(values: Mapping[str, str]) -> None:
    """Refuse what is no setting, or not for a token, or malformed."""
    for key, value in values.items():
        if key in _ROOT_ONLY:
            raise refusal(f"only root can set '{key}' config")
        if privilege_of(key) is None:
            raise parameter_error(
                key, "property is not defined in schema and the schema does not allow additional properties"
            )
        if key == "name" and not _NAME.match(value):
            raise parameter_error("name", "invalid format - value does not look like a valid DNS name\n")
        if key == "boot" and not re.match(r"^(order=.*|[acdn]{1,4}| )$", value):
            raise parameter_error(
                "boot", "invalid format - format error\nboot.legacy: value does not match the regex pattern\n"
            )
        if key in {"cores", "sockets"} and not value.isdigit():
            raise parameter_error(key, "type check ('integer') failed - got '" + value + "'")


def check_privileges(r: Request, vmid: int, values: Mapping[str, str], *, creating: bool) -> None:
    path = f"/vms/{vmid}"
    for key, value in values.items():
        needed = privilege_of(key)
        assert needed is not None
        if creating and DISK_KEY.match(key) and "media=cdrom" not in value:
            continue  # at create only the storage's AllocateSpace counts
        if needed == "VM.Config.Cloudinit":
            r.require(path, "VM.Config.Cloudinit", "VM.Config.Network")
        elif DISK_KEY.match(key) and "media=cdrom" in value:
            r.require(path, "VM.Config.CDROM")
        else:
            r.require(path, needed)
        if key.startswith("net"):
            _check_bridge(r, value)


def _check_bridge(r: Request, value: str) -> None:
    match = re.search(r"bridge=([^,]+)", value)
    if match is not None:
        r.require(f"/sdn/zones/localnetwork/{match[1]}", "SDN.Use")


def check_tags(cluster: SimulatedCluster, user: str, before: str, after: str) -> None:
    """The datacenter's tag policy: 403 naming the first tag that may not be set or removed."""
    if cluster.access.allows(user, "/", "Sys.Modify"):
        return
    policy = cluster.datacenter
    changed = sorted(set(split_tags(before)) ^ set(split_tags(after)))
    existing = {tag for guest in cluster.guests.values() for tag in guest.tags} if policy.tags == "existing" else set()
    allowed = (policy.allowed_tags if policy.tags != "none" else frozenset()) | existing
    for tag in changed:
        free = policy.tags == "free" or tag in allowed
        if tag in policy.registered_tags or not free:
            raise forbidden(f"/, Sys.Modify for modifying tag '{tag}'")


def check_not_locked(lock: str | None) -> None:
    if lock:
        raise PveAnswer(500, f"VM is locked ({lock})")
