"""What can go wrong outside, in words that hold for every provider.

ProviderError
├── Unreachable        nobody answered; nothing was done (safe to repeat)
├── OutcomeUnknown     a change was sent and its answer was lost: look before repeating
├── Unauthorized       the credentials were refused
├── MissingPrivilege   the credentials lack a right
├── NotFound           no such thing, as far as this answer says
├── AlreadyExists      the name or number is taken
├── Busy               locked, or too many at once: the same call may work later
├── Rejected           the request cannot work as it is
└── ProtocolError      an answer that nobody here understands
"""

from __future__ import annotations


class ProviderError(Exception):
    """Thing, fault, remedy."""

    reason = "ProviderError"

    def __init__(self, message: str, *, reason: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        if reason is not None:
            self.reason = reason


class Unreachable(ProviderError):
    reason = "Unreachable"


class OutcomeUnknown(ProviderError):
    reason = "OutcomeUnknown"


class Unauthorized(ProviderError):
    reason = "CredentialsRefused"


class MissingPrivilege(ProviderError):
    reason = "MissingPrivilege"


class NotFound(ProviderError):
    reason = "NotFound"


class AlreadyExists(ProviderError):
    reason = "AlreadyExists"


class Busy(ProviderError):
    reason = "Busy"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        remedy: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """`retry_after_s`: how long the other side wants to be left alone; None: it did not say."""
        super().__init__(message, reason=reason, remedy=remedy)
        self.retry_after_s = retry_after_s


class Rejected(ProviderError):
    reason = "Rejected"


class BasePathChanged(Rejected):
    """A data server shows its user another tree than when the connection was opened; one that is opened anew takes it
    as it is."""

    reason = "BasePathChanged"


class ProtocolError(ProviderError):
    reason = "ProtocolError"
