"""What a remote name is called below the target, and which remote names are refused."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import Final, Literal

STATE_DIR: Final = ".pantograph"
"""Our own directory in the target: never a remote thing's name."""
MAX_NAME_BYTES: Final = 255
"""NAME_MAX of Linux file systems: bytes, not characters."""
_SHORT: Final = MAX_NAME_BYTES // 4
"""Characters, of which none has more than four bytes."""
STRM: Final = ".strm"
SIDECAR_SEPARATORS: Final = ".-_"
"""What follows a film's name in that of its sidecar: `a.zh.srt`, `a-poster.jpg`."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NOT_PORTABLE: Final = re.compile(r'[<>:"\\|?*]')
_DEVICE: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)
_HASH_CHARS: Final = 8


class RefusedName(ValueError):
    """A remote name that has no safe or possible name on disk; the text says why."""


@dataclass(frozen=True, slots=True)
class NameRules:
    """How the target names things."""

    profile: Literal["Posix", "Portable"] = "Posix"
    on_long: Literal["Skip", "TruncateHash"] = "Skip"

    def fold(self, name: str) -> str:
        """Names of equal fold are one name on this kind of file system."""
        if self.profile == "Posix":
            return name
        return unicodedata.normalize("NFC", name).casefold()

    def local(self, name: str, *, extension: str = "") -> str:
        """`name`, fit for this target; `extension` (with its dot) is its end, which is kept when the name is cut.

        Raises RefusedName.
        """
        check(name)
        return self.fit(name, extension)

    def fit(self, name: str, extension: str) -> str:
        """As `local`, for a name that was checked."""
        if self.profile == "Portable":
            name = _portable(name)
        if len(name) > _SHORT and len(name.encode()) > MAX_NAME_BYTES:
            name = self._shortened(name, extension)
        if name.startswith(".") and name.casefold() == STATE_DIR:
            raise RefusedName(f"{name!r} is the name of our own directory")
        return name

    def _shortened(self, name: str, extension: str) -> str:
        if self.on_long == "Skip":
            raise RefusedName(f"name of {len(name.encode())} bytes is longer than {MAX_NAME_BYTES}")
        stem = name.removesuffix(extension)
        # Hashed without the extension, so that a film and its subtitles keep a common stem.
        mark = "~" + hashlib.sha256(stem.encode()).hexdigest()[:_HASH_CHARS]
        room = MAX_NAME_BYTES - len(extension.encode()) - len(mark)
        if room < 1:
            raise RefusedName(f"extension of {len(extension.encode())} bytes leaves no room for a name")
        return stem.encode()[:room].decode(errors="ignore") + mark + extension


def check(name: str) -> None:
    """Raises RefusedName for a remote name that no target takes: it could escape, or break a line of a `.strm`."""
    if name in ("", ".", "..") or "/" in name:
        raise RefusedName(f"{name!r} is not the name of a file")
    if name.isprintable():  # almost every name; of the others, too, most may be used
        return
    if _CONTROL.search(name):
        raise RefusedName(f"{name!r} contains a control character")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise RefusedName(f"{name!r} is not valid UTF-8") from None


def split_extension(name: str) -> tuple[str, str]:
    """`("film", ".mkv")`; the extension with its dot as written, empty if there is none."""
    stem, dot, extension = name.rpartition(".")
    return (stem, dot + extension) if stem and extension else (name, "")


def extension_of(name: str) -> str:
    """`mkv` of `Film.MKV`: without its dot, in lower case."""
    stem, _, extension = name.rpartition(".")
    return extension.lower() if stem else ""


def strm_name(name: str, rules: NameRules, *, keep_extension: bool) -> str:
    """The `.strm` of the remote file `name`. Raises RefusedName."""
    check(name)
    stem = name if keep_extension else split_extension(name)[0]
    return rules.fit(stem + STRM, STRM)


def sidecar_name(name: str, rules: NameRules) -> str:
    """The local copy of the remote sidecar `name`. Raises RefusedName."""
    return rules.local(name, extension=split_extension(name)[1])


def _portable(name: str) -> str:
    name = _NOT_PORTABLE.sub("_", name)
    bare = name.rstrip(". ")
    name = bare + "_" * (len(name) - len(bare))
    return f"_{name}" if _DEVICE.match(name) else name
