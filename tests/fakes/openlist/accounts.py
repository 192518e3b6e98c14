"""Users and sessions of the fake: JWTs live in memory, so that a restart ends them; five refusals lock the address."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from itertools import count

from pantograph.clock import Clock

_LOCK_AFTER, _LOCK_S = 5, 300.0
_HASH_SALT = "-https://github.com/alist-org/alist"


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may log in."""

    username: str
    password: str
    base_path: str = "/"
    can_write: bool = False
    otp_code: str | None = None
    disabled: bool = False


class Refused(Exception):
    """A `code` and a `message`."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Accounts:
    """Who may do what, and with which token."""

    def __init__(self, clock: Clock) -> None:
        self.admin_token = "openlist-admin-token"
        self.logins = 0
        """Attempts, good and bad."""
        self._clock = clock
        self._serial = count(1)
        self._users: dict[str, User] = {"guest": User("guest", "", disabled=True)}
        self._sessions: dict[str, str] = {}
        self._failures = 0
        self._locked_until = float("-inf")

    def add(self, user: User) -> None:
        self._users[user.username] = user

    def change(self, username: str, *, base_path: str) -> None:
        self._users[username] = replace(self._users[username], base_path=base_path)

    def allow_guests(self) -> None:
        self._users["guest"] = User("guest", "")

    def end_sessions(self) -> None:
        """As every restart of the server does."""
        self._sessions.clear()

    def log_in(self, question: dict[str, str], *, hashed: bool = False) -> str:
        self.logins += 1
        if self._clock.monotonic() < self._locked_until:
            raise Refused(429, "Too many unsuccessful sign-in attempts have been made")
        user = self._users.get(question.get("username", ""))
        if user is None or question.get("password") != (_hash(user.password) if hashed else user.password):
            self._fail()
            raise Refused(400, "username or password is incorrect")
        if user.otp_code is not None and question.get("otp_code") != user.otp_code:
            self._fail()
            raise Refused(402, "Invalid 2FA code")
        self._failures = 0
        token = f"jwt-{next(self._serial)}"
        self._sessions[token] = user.username
        return token

    def user_of(self, token: str) -> User:
        """Raises `Refused` 401 as the server's middleware does."""
        if token == self.admin_token:
            return User("admin", "", can_write=True)
        if token == "":
            guest = self._users["guest"]
            if guest.disabled:
                raise Refused(401, "Guest user is disabled, login please")
            return guest
        if token not in self._sessions:
            raise Refused(401, "token is invalidated")
        return self._users[self._sessions[token]]

    def _fail(self) -> None:
        self._failures += 1
        if self._failures >= _LOCK_AFTER:
            self._locked_until = self._clock.monotonic() + _LOCK_S


def _hash(password: str) -> str:
    return hashlib.sha256(f"{password}{_HASH_SALT}".encode()).hexdigest()
