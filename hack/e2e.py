"""Runs the tests of tests/e2e on a real node: `python -m hack.e2e [pytest's options]`.

The image is built and what is missing is fetched first; then everything happens in namespaces without a way out. A
machine that cannot run a node skips the tests, and says why.
"""

import os
import sys
import time
from pathlib import Path

from hack.image.build import image
from hack.node.__main__ import set_up
from hack.node.requirements import missing_requirements
from hack.node.world import isolated
from hack.tools import SetupError

CHECKOUT = Path(__file__).parents[1]
IMAGE = "PANTOGRAPH_E2E_IMAGE"
ARCHIVE = "PANTOGRAPH_E2E_ARCHIVE"


def main(options: list[str]) -> int:
    """The exit status of pytest, or 1 if it could not be started."""
    tests = [sys.executable, "-m", "pytest", str(CHECKOUT / "tests" / "e2e"), *options]
    if missing_requirements():
        os.execv(tests[0], tests)  # the tests ask again, and give the reasons
    try:
        set_up()
        built = image()
        os.environ |= {IMAGE: built.name, ARCHIVE: str(built.archive)}
        began = time.monotonic()
        status = isolated(tests)
    except SetupError as error:
        print(f"e2e: {error}", file=sys.stderr)
        return 1
    print(f"e2e: {time.monotonic() - began:.0f} s on the node", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
