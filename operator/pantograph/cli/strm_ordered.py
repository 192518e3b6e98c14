"""A run that somebody has ordered: its options, where it reports, and that it ends with whoever ordered it."""

from __future__ import annotations

import os
import shutil
import threading
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pantograph.strm.errors import StrmError

if TYPE_CHECKING:
    from yarl import URL


def configure(parser: ArgumentParser) -> None:
    """The options of a run that somebody has ordered."""
    group = parser.add_argument_group("reporting to an operator")
    group.add_argument("--report", type=_url, metavar="URL", help="where progress and result are posted")
    group.add_argument("--token-file", type=Path, metavar="FILE", help="what proves that this is that run")
    group.add_argument("--ca-file", type=Path, metavar="FILE", help="the authority to trust there")
    group.add_argument("--message-file", type=Path, metavar="FILE", help="the result is also left here, in 4 KiB")
    group.add_argument(
        "--until-stdin-closes", type=Path, metavar="DIR", help="end when standard input closes, and remove DIR"
    )


def _url(text: str) -> URL:
    # Here and not above: a run that reports to nobody, over a folder, has no other use for addresses.
    from yarl import URL

    try:
        return URL(text)
    except ValueError as error:
        raise ArgumentTypeError(f"invalid URL value: {text!r}") from error


def bind_to_parent(folder: Path) -> None:
    """End this process at once when standard input closes: whoever started it is gone, and another may take its place.

    At once is safe (whatever a kill leaves, the next run resumes), and a thread sees it whatever the event loop does.
    """

    def watch() -> None:
        while os.read(0, 4096):
            pass
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


@dataclass(frozen=True, slots=True)
class Place:
    """Where to report, and how to prove who we are."""

    url: URL
    token_file: Path
    ca_file: Path
    message_file: Path | None = None

    @classmethod
    def of(cls, arguments: Namespace) -> Place | None:
        """None: nobody wants to hear. Raises StrmError."""
        if arguments.report is None:
            return None
        if arguments.token_file is None or arguments.ca_file is None:
            raise StrmError("InvalidSpec", "--report needs --token-file and --ca-file")
        return cls(arguments.report, arguments.token_file, arguments.ca_file, arguments.message_file)
