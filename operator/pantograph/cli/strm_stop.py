"""Why a run stops before its end: a signal, a word from whoever ordered it, or its deadline."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field
from typing import Self

from pantograph.api.units import parse_duration
from pantograph.clock import Clock
from pantograph.strm.report import Report


@dataclass(slots=True)
class Stop:
    """Asked between two directories; whatever it was, the next run of the same spec and scope goes on there."""

    clock: Clock
    deadline: str | None
    began: float
    signalled: asyncio.Event = field(default_factory=asyncio.Event)
    asked: bool = False

    @classmethod
    def on_signals(cls, deadline: str | None, clock: Clock) -> Self:
        """Heed SIGINT and SIGTERM from now on, and `deadline` (a duration). Raises ValueError."""
        if deadline is not None:
            parse_duration(deadline)
        stop = cls(clock, deadline, clock.monotonic())
        for each in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(each, stop.signalled.set)
        return stop

    def ask(self) -> None:
        """Whoever ordered the run does not want it any more."""
        self.asked = True

    def is_set(self) -> bool:
        return self.asked or self.signalled.is_set() or self._is_late()

    def explain(self, report: Report) -> Report:
        """Let a report that says `Cancelled` say why."""
        if report.result != "Cancelled" or self.asked:
            return report
        if self.signalled.is_set():
            # Here and not above: the models of the protocol come with it, which no other run needs.
            from pantograph.api.run import INTERRUPTED

            report.reason, report.message = INTERRUPTED, "the run was told to end; the next one goes on where it was"
        elif self._is_late():
            report.result, report.reason = "Failed", "DeadlineExceeded"
            report.message = f"not done within {self.deadline}; the next run goes on where it was"
        return report

    def _is_late(self) -> bool:
        return self.deadline is not None and self.clock.monotonic() - self.began > parse_duration(self.deadline)
