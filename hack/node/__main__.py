"""Runs a command where a node can be started: `python -m hack.node COMMAND…`, for example a shell."""

import sys

from hack.controlplane import build
from hack.node import packages
from hack.node.requirements import missing_requirements
from hack.node.world import isolated
from hack.tools import SetupError


def main(command: list[str]) -> int:
    """Set up what is missing, run the command inside, and return its exit status."""
    if not command:
        print(__doc__, file=sys.stderr)
        return 2
    if missing := missing_requirements():
        print("\n".join(("node: this machine cannot run one:", *missing)), file=sys.stderr)
        return 1
    try:
        set_up()
        return isolated(command)
    except SetupError as error:
        print(f"node: {error}", file=sys.stderr)
        return 1


def set_up() -> None:
    """What needs the network, and so cannot be done inside."""
    packages.install_packages()
    packages.containerd()
    build.binaries((*build.MODULES, *build.NODE_MODULES))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
