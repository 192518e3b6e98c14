"""A parent that is to be killed: `python -m tests.contract.runs.parent DIRECTORY ENDPOINT TOKEN` starts one child.

It prints the child's process id once the child is at work, and waits.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import psutil

from tests.contract.runs.lab import RUN, job, running_lab, slow_server
from tests.contract.runs.test_children import begin


async def main(folder: Path, endpoint: str, token: str) -> None:
    async with running_lab(folder) as lab:
        await lab.put_secret("openlist", token=token)
        await lab.declare(slow_server(endpoint), job())
        await begin(lab, RUN)
        (child,) = psutil.Process().children()
        print(child.pid, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
