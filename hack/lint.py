"""Runs every check that needs no test, all of them even if one fails, so that one run shows everything to mend."""

import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent

CHECKS = {
    "ruff check": ("ruff", "check", "-q"),
    "ruff format": ("ruff", "format", "--check", "-q"),
    "mypy --strict": ("mypy", "--no-error-summary"),
    "direction of imports": ("lint-imports", "--no-logo"),
    "generated files": ("pantograph", "crds", "--check"),
}
_REMEDIES = {"ruff format": "run: .venv/bin/ruff format", "generated files": "run: make generate"}


def passes(name: str, command: tuple[str, ...]) -> bool:
    """Run one check and print its verdict and, if it fails, what it said."""
    began = time.monotonic()
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    verdict = "ok" if done.returncode == 0 else "FAILED"
    print(f"lint: {name:<21} {verdict} ({time.monotonic() - began:.1f} s)", flush=True)
    if done.returncode != 0:
        print("\n".join(text.strip() for text in (done.stdout, done.stderr, _REMEDIES.get(name, "")) if text.strip()))
    return done.returncode == 0


def main() -> int:
    """Run all checks; the exit status is 1 if one failed."""
    verdicts = [passes(name, command) for name, command in CHECKS.items()]
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
