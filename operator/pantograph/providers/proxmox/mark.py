"""Our mark on a guest: how we find what we made, and how we know that it is not somebody's copy of it.

Proxmox copies tags and description when a guest is cloned or restored, so a mark names its carrier: one whose VMID or
installation is not its carrier's own marks nothing. Tags show in the bulk listing and lead to a guest; only the line
in the description names the installation, so only that line proves anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pantograph.providers.proxmox.port import GuestRow, VmConfig

TAG = "pantograph"
_LINE = re.compile(r"^pantograph(?: [a-z]+=\S*)+$")
_TAG = re.compile(r"^pg-(?P<uid>[0-9a-f]{16})-(?P<vmid>\d+)$")
_STAGED = re.compile(r"^pantograph-(?P<digest>[0-9a-f]{16})\.(?P<format>qcow2|raw|vmdk)$")
_FIELDS = ("installation", "kind", "namespace", "name", "uid", "vmid", "revision")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Which object of which installation made the guest with this VMID."""

    installation: str
    kind: str
    namespace: str
    name: str
    uid: str
    vmid: int
    revision: str

    @property
    def tags(self) -> tuple[str, str]:
        return TAG, carrier_tag(self.uid, self.vmid)

    @property
    def line(self) -> str:
        return "pantograph " + " ".join(f"{name}={getattr(self, name)}" for name in _FIELDS)


def uid16(uid: str) -> str:
    """The first 16 hexadecimal digits of an object's uid."""
    return uid.replace("-", "").lower()[:16]


def carrier_tag(uid: str, vmid: int) -> str:
    return f"pg-{uid16(uid)}-{vmid}"


# -- reading -----------------------------------------------------------------


def own_mark(config: VmConfig, *, installation: str) -> Mark | None:
    """The mark that makes this guest ours: its line names this VMID and this installation."""
    for mark in _marks(config.description):
        if mark.vmid == config.vmid and mark.installation == installation:
            return mark
    return None


def foreign_mark(config: VmConfig, *, installation: str) -> Mark | None:
    """The mark by which another installation holds this very guest."""
    for mark in _marks(config.description):
        if mark.vmid == config.vmid and mark.installation != installation:
            return mark
    return None


def tagged_uid16(row: GuestRow) -> str | None:
    """The first 16 digits of the uid that this row's tag claims as its maker's; None for a copied tag, or no tag.

    A lead, no proof: tags do not name the installation.
    """
    for tag in row.tags:
        found = _TAG.match(tag.lower())
        if found is not None and int(found["vmid"]) == row.vmid:
            return found["uid"]
    return None


def _marks(description: str) -> list[Mark]:
    lines = (line.strip() for line in description.splitlines())
    return [mark for line in lines if (mark := parse_line(line)) is not None]


def parse_line(line: str) -> Mark | None:
    """The mark that one line of a description holds, if it is whole."""
    if not _LINE.match(line):
        return None
    values = dict(word.split("=", 1) for word in line.split(" ")[1:])
    if not all(values.get(name) for name in _FIELDS) or not values["vmid"].isdecimal():
        return None
    texts = {name: values[name] for name in _FIELDS if name != "vmid"}
    return Mark(vmid=int(values["vmid"]), **texts)


# -- writing -----------------------------------------------------------------


def marked_description(description: str, mark: Mark) -> str:
    """`description` with exactly this mark: in the place of an older or copied one, else below what a person wrote."""
    lines = description.rstrip().splitlines()
    places = [n for n, line in enumerate(lines) if _LINE.match(line.strip())]
    if not places:
        return "\n".join([*lines, "", mark.line] if lines else [mark.line])
    kept = [line for n, line in enumerate(lines) if n not in places[1:]]
    kept[places[0]] = mark.line
    return "\n".join(kept)


# -- staged images --------------------------------------------------------------


def staged_name(image_digest: str, image_format: str) -> str:
    """The file name of a staged image: the one mark that a file can carry. `image_digest` is `sha256:<hex>` or hex."""
    name = f"pantograph-{image_digest.rpartition(':')[2].lower()[:16]}.{image_format}"
    if not _STAGED.match(name):
        raise ValueError(f"{image_digest!r} and {image_format!r} make no name of a staged image")
    return name
