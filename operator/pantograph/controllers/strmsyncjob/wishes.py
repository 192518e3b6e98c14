"""Reasons to run, and how several of them become one run: the wider takes in the narrower."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from pantograph.api.strmstatus import Trigger
from pantograph.strm.subtrees import Subtrees

PRIORITY: Final[dict[Trigger, int]] = {"manual": 0, "watch": 1, "cron": 2}
NOTIFY_PRIORITY: Final = 3


class Cause(StrEnum):
    """Where a wish comes from, and so what is settled by the run that fulfils it."""

    INTERRUPTED = "interrupted"
    """A run was announced and its process is gone, or could not be started."""
    REQUEST = "reconcileAt"
    APPROVAL = "approval"
    REBUILD = "rebuildManifest"
    SPEC = "spec"
    CRON = "cron"
    RETRY = "retry"
    HINTS = "hints"
    NOTIFY = "notify"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Something that one run could do."""

    trigger: Trigger
    causes: frozenset[Cause]
    scope: Subtrees = field(default_factory=Subtrees)
    approve_prune: tuple[str, str] | None = None
    """The run whose candidates are approved, and their digest."""
    approve_rewrite: str | None = None
    """The run whose rewrites are approved."""
    rebuild_manifest: bool = False
    notify_only: bool = False

    @property
    def priority(self) -> int:
        """Whose turn comes first: the smaller."""
        return NOTIFY_PRIORITY if self.notify_only else PRIORITY[self.trigger]


def merge(wishes: Sequence[Wish]) -> Wish | None:
    """The run to begin now; wishes that it does not take in stay, and are found again after it.

    A wish for the whole source takes in all others. Without one, the most urgent takes in those that look at parts of
    what it looks at. The trigger is the most urgent of those taken in.
    """
    if not wishes:
        return None
    ordered = sorted(wishes, key=lambda wish: (wish.priority, not wish.scope.is_whole))
    widest = next((wish for wish in ordered if wish.scope.is_whole and not wish.notify_only), ordered[0])
    taken = [wish for wish in ordered if wish is widest or _takes_in(widest, wish)]
    return Wish(
        trigger=taken[0].trigger,
        causes=frozenset().union(*(wish.causes for wish in taken)),
        scope=widest.scope,
        approve_prune=next((wish.approve_prune for wish in taken if wish.approve_prune), None),
        approve_rewrite=next((wish.approve_rewrite for wish in taken if wish.approve_rewrite), None),
        rebuild_manifest=any(wish.rebuild_manifest for wish in taken),
        notify_only=widest.notify_only,
    )


def _takes_in(wide: Wish, narrow: Wish) -> bool:
    if narrow.notify_only:
        return True  # every run ends by telling media servers what is due
    return not wide.notify_only and wide.scope.absorbs(narrow.scope)
