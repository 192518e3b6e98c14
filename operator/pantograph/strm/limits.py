"""Whether what a run found gone may be removed: the limits, judged before the first removal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pantograph.strm.spec import PruneRules

SMALL_LIBRARY: Final = 20
"""Of so few files five per cent are none, and half of them is ten: more than one needs a person's word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a run found, in files."""

    inventory: int
    """Owned, before anything is removed."""
    candidates: int
    """Gone, as far as this run saw, and ours and unmodified; confirmed or not."""
    ready: int
    """Of these, the ones that are gone beyond doubt."""
    recent: int = 0
    """Removed within the last `minAge`: many small runs must not add up to what one may not do."""
    source_is_empty: bool = False


def allowed(rules: PruneRules, *, inventory: int) -> int:
    """How many files may go: the smaller of both limits."""
    if inventory < SMALL_LIBRARY:
        return min(1, rules.max_percent, rules.max_count)
    return min(rules.max_count, inventory * rules.max_percent // 100)


def blocked(rules: PruneRules, situation: Situation) -> str:
    """Why nothing may be removed; empty: it may."""
    ready, inventory = situation.ready, situation.inventory
    if situation.source_is_empty and situation.candidates and not rules.allow_empty_source:
        return "the source is empty, which is what a failed storage looks like as well"
    if not ready:
        return ""
    if ready >= inventory and not rules.allow_empty_source:
        return f"nothing would be left of {inventory} files"
    limit = allowed(rules, inventory=inventory + situation.recent)
    if ready + situation.recent > limit:
        before = f" after {situation.recent} removed lately" if situation.recent else ""
        return f"{ready} of {inventory} files would be removed{before}; the limits allow {limit}"
    return ""
