"""The process that watches one folder for another process, and tells it of changes until that one is gone.

Apart from it, because whoever sets up inotify below a folder walks all of it first, and `watchfiles` holds the whole
interpreter for so long: minutes, for many directories on a disk that has to look for each of them. It imports next to
nothing, for its memory is needed once a watched folder.

`python -m pantograph.providers.media.watchprocess FOLDER` writes one JSON object a line:

- `{"rescan": true}` once the watch stands, and whenever more has changed than is worth telling one by one;
- `{"changes": [["changed", PATH], ["deleted", PATH], ["directory", PATH], …]}`, the last for a directory that
  came to be there: made, or moved to the place of another;
- `{"fault": WHY}`, if the kernel sets up no watch, and then it ends.

It ends when its standard input closes.
"""

from __future__ import annotations

import json
import os
import select
import stat
import sys
from itertools import chain
from typing import Any, Final

FLOOD: Final = 4096
"""Changes in one batch from which on one rescan is cheaper, and the kernel's queue (16,384) may have overflowed."""
LINE_BYTES: Final = 1 << 20
"""No line is longer."""
_TICK_MS: Final = 500
_RESCAN: Final = {"rescan": True}


def main(folder: str) -> None:
    """Tell of changes below `folder` until nobody listens."""
    # Here and not above: whoever reads the lines wants the constants alone.
    from watchfiles import Change, watch

    batches = watch(
        folder,
        watch_filter=None,
        rust_timeout=_TICK_MS,
        yield_on_timeout=True,
        debug=False,
        force_polling=False,
        ignore_permission_denied=True,
    )
    try:
        first = next(batches)  # empty perhaps: it is the proof that the watch stands
    except OSError as error:
        _say({"fault": str(error)})
        return
    _say(_RESCAN)
    for changes in chain([first], batches):
        if select.select([sys.stdin], [], [], 0)[0]:
            return
        if len(changes) > FLOOD:
            _say(_RESCAN)
            continue
        told = [
            ("deleted" if change is Change.deleted else _what_is_at(path, came=change is Change.added), path)
            for change, path in sorted(changes, key=lambda each: each[1])
        ]
        if told and not _say({"changes": told}):
            _say(_RESCAN)


def _what_is_at(path: str, *, came: bool) -> str:
    """A directory that is told as changed only is the same one as before, and what changed in it is told apart."""
    try:
        is_directory = came and stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:  # it is gone again, which is told next
        is_directory = False
    return "directory" if is_directory else "changed"


def _say(what: dict[str, Any]) -> bool:
    """False: it would be too long a line."""
    line = json.dumps(what)
    if len(line) >= LINE_BYTES:
        return False
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    return True


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except BrokenPipeError:
        os._exit(0)  # nobody listens any more; Python's own end would try to write once more, and say so
