"""What can go wrong between an origin and a stored image, each with its behaviour and the way to mend it."""

from __future__ import annotations

from typing import ClassVar


class DepotError(Exception):
    """Something about an image that a person may have to know.

    `message` names the thing and the fault, `remedy` what mends it (may be empty). Neither ever holds a header,
    a password or the query of a URL.
    """

    reason: ClassVar[str] = "DepotFailed"
    """PascalCase, for a condition."""
    transient: ClassVar[bool] = False
    """True if trying again later can succeed although nobody changed anything."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class SourceUnreachable(DepotError):
    """No connection, no name, no valid certificate, a cut connection, or an answer that asks to come back later."""

    reason = "SourceUnreachable"
    transient = True


class SourceStalled(DepotError):
    """Connected, but no byte came for the stall time."""

    reason = "SourceStalled"
    transient = True


class SourceRefused(DepotError):
    """The origin answered, and the answer is no. `code` is its HTTP status."""

    reason = "SourceRefused"

    def __init__(self, message: str, *, code: int, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.code = code


class FetchForbidden(DepotError):
    """Our own policy does not allow to connect there."""

    reason = "FetchForbidden"


class ChecksumMismatch(DepotError):
    """The file as served is not the file that was declared."""

    reason = "ChecksumMismatch"


class UnsupportedImage(DepotError):
    """The bytes are whole, but no disk image that we dare hand to a hypervisor."""

    reason = "UnsupportedImage"


class DepotFull(DepotError):
    """The image does not fit beside the images that are in use."""

    reason = "DepotFull"


class ImageNotInDepot(DepotError):
    """Asked for an image that is not stored (any more); fetching it again brings it back."""

    reason = "ImageNotInDepot"
    transient = True


class DepotUnusable(DepotError):
    """The depot's own volume, or the depot itself, failed."""

    reason = "DepotUnusable"
    transient = True
