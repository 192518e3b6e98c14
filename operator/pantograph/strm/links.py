"""What a job puts into a `.strm`: the server's link, its path mapped and replaced, encoded once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from pantograph.api import strmspec as api
from pantograph.api.units import parse_duration
from pantograph.providers.media.links import Encoding, http_line, mount_line, normal_base
from pantograph.providers.media.port import Entry, Link, MediaSource, SignMode


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRules:
    """How a link is made."""

    mode: Literal["Http", "Mount"]
    base: str | None
    prefix: str | None
    encoding: Encoding
    sign: SignMode
    renew_before_s: float
    equivalent_bases: tuple[str, ...]
    mount_prefix: str | None
    path_map: tuple[tuple[str, str], ...]
    replacements: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, link: api.Link) -> Self:
        sign = link.sign or api.Sign()
        return cls(
            mode=link.mode,
            base=None if link.public_base is None else normal_base(link.public_base),
            prefix=link.prefix,
            encoding=Encoding(link.encoding),
            sign=SignMode(sign.mode) if link.mode == "Http" else SignMode.NONE,
            renew_before_s=parse_duration(sign.renew_before),
            equivalent_bases=tuple(normal_base(each) for each in link.equivalent_bases or ()),
            mount_prefix=link.mount_prefix,
            path_map=tuple((each.prefix.rstrip("/"), each.to.rstrip("/")) for each in link.path_map or ()),
            replacements=tuple((each.text, each.to) for each in link.replace or ()),
        )

    def text(self, source: MediaSource, entry: Entry) -> bytes:
        """The whole content of the file's `.strm`. Raises `Rejected` for what has no link."""
        link = source.link(entry, sign=self.sign)
        if self.path_map or self.replacements:
            link = link._replace(path=self.mapped(link.path))
        return self._line(link).encode()

    def _line(self, link: Link) -> str:
        if self.mode == "Mount":
            return mount_line(link, mount_prefix=self.mount_prefix)
        return http_line(link, encoding=self.encoding, base=self.base, prefix=self.prefix)

    def mapped(self, path: str) -> str:
        """`path` with the first fitting prefix mapped, then every replacement made, in order."""
        for old, new in self.path_map:
            if path == old or path.startswith(f"{old}/"):
                path = new + path[len(old) :]
                break
        for old, new in self.replacements:
            path = path.replace(old, new)
        return path if path.startswith("/") else f"/{path}"
