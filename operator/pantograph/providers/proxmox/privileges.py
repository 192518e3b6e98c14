"""Which rights on Proxmox each feature needs, and the command that grants them.

Kept apart because three readers need one truth: a connection's condition, an error's remedy, and the documentation.
Source: the Proxmox VE 8.4 API schema and pve-access-control (`PVE/RPCEnvironment.pm`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from shlex import quote

from pantograph.providers.proxmox.port import Permissions

LOCAL_ZONE = "localnetwork"
"""The SDN zone in which Proxmox looks for a plain bridge (`vmbr0`)."""


@dataclass(frozen=True, slots=True)
class MissingRight:
    """Privileges that are needed on a path and not held there."""

    path: str
    privileges: tuple[str, ...]

    def __str__(self) -> str:
        return f"{', '.join(self.privileges)} on {self.path}"


@dataclass(frozen=True, slots=True)
class Need:
    """Privileges on a path; `propagating`: for everything below it as well. `unless`: rights that serve instead."""

    path: str
    privileges: tuple[str, ...]
    propagating: bool = False
    unless: tuple[Need, ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    """One role of ours: what its paths are and all that we ever need there, short of what deletes."""

    root: str
    role: str
    privileges: tuple[str, ...]
    at_root: bool
    """Granted at the root of the family instead of at the exact path."""


_VM_CONFIG = tuple(
    f"VM.Config.{part}" for part in ("CDROM", "CPU", "Cloudinit", "Disk", "HWType", "Memory", "Network", "Options")
)
_FAMILIES = (
    Family("/vms", "PantographVMs", ("VM.Allocate", "VM.Audit", *_VM_CONFIG), at_root=True),
    Family(
        "/storage",
        "PantographStorage",
        ("Datastore.AllocateSpace", "Datastore.AllocateTemplate", "Datastore.Audit"),
        at_root=False,
    ),
    Family("/nodes", "PantographNodes", ("Sys.AccessNetwork", "Sys.Audit"), at_root=False),
    Family("/sdn/zones", "PantographSDN", ("SDN.Use",), at_root=False),
    Family("/", "PantographRoot", ("Sys.Audit",), at_root=True),
)


# -- features ---------------------------------------------------------------


def observe() -> tuple[Need, ...]:
    """To see the cluster whole: without them listings are short or empty, and say nothing about it."""
    return (
        Need("/", ("Sys.Audit",)),
        Need("/vms", ("VM.Audit",), propagating=True),
    )


def observe_storage(storage: str) -> tuple[Need, ...]:
    return (Need(f"/storage/{storage}", ("Datastore.Audit",)),)


def download(node: str, storage: str) -> tuple[Need, ...]:
    """To let `node` fetch a file into `storage`."""
    return (
        Need(f"/storage/{storage}", ("Datastore.AllocateTemplate", "Datastore.Audit")),
        look_at_url(node),
    )


def look_at_url(node: str) -> Need:
    """To ask `node` what it sees at a URL."""
    return Need(f"/nodes/{node}", ("Sys.AccessNetwork",), unless=(Need("/", ("Sys.Audit", "Sys.Modify")),))


def create(
    storage: str, *, vmid: int | None = None, bridges: Iterable[str] = (), zone: str = LOCAL_ZONE
) -> tuple[Need, ...]:
    """To make a machine with its disks on `storage`, mark it, and convert it to a template."""
    vms = Need("/vms", ("VM.Allocate", "VM.Audit", *_VM_CONFIG), propagating=True)
    if vmid is not None:
        vms = Need(f"/vms/{vmid}", vms.privileges)
    return (
        vms,
        Need(f"/storage/{storage}", ("Datastore.AllocateSpace", "Datastore.Audit")),
        *(Need(f"/sdn/zones/{zone}/{bridge}", ("SDN.Use",)) for bridge in bridges),
    )


def depot_transfer(
    node: str, *, staging: str, target: str, bridges: Iterable[str] = (), zone: str = LOCAL_ZONE
) -> tuple[Need, ...]:
    """The whole way of a copy: stage the image on the node, create from it, convert."""
    return (*download(node, staging), *create(target, bridges=bridges, zone=zone))


def destroy() -> tuple[Need, ...]:
    return (Need("/vms", ("VM.Allocate", "VM.Audit"), propagating=True),)


def delete_staged(storage: str) -> tuple[Need, ...]:
    """Proxmox asks the strongest right on a storage for the deletion of one image in it."""
    return (Need(f"/storage/{storage}", ("Datastore.Allocate",)),)


# -- what is missing ----------------------------------------------------------


def missing_for(permissions: Permissions, needs: Iterable[Need]) -> list[MissingRight]:
    """Those of `needs` that are not held, joined by path, in the order of the needs."""
    missing: dict[str, dict[str, None]] = {}
    for need in needs:
        lacking = _lacking(permissions, need)
        if lacking and not any(not _lacking(permissions, other) for other in need.unless):
            missing.setdefault(need.path, {}).update(dict.fromkeys(lacking))
    return [MissingRight(path, tuple(privileges)) for path, privileges in missing.items()]


def _lacking(permissions: Permissions, need: Need) -> list[str]:
    held = held_at(permissions, need.path, propagating=need.propagating)
    return [privilege for privilege in need.privileges if privilege not in held]


def held_at(permissions: Permissions, path: str, *, propagating: bool = False) -> frozenset[str]:
    """The privileges held at `path`: those listed for it, else those that its nearest listed ancestor hands down.

    An access list at a deeper path replaces what comes from above, so only the nearest one speaks.
    """
    listed = permissions.get(path)
    if listed is not None:
        return frozenset(privilege for privilege, propagates in listed.items() if propagates or not propagating)
    for ancestor in _ancestors(path):
        if ancestor in permissions:
            return frozenset(privilege for privilege, propagates in permissions[ancestor].items() if propagates)
    return frozenset()


def _ancestors(path: str) -> list[str]:
    parts = path.strip("/").split("/")
    return [*("/" + "/".join(parts[:n]) for n in range(len(parts) - 1, 0, -1)), "/"]


# -- the command that grants it ------------------------------------------------


def grant_commands(missing: Iterable[MissingRight], user: str | None) -> str:
    """The `pveum` commands that give `user` (`op@pve!tok` or `op@pve`) what is missing, joined by `; `.

    A role holds everything that we need at its path, not the missing privilege alone: an access list at a deeper path
    replaces the one above it, so a narrow grant would take the other rights away.
    """
    commands: dict[str, None] = {}
    for right in missing:
        commands.update(dict.fromkeys(_grant(right, user)))
    return "; ".join(commands)


def _grant(right: MissingRight, user: str | None) -> Sequence[str]:
    family = _family(right.path)
    extra = [privilege for privilege in right.privileges if privilege not in family.privileges]
    role = "-".join([family.role, *extra])
    path = family.root if family.at_root else right.path
    who = quote(user or "USER@REALM!TOKEN")
    option = "--tokens" if "!" in who else "--users"
    return (
        f"pveum role add {role} --privs {','.join([*family.privileges, *extra])}",
        f"pveum acl modify {path} {option} {who} --roles {role}",
    )


def _family(path: str) -> Family:
    for family in _FAMILIES:
        if path == family.root or path.startswith(family.root.rstrip("/") + "/"):
            return family
    return Family(path, "Pantograph" + path.strip("/").split("/")[0].title(), (), at_root=False)


def remedy(missing: Iterable[MissingRight], user: str | None) -> str:
    """The commands, and what a token needs besides."""
    commands = grant_commands(missing, user)
    if user is None or "!" not in user:
        return commands
    owner = user.split("!")[0]
    return f"{commands} (a token with privilege separation has no more than its user: {owner} needs the same rights)"
