"""`spec.notify` of a `StrmSyncJob`: which media servers learn what changed, and who hears when a run went wrong."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pantograph.api.markers import Atomic, ListMap, ListSet, exactly_one_of
from pantograph.api.meta import CelRule, Duration, LocalReference, Model

NotifyUrl = Annotated[str, Field(min_length=8, max_length=2048, pattern=r"^https?://[^\s?#@]+$")]
"""http(s)://host[:port][/sub-path], without query and without credentials: those belong into a Secret."""
ItemName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
AlertResult = Literal["Failed", "Blocked", "Recovered"]
DEFAULT_DEBOUNCE = "60s"
DEFAULT_MAX_PATHS = 200
TELEGRAM_URL = "https://api.telegram.org"
MAX_MEDIA_SERVERS = 8
MAX_FOLDER_MAPPINGS = 16
"""No more than the least `maxPaths`: changes can always be told as at most one folder a mapping."""


class FolderMapping(Model):
    """Where a media server sees a folder of the target's volume."""

    folder: Annotated[str, Field(max_length=1024, pattern=r"^/[^\x00-\x1f]*$")] = Field(alias="from")
    """An absolute path in the target's volume, `/` being the volume's root (not `target.subPath`)."""
    to: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^(/|[A-Za-z]:|\\\\)[^\x00-\x1f]*$")]
    """The same folder as the media server sees it: `/media/strm`, `D:\\strm` or `\\\\nas\\strm`."""


class MediaServer(Model):
    """An Emby or Jellyfin server that is told which folders changed, so that it need not look at all of them."""

    name: ItemName
    """Tells it apart, also in messages."""
    type: Literal["Emby", "Jellyfin"]
    url: NotifyUrl
    """The server as the run reaches it, such as `http://jellyfin.media.svc:8096`."""
    secret_ref: LocalReference
    """A Secret with the key `token`: an API key of the server."""
    path_map: Annotated[list[FolderMapping], Field(min_length=1, max_length=MAX_FOLDER_MAPPINGS), Atomic()]
    """By whole segments; the first that fits holds. What none fits is not told."""
    debounce: Duration | None = None
    """At least so long between two messages; what changes meanwhile is told together, later. Absent: 60s."""
    max_paths: Annotated[int, Field(ge=MAX_FOLDER_MAPPINGS, le=1000)] | None = None
    """Folders in one message; of more, the folders above them are told. Absent: 200."""


class Webhook(Model):
    """An HTTP address that takes a JSON document by POST."""

    cel: ClassVar = (exactly_one_of("url", "urlFrom"),)

    url: NotifyUrl | None = None
    """An address that is no secret."""
    url_from: LocalReference | None = None
    """A Secret with the key `url`: an address that nobody else may know, as those of Slack and Discord."""
    headers_from: LocalReference | None = None
    """A Secret; each key is sent as a request header with its value."""
    format: Literal["Json", "Slack", "Discord"] | None = None
    """The document: all that is known, or the text as Slack (also Mattermost) or Discord takes it. Absent: Json."""


class Telegram(Model):
    """A chat that a bot writes to."""

    chat_id: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^(-?[0-9]+|@[A-Za-z0-9_]+)$")]
    """A number (quoted), or `@name` of a channel."""
    secret_ref: LocalReference
    """A Secret with the key `token`: the bot's."""
    url: NotifyUrl | None = None
    """A server of the bot API; absent: https://api.telegram.org."""


class AlertReceiver(Model):
    """Who hears of runs that failed or wait for a person, and once when all is well again."""

    cel: ClassVar = (exactly_one_of("webhook", "telegram"),)

    name: ItemName
    """Tells it apart, also in messages."""
    webhook: Webhook | None = None
    telegram: Telegram | None = None
    on: Annotated[list[AlertResult], Field(min_length=1, max_length=3), ListSet()] | None = None
    """Absent: all three. `Blocked` waits for an approval."""


class Notify(Model):
    """Who is told of what runs did."""

    cel: ClassVar = (
        CelRule(
            "(has(self.mediaServers) && size(self.mediaServers) > 0) || (has(self.alerts) && size(self.alerts) > 0)",
            "notify needs mediaServers or alerts",
        ),
    )

    media_servers: Annotated[list[MediaServer], ListMap("name"), Field(max_length=MAX_MEDIA_SERVERS)] = Field(
        default_factory=list
    )
    """Told of changed folders at the end of a run."""
    alerts: Annotated[list[AlertReceiver], ListMap("name"), Field(max_length=8)] = Field(default_factory=list)
    """Told by the operator, not by `pantograph strm`."""
