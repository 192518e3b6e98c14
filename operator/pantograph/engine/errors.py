"""How a step says that it cannot go on: the error's type decides what happens next.

    StepError
    ├── Waiting      a dependency is not there yet: come back when it changes, or after a while
    ├── Transient    it should have worked: try again with back-off
    └── Terminal     it cannot work as things are: Stalled, until the spec or the outside facts change

The message names the thing and its fault, the remedy is the command that mends it. Both end in a condition, so they are
stable text (no counters, no times) and hold no secret.
"""

from __future__ import annotations

from pantograph.api.conditions import MESSAGE_BYTES, truncate


def worded(message: str, remedy: str | None = None) -> str:
    """Message and remedy as people read them, within the limit; a long message gives way to its remedy."""
    if remedy is None:
        return truncate(message)
    tail = f"; to mend it: {remedy}"
    room = MESSAGE_BYTES - len(tail.encode())
    if room < MESSAGE_BYTES // 4:
        return truncate(message + tail)
    return truncate(message, room) + tail


class StepError(Exception):
    """Base of the three; raise one of them."""

    def __init__(self, reason: str, message: str, *, remedy: str | None = None) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        """PascalCase, states a fact; becomes the condition's reason."""
        self.message = message
        self.remedy = remedy

    @property
    def text(self) -> str:
        """What the condition's message says: the fault and its remedy, at most 1 KiB."""
        return worded(self.message, self.remedy)


class Waiting(StepError):
    """Something else has to happen first.

    The key comes back when an object it refers to changes, and after `after` seconds; without `after`, with back-off.
    """

    def __init__(self, reason: str, message: str, after: float | None = None, *, remedy: str | None = None) -> None:
        super().__init__(reason, message, remedy=remedy)
        self.after = after


class Transient(StepError):
    """A fault that may pass by itself: tried again with per-key exponential back-off, or after `after` seconds."""

    def __init__(self, reason: str, message: str, after: float | None = None, *, remedy: str | None = None) -> None:
        super().__init__(reason, message, remedy=remedy)
        self.after = after


class Terminal(StepError):
    """Repeating it is useless as things are: `Stalled`.

    Judged again when the spec or a referred object changes, on the `reconcile-at` annotation, and every `interval`:
    people run the remedy on the outside, not on the object.
    """
