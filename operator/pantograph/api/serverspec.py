"""What is declared of a `DataServer`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from pantograph.api.declaration import CommonSpec, Declaration
from pantograph.api.markers import ListSet, at_least, exactly_one_of, stays_below
from pantograph.api.meta import (
    CelRule,
    Duration,
    LocalReference,
    Model,
    NamespaceOrAll,
)
from pantograph.api.strmspec import ClaimVolume, RootVolume, SubPath

Endpoint = Annotated[str, Field(min_length=8, max_length=300, pattern=r"^https?://[^\s?#@/]+(/[^\s?#]*)?$")]
"""Without `user:password@`: it is shown, and credentials have a Secret."""

OF_SERVERS: Final = ("endpoint", "credentialsRef", "tls")
"""Fields that mean nothing for a folder."""
LOCAL_ONLY: Final = "local needs driver Local; remove local, or set driver: Local"
TLS_NEEDS_HTTPS: Final = "tls needs an endpoint of https://"


def not_for_local(field: str) -> str:
    """What is said to a folder that has one of `OF_SERVERS`."""
    return f"{field} needs a driver other than Local; remove {field}, or set the driver of its server"


class LocalFolder(Model):
    """A folder that is mounted where runs work: a root for targets on roots, a claim for targets on claims."""

    cel: ClassVar = (exactly_one_of("root", "persistentVolumeClaim"), stays_below("sentinel"))

    root: RootVolume | None = None
    persistent_volume_claim: ClaimVolume | None = None
    sentinel: SubPath | None = None
    """A file in the folder, such as `.mounted`, that is there only while the real volume is mounted. Absent: the volume
    is known by its device number; network mounts get another one each time, and the job then says `SourceChanged`."""


class ServerTls(Model):
    """How the endpoint's certificate is verified."""

    ca_ref: LocalReference
    """A Secret in this namespace whose key `ca.crt` holds the authority's certificate (PEM), trusted beside the
    system's authorities; for a certificate that signed itself, that one."""


class ServerLimits(Model):
    """How hard the server may be used. For Local only `maxInFlight`, `listTimeout` and `maxRuns` count."""

    cel: ClassVar = (at_least("cooldown", "1s"), at_least("listTimeout", "1s"))

    requests_per_minute: Annotated[int, Field(ge=1, le=60_000)] = 120
    """On average, by all jobs together: runs at work share it in equal parts."""
    burst: Annotated[int, Field(ge=1, le=100)] = 4
    """So many requests of a run may follow at once after a rest."""
    max_in_flight: Annotated[int, Field(ge=1, le=64)] = 4
    """Requests of a run under way at once."""
    cooldown: Duration = "60s"
    """How long nobody asks anything after a ban or a limit, when the server does not say how long; doubles each time,
    to at most half an hour."""
    list_timeout: Duration = "120s"
    """How long one answer may take: clouds behind a server take their time over a big directory. Local: a mount that
    takes longer counts as hung."""
    max_runs: Annotated[int, Field(ge=1, le=16)] = 2
    """Runs at work at once; other jobs wait for their turn."""


class DataServerSpec(CommonSpec):
    """How to reach one source of media."""

    cel: ClassVar = (
        CelRule("self.driver == 'Local' || has(self.endpoint)", "driver other than Local needs endpoint"),
        CelRule("self.driver != 'Local' || has(self.local)", "driver Local needs local"),
        CelRule("self.driver == 'Local' || !has(self.local)", LOCAL_ONLY),
        *(CelRule(f"self.driver != 'Local' || !has(self.{field})", not_for_local(field)) for field in OF_SERVERS),
        CelRule(
            "self.driver == 'Local' || !has(self.tls) || has(self.endpoint) && self.endpoint.startsWith('https://')",
            TLS_NEEDS_HTTPS,
        ),
    )

    driver: Literal["OpenList", "CloudDrive2", "WebDAV", "Local"]
    """What speaks to it. `OpenList` also serves AList; `Local` is a folder."""
    endpoint: Endpoint | None = None
    """The server as the operator and the Pods of runs reach it, such as `http://openlist.media.svc:5244`, without
    `user:password@`: that is for the Secret. What players see is the job's `link.publicBase`."""
    credentials_ref: LocalReference | None = None
    """A Secret: `token`, or `username` and `password` (and `otp`, the seed of one-time passwords). Absent: a guest."""
    tls: ServerTls | None = None
    """Absent: by the system's authorities."""
    local: LocalFolder | None = None
    limits: ServerLimits | None = None
    allowed_namespaces: Annotated[list[NamespaceOrAll], Field(max_length=64), ListSet()] | None = None
    """Other namespaces whose jobs may use this source in the operator; `*` means all. Absent: only this namespace. A
    job whose target is a PersistentVolumeClaim needs a DataServer in its own namespace, whatever stands here."""


DeclaredServer = Declaration[DataServerSpec]
"""All that a run reads of a server."""
