"""What the engine asks of a media server: that it looks again at folders that changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

ChangeKind = Literal["Created", "Modified", "Deleted"]


@dataclass(frozen=True, slots=True)
class FolderChange:
    """What became of a folder."""

    path: str
    """As the media server sees it."""
    kind: ChangeKind
    """`Modified`: files in it came, changed or went."""


@dataclass(frozen=True, slots=True)
class MediaServerInfo:
    """What a media server says about itself."""

    product: str
    version: str
    folders: tuple[str, ...] | None
    """The folders of its libraries, as it sees them; None: the token may not see them."""


class MediaServer(Protocol):
    """One Emby or Jellyfin."""

    async def tell(self, changes: Sequence[FolderChange]) -> None:
        """Have these folders looked at. Telling twice does no harm. Raises ProviderError."""
        ...

    async def look(self) -> MediaServerInfo:
        """Ask who it is, with the token; changes nothing. Raises ProviderError."""
        ...
