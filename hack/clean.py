"""Removes what set-up and tests left in this checkout, or (`cache`) the cache that all checkouts share."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from hack.cache import cache_dir, describe, holder
from hack.controlplane.build import remove_tree

CHECKOUT = Path(__file__).parents[1]
LEFTOVERS = (".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".import_linter_cache", "dist")


def main(parts: list[str]) -> int:
    """Remove the checkout's leftovers, or the cache; the exit status."""
    if parts == ["cache"]:
        return _remove_cache(cache_dir())
    for name in LEFTOVERS:
        shutil.rmtree(CHECKOUT / name, ignore_errors=True)
    for path in (*CHECKOUT.glob("bench*.jsonl"), CHECKOUT / ".venv.lock"):
        path.unlink(missing_ok=True)
    for cached in CHECKOUT.rglob("__pycache__"):
        shutil.rmtree(cached, ignore_errors=True)
    return 0


def _remove_cache(cache: Path) -> int:
    if users := sorted({*_holders(cache), *map(describe, _living_nodes(cache)), *map(describe, _running_from(cache))}):
        print(f"{cache} is in use and stays:", *(f"  {user}" for user in users), sep="\n", file=sys.stderr)
        print("end these (`make down` in that folder ends a control plane), then: make clean-all", file=sys.stderr)
        return 1
    print(f"removing {cache}", flush=True)
    remove_tree(cache)
    return 0


def _holders(cache: Path) -> Iterator[str]:
    """Who makes something in the cache just now, or runs a control plane."""
    for lock in (*cache.glob("*.lock"), *cache.glob("*/lock"), *cache.glob("up/*/*lock")):
        if (user := holder(lock)) is not None:
            yield user


def _living_nodes(cache: Path) -> Iterator[int]:
    """The processes that have a node: its folder is named after them, and stays when they are killed."""
    for folder in cache.glob("node/[0-9]*"):
        if Path("/proc", folder.name).exists():
            yield int(folder.name)


def _running_from(cache: Path) -> Iterator[int]:
    """The processes whose program is one of the cache, as those of a test's control plane."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            program = (process / "exe").readlink()
        except OSError:  # it has ended, is the kernel's own, or another user's
            continue
        if program.is_relative_to(cache.resolve()):
            yield int(process.name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
