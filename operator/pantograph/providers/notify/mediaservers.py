"""Emby and Jellyfin: one call to have folders looked at again, and one to see whether they would take it.

`POST /Library/Media/Updated` (both products' API references): each path leads the server to the nearest item that it
knows, which it refreshes after a delay of its own (60 s by default), with all that is below it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pantograph.api.notify import MediaServer as Declared
from pantograph.providers.errors import ProtocolError
from pantograph.providers.mounted import read_key
from pantograph.providers.notify.exchange import TIMEOUT_S, Answer, exchange, refuse
from pantograph.providers.notify.port import FolderChange, MediaServerInfo
from pantograph.providers.notify.secrets import checked_token

_REMEDY: Final = "make an API key (Dashboard → API Keys) and put it into the Secret as `token`"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpMediaServer:
    """One server; connects anew for each call, since calls are rare."""

    name: str
    """As messages name it."""
    product: Literal["Emby", "Jellyfin"]
    url: str
    secret: Path
    """The directory of a mounted Secret with `token`."""
    timeout_s: float = TIMEOUT_S

    async def tell(self, changes: Sequence[FolderChange]) -> None:
        """Have these folders looked at. Raises ProviderError."""
        updates = [{"Path": each.path, "UpdateType": each.kind} for each in changes]
        refuse(self.name, await self._ask("POST", "/Library/Media/Updated", {"Updates": updates}), remedy=_REMEDY)

    async def look(self) -> MediaServerInfo:
        """Ask who it is, with the token; changes nothing. Raises ProviderError."""
        answer = await self._ask("GET", "/System/Info")
        refuse(self.name, answer, remedy=_REMEDY)
        info = answer.json()
        if not isinstance(info, dict) or not isinstance(info.get("Version"), str):
            raise ProtocolError(f"{self.name} is no {self.product}", remedy="check the address in notify.mediaServers")
        product = str(info.get("ProductName") or self.product)[:64]
        return MediaServerInfo(product, str(info["Version"])[:64], await self._folders())

    async def _folders(self) -> tuple[str, ...] | None:
        answer = await self._ask("GET", "/Library/VirtualFolders")
        if answer.status in (403, 404):  # for administrators only
            return None
        refuse(self.name, answer, remedy=_REMEDY)
        libraries = answer.json()
        if not isinstance(libraries, list):
            return None
        found = [each.get("Locations") for each in libraries if isinstance(each, dict)]
        return tuple(str(folder) for locations in found if isinstance(locations, list) for folder in locations)

    async def _ask(self, method: str, path: str, document: Mapping[str, object] | None = None) -> Answer:
        return await exchange(
            self.name, method, self._base + path, headers=self._headers(), document=document, timeout_s=self.timeout_s
        )

    @property
    def _base(self) -> str:
        base = self.url.rstrip("/")
        # Emby's API lives below /emby, which people leave out and type in.
        return f"{base}/emby" if self.product == "Emby" and not base.endswith("/emby") else base

    def _headers(self) -> dict[str, str]:
        token = checked_token(read_key(self.secret, "token", name=self.name), name=self.name)
        # Jellyfin reads the first and is about to drop the second; Emby reads the second.
        return {"Authorization": f'MediaBrowser Token="{token}"', "X-Emby-Token": token, "Accept": "application/json"}


def open_media_server(declared: Declared, secret: Path, *, timeout_s: float = TIMEOUT_S) -> HttpMediaServer:
    """The declared server, its Secret mounted at `secret`; connects to nobody yet."""
    name = f"media server {declared.name} ({declared.type})"
    return HttpMediaServer(
        name=name, product=declared.type, url=declared.url, secret=secret, timeout_s=timeout_s
    )  # fmt: skip
