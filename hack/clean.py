"""Removes what set-up and tests left in this checkout, or (`cache`) the cache that all checkouts share."""

import shutil
import sys
from pathlib import Path

from hack.cache import cache_dir
from hack.controlplane.build import remove_tree

CHECKOUT = Path(__file__).parents[1]
LEFTOVERS = (".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".import_linter_cache", "dist")


def main(parts: list[str]) -> int:
    """Remove the checkout's leftovers, or the cache; the exit status."""
    if parts == ["cache"]:
        print(f"removing {cache_dir()}", flush=True)
        remove_tree(cache_dir())
        return 0
    for name in LEFTOVERS:
        shutil.rmtree(CHECKOUT / name, ignore_errors=True)
    for path in (*CHECKOUT.glob("bench*.jsonl"), CHECKOUT / ".venv.lock"):
        path.unlink(missing_ok=True)
    for cached in CHECKOUT.rglob("__pycache__"):
        shutil.rmtree(cached, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
