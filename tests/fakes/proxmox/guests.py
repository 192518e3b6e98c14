"""Guests: their configuration, and what the cluster's status broadcast still says about them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random

DISK_KEY = re.compile(r"^(scsi|virtio|sata|ide|efidisk|tpmstate)\d+$")
BOOT_DISK = re.compile(r"^(scsi|virtio|sata|ide)\d+$")
MASKED = "**********"


@dataclass(frozen=True, slots=True)
class Seen:
    """What pvestatd last told the cluster about a guest."""

    name: str
    template: bool
    status: str


@dataclass(slots=True, eq=False)
class Guest:
    vmid: int
    node: str
    config: dict[str, str]
    changed_at: float
    """Monotonic seconds of the last change that the broadcast must carry."""
    type: str = "qemu"
    running: bool = False
    pool: str | None = None
    published: Seen | None = None
    """The broadcast before that change; None: never broadcast."""
    version: int = 0
    """Counts changes."""
    figures: tuple[int, dict[str, int]] | None = None
    """What listings show of the configuration, by the version it was made from."""
    _digest: tuple[int, str] = (-1, "")

    @property
    def lock(self) -> str | None:
        return self.config.get("lock")

    @property
    def is_template(self) -> bool:
        return self.config.get("template") == "1"

    @property
    def tags(self) -> tuple[str, ...]:
        return split_tags(self.config.get("tags", ""))

    @property
    def name(self) -> str:
        return self.config.get("name", f"VM {self.vmid}")

    @property
    def seen(self) -> Seen:
        """What the next broadcast will say."""
        return Seen(self.name, self.is_template, "running" if self.running else "stopped")

    @property
    def digest(self) -> str:
        if self._digest[0] != self.version:
            text = "".join(f"{key}: {value}\n" for key, value in sorted(self.config.items()))
            self._digest = (self.version, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
        return self._digest[1]

    def disks(self) -> Iterator[tuple[str, str]]:
        """(key, volid) of every volume the configuration refers to, CD images apart."""
        for key, value in self.config.items():
            volid = value.partition(",")[0]
            if (DISK_KEY.match(key) or key.startswith("unused")) and ":" in volid and not is_cdrom(value):
                yield key, volid

    def shown_config(self) -> dict[str, str]:
        """As GET config shows it: with the digest, passwords masked."""
        shown = {**self.config, "digest": self.digest}
        if "cipassword" in shown:
            shown["cipassword"] = MASKED
        return shown


def is_cdrom(value: str) -> bool:
    """A CD image; a cloud-init drive is media=cdrom too but belongs to the guest."""
    return "media=cdrom" in value and "cloudinit" not in value


def split_tags(text: str) -> tuple[str, ...]:
    return tuple(tag for tag in re.split(r"[;, ]", text) if tag)


def normal_tags(text: str) -> str:
    """As a configuration update stores them: lower case, sorted, each once."""
    return ";".join(sorted({tag.lower() for tag in split_tags(text)}))


def options_of(value: str) -> tuple[str, dict[str, str]]:
    """`local:0,import-from=x,size=1G` → (`local:0`, {import-from: x, size: 1G})."""
    first, *rest = value.split(",")
    return first, {key: text for key, _, text in (part.partition("=") for part in rest)}


def with_options(first: str, options: Mapping[str, str]) -> str:
    return ",".join([first, *(f"{key}={text}" for key, text in options.items())])


def size_text(size_bytes: int) -> str:
    """As Proxmox prints disk sizes: the largest unit that divides it."""
    for unit, factor in (("T", 1024**4), ("G", 1024**3), ("M", 1024**2), ("K", 1024)):
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return str(size_bytes)


def parse_size(text: str) -> int | None:
    """`2G`, `512M`, `1073741824` → bytes; None when it is no size."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text)
    if match is None:
        return None
    return int(float(match[1]) * {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}[match[2]])


@dataclass(slots=True)
class Identities:
    """What every new guest gets for itself: MAC addresses and uuids."""

    random: Random

    def mac(self) -> str:
        tail = self.random.getrandbits(24)
        return f"BC:24:11:{tail >> 16:02X}:{tail >> 8 & 255:02X}:{tail & 255:02X}"

    def uuid(self) -> str:
        bits = f"{self.random.getrandbits(128):032x}"
        return f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-a{bits[17:20]}-{bits[20:]}"

    def net(self, value: str) -> str:
        """`virtio,bridge=vmbr0` → with a new MAC address."""
        model, options = options_of(value)
        return with_options(f"{model.partition('=')[0]}={self.mac()}", options)
