"""Log lines that say which object they are about, as JSON for machines or as text for a terminal.

The object's kind, namespace, name and uid, and the token of its operation, are context variables: the skeleton sets
them once, and every line written below it carries them, whoever writes it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, TextIO

from pythonjsonlogger.json import JsonFormatter

Format = Literal["json", "console"]

_context: ContextVar[Mapping[str, str]] = ContextVar("log_context", default={})  # noqa: B039  # never changed in place


@contextmanager
def about(**fields: str | None) -> Iterator[None]:
    """Within the block every log line carries `fields` (None: absent), on top of what is set already."""
    token = _context.set({**_context.get(), **{name: value for name, value in fields.items() if value is not None}})
    try:
        yield
    finally:
        _context.reset(token)


class _AddContext(logging.Filter):
    """On the handler, so that lines of libraries get the context too."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in _context.get().items():
            # `name` is the logger's own attribute: the object's is `object_name`.
            setattr(record, "object_name" if name == "name" else name, value)
        return True


class _ConsoleFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        context = dict(_context.get())
        where = "/".join(context.pop(name) for name in ("kind", "namespace", "name") if name in context)
        context.pop("uid", None)
        rest = " ".join(f"{name}={value}" for name, value in context.items())
        tail = " ".join(part for part in (where, rest) if part)
        return f"{line}  [{tail}]" if tail else line


def configure(*, format: Format = "json", level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send all log lines of the process to `stream` (standard error), replacing what was configured."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.addFilter(_AddContext())
    if format == "json":
        handler.setFormatter(
            JsonFormatter(
                "%(levelname)s %(name)s %(message)s",
                rename_fields={"levelname": "level", "name": "logger"},
                timestamp=True,
            )
        )
    else:
        handler.setFormatter(_ConsoleFormatter("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # One line per watch event otherwise; its errors and reconnections are at WARNING.
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
