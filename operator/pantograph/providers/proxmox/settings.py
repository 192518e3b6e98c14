"""What it takes to reach one Proxmox cluster: plain values, comparable, so that equal ones share a connection."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ApiToken:
    token_id: str
    """`user@realm!name`, as tasks show it."""
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class UserPassword:
    username: str
    """`user@realm`."""
    password: str = field(repr=False)


Credentials = ApiToken | UserPassword


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How a node proves who it is; none of the three: by the public authorities."""

    ca_pem: str | None = None
    """Certificates to trust, PEM (a cluster's own: /etc/pve/pve-root-ca.pem)."""
    fingerprint: str | None = None
    """sha256 of the node's certificate, hexadecimal with or without colons; nothing else is then checked."""
    insecure_skip_verify: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds. `read_s` lies above the 30 s after which a node's proxy gives up on another node (596)."""

    connect_s: float = 5.0
    read_s: float = 40.0
    operation_s: float = 90.0
    """For a call as a whole: waiting for a thread and fail-over between endpoints included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What we ask of a cluster. A node has three workers that every slow call of anyone holds, hence so few."""

    concurrent: int = 4
    per_second: float = 20.0
    burst: int = 40
    breaker_threshold: int = 5
    breaker_open_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    endpoints: tuple[str, ...]
    """URLs as `https://pve1.example:8006`, in the order of preference."""
    credentials: Credentials
    tls: Tls = Tls()
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()

    @property
    def user(self) -> str:
        """As tasks show it: `op@pve!tok` for a token."""
        if isinstance(self.credentials, ApiToken):
            return self.credentials.token_id
        return self.credentials.username
