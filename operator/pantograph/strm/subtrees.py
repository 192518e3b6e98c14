"""Which part of the source a run looks at. The directories above it are listed too: nothing is proved without them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Subtrees:
    """Subtrees, relative to the source; none: the whole."""

    paths: tuple[str, ...] = ()
    shallow: bool = False
    """Of each only the directory itself and what is new in it: enough for a hint of a change."""

    @property
    def is_whole(self) -> bool:
        return not self.paths or ("" in self.paths and not self.shallow)

    def covers(self, path: str, *, known: bool) -> bool:
        """Whether the directory `path` is to be listed; `known`: it was listed before."""
        if self.is_whole:
            return True
        if any(each == path or each.startswith(f"{path}/") for each in self.paths):
            return True
        is_below = any(not each or path.startswith(f"{each}/") for each in self.paths)
        return is_below and not (self.shallow and known)

    def absorbs(self, narrow: Subtrees) -> bool:
        """Whether a run over these looks at everything that one over `narrow` would."""
        if self.is_whole:
            return True
        if narrow.is_whole:
            return False
        if self.shallow:
            return narrow.shallow and set(narrow.paths) <= set(self.paths)
        return all(any(path == above or path.startswith(f"{above}/") for above in self.paths) for path in narrow.paths)

    def __str__(self) -> str:
        return "\n".join((*sorted(self.paths), "shallow" if self.shallow else ""))
