"""The command line: one subcommand a module, each with `configure(parser)` and `run(arguments) -> exit code`."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from importlib import import_module
from typing import Final

COMMANDS: Final = {
    "run": "run the operator",
    "strm": "mirror a media tree as .strm files, alone",
    "crds": "write the custom resource definitions from the models",
}
"""Subcommand and its help. Its module is imported only when it is called for: `crds` needs no kopf."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (default: the process's) names, and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = ArgumentParser("pantograph", description="Keeps correct copies of one declared master.")
    subparsers = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name in words[:1]:
            command = import_module(f"pantograph.cli.{name}")
            command.configure(subparser)
            subparser.set_defaults(run=command.run)
    arguments = parser.parse_args(words)
    return int(arguments.run(arguments))


if __name__ == "__main__":
    sys.exit(main())
