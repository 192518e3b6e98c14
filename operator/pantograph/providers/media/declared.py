"""From a `DataServer` object to what its driver is given: the name in messages, settings, and the bucket of its calls.

The operator and the runner both open sources; here they agree on what the object means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

from pantograph.api.serverspec import DeclaredServer, ServerLimits
from pantograph.api.units import parse_duration
from pantograph.clock import Clock
from pantograph.providers.media.bucket import Cooldown, RateBucket
from pantograph.providers.media.settings import ServerSettings


def described(server: DeclaredServer) -> str:
    """The server as messages name it."""
    return f"DataServer {server.metadata.namespace}/{server.metadata.name}"


def limits_of(server: DeclaredServer) -> ServerLimits:
    """As declared, or the usual ones."""
    return server.spec.limits or ServerLimits()


def list_timeout_of(server: DeclaredServer) -> float:
    """Seconds that one whole answer may take."""
    return parse_duration(limits_of(server).list_timeout)


def settings_of(
    server: DeclaredServer, credentials: Path | Mapping[str, str] | None, *, ca_pem: str | None
) -> ServerSettings:
    """Of a server that is reached over the network. `credentials`, `ca_pem`: see `ServerSettings`."""
    assert server.spec.endpoint is not None, "every driver but Local has one, by the model's rule"
    return ServerSettings(
        name=described(server),
        endpoint=server.spec.endpoint,
        credentials=credentials,
        ca_pem=ca_pem,
        list_timeout_s=list_timeout_of(server),
    )


def bucket_of(
    server: DeclaredServer,
    *,
    clock: Clock,
    random: Random,
    on_change: Callable[[Cooldown | None], None] = lambda _: None,
) -> RateBucket:
    """Takes so much as the server allows to all its callers together. `on_change`: see `RateBucket`."""
    limits = limits_of(server)
    return RateBucket(
        described(server),
        clock,
        random,
        per_second=limits.requests_per_minute / 60,
        burst=limits.burst,
        concurrent=limits.max_in_flight,
        cooldown_s=parse_duration(limits.cooldown),
        on_change=on_change,
    )
