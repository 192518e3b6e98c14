"""Users, tokens and privileges per path, as the cluster checks them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from tests.fakes.proxmox.answers import forbidden

OPERATOR_PRIVILEGES = frozenset(
    {f"VM.{right}" for right in ("Allocate", "Clone", "Audit", "PowerMgmt", "Migrate", "Backup")}
    | {
        f"VM.Config.{group}"
        for group in ("Disk", "CPU", "Memory", "Network", "Options", "HWType", "Cloudinit", "CDROM")
    }
    | {f"Datastore.{right}" for right in ("Audit", "AllocateSpace", "AllocateTemplate", "Allocate")}
    | {"Sys.Audit", "Sys.AccessNetwork", "SDN.Use", "Pool.Audit", "Pool.Allocate"}
)
ALL_PRIVILEGES = OPERATOR_PRIVILEGES | {
    "Sys.Modify",
    "Sys.PowerMgmt",
    "Sys.Console",
    "Sys.Incoming",
    "Permissions.Modify",
}
_WELL_KNOWN_PATHS = ("/", "/access", "/nodes", "/pool", "/sdn", "/storage", "/vms")


@dataclass(slots=True)
class _Principal:
    secret: str
    privsep: bool = False
    grants: dict[str, tuple[frozenset[str], bool]] = field(default_factory=dict)
    """By path: the privileges there, and whether they reach below. A grant replaces those inherited from above."""
    revoked: set[tuple[str, str]] = field(default_factory=set)
    """(path, privilege) taken away there and below: a fault's short way to a smaller role."""


class Access:
    """Who may do what. A token is `user@realm!name`; a token without privilege separation has its user's rights."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._principals: dict[str, _Principal] = {"root@pam": _Principal(secret="root")}
        self._tickets: dict[str, str] = {}
        self._cache: dict[tuple[str, str], frozenset[str]] = {}
        self._named: set[str] = set()
        self._listings: dict[str, dict[str, dict[str, int]]] = {}

    # -- setting up --------------------------------------------------------------------------------------------------
    def add_user(self, user: str, *, password: str = "secret") -> None:
        self._principals.setdefault(user, _Principal(secret=password))

    def add_token(self, token: str, *, privsep: bool = True, secret: str | None = None) -> str:
        """Make the token (and its user) and return its secret."""
        self.add_user(token.partition("!")[0])
        value = secret or str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        self._principals[token] = _Principal(secret=value, privsep=privsep)
        self._forget()
        return value

    def grant(self, who: str, path: str, privileges: Iterable[str], *, propagate: bool = True) -> None:
        self._principals[who].grants[path] = (frozenset(privileges), propagate)
        self._forget()

    def revoke(self, who: str, path: str, privilege: str) -> None:
        """Take `privilege` away at `path` and below (from a token: also when its user keeps it)."""
        self._principals[who].revoked.add((path, privilege))
        self._forget()

    def restore(self, who: str, path: str, privilege: str) -> None:
        self._principals[who].revoked.discard((path, privilege))
        self._forget()

    def _forget(self) -> None:
        self._cache.clear()
        self._listings.clear()
        self._named.clear()

    # -- credentials -------------------------------------------------------------------------------------------------
    def token_is_valid(self, token: str, secret: str) -> bool:
        known = self._principals.get(token)
        return known is not None and "!" in token and known.secret == secret

    def change_secret(self, who: str, secret: str) -> None:
        self._principals[who].secret = secret

    def secret_of(self, who: str) -> str:
        return self._principals[who].secret

    def login(self, user: str, password: str) -> tuple[str, str] | None:
        """(ticket, CSRF token), or None for a wrong password."""
        known = self._principals.get(user)
        if known is None or "!" in user or known.secret != password:
            return None
        ticket = f"PVE:{user}:{self._random.getrandbits(64):016X}"
        self._tickets[ticket] = csrf = f"{self._random.getrandbits(64):016X}"
        return ticket, csrf

    def user_of_ticket(self, ticket: str) -> tuple[str, str] | None:
        """(user, CSRF token) of a ticket that was handed out."""
        csrf = self._tickets.get(ticket)
        return None if csrf is None else (ticket.split(":")[1], csrf)

    # -- checks ------------------------------------------------------------------------------------------------------
    def privileges(self, who: str, path: str) -> frozenset[str]:
        spoken_of = self._spoken_of(path)
        cached = self._cache.get((who, spoken_of))
        if cached is None:
            cached = self._cache[who, spoken_of] = frozenset(self._effective(who, spoken_of))
        return cached

    def _spoken_of(self, path: str) -> str:
        """`path` if a rule names it, else any path below its nearest ancestor that one names: they are all alike."""
        if not self._named:
            self._named = {"/"}.union(
                *({*one.grants, *(place for place, _ in one.revoked)} for one in self._principals.values())
            )
        if path in self._named:
            return path
        parent = path.rpartition("/")[0]
        while parent and parent not in self._named:
            parent = parent.rpartition("/")[0]
        return f"{parent}/*"

    def allows(self, who: str, path: str, privilege: str) -> bool:
        return privilege in self.privileges(who, path)

    def allows_any(self, who: str, path: str, *privileges: str) -> bool:
        return not self.privileges(who, path).isdisjoint(privileges)

    def require(self, who: str, path: str, *any_of: str) -> None:
        """Raise the 403 that Proxmox gives unless `who` holds one of the privileges at `path`."""
        if not self.allows_any(who, path, *any_of):
            raise forbidden(f"{path}, {'|'.join(any_of)}")

    def effective_permissions(self, who: str) -> dict[str, dict[str, int]]:
        """GET /access/permissions: by path, privilege → 1 when it propagates, 0 when it holds there only."""
        if who not in self._listings:
            self._listings[who] = self._listing(who)
        return self._listings[who]

    def _listing(self, who: str) -> dict[str, dict[str, int]]:
        paths = {*_WELL_KNOWN_PATHS}
        for name in {who, who.partition("!")[0]}:
            principal = self._principals.get(name)
            if principal is not None:
                paths |= set(principal.grants) | {path for path, _ in principal.revoked}
        return {path: dict(sorted(rights.items())) for path in sorted(paths) if (rights := self._effective(who, path))}

    def _effective(self, who: str, path: str) -> dict[str, int]:
        if who == "root@pam":
            return dict.fromkeys(ALL_PRIVILEGES, 1)
        principal = self._principals.get(who)
        if principal is None:
            return {}
        user = who.partition("!")[0]
        own = _granted(principal, path)
        if "!" not in who:
            return own
        users = self._effective(user, path)
        if not principal.privsep:
            own = users
        return {p: flag & users[p] for p, flag in own.items() if p in users and not _is_revoked(principal, path, p)}


def _granted(principal: _Principal, path: str) -> dict[str, int]:
    rights: dict[str, int] = {}
    for ancestor in _lineage(path):
        grant = principal.grants.get(ancestor)
        if grant is None:
            continue
        privileges, propagate = grant
        if ancestor == path or propagate:
            rights = dict.fromkeys(privileges, int(propagate))
    return {p: flag for p, flag in rights.items() if not _is_revoked(principal, path, p)}


def _is_revoked(principal: _Principal, path: str, privilege: str) -> bool:
    if not principal.revoked:
        return False
    return any((ancestor, privilege) in principal.revoked for ancestor in _lineage(path))


def _lineage(path: str) -> list[str]:
    """`/vms/100` → `/`, `/vms`, `/vms/100`."""
    parts = [part for part in path.split("/") if part]
    return ["/", *("/" + "/".join(parts[: i + 1]) for i in range(len(parts)))]
