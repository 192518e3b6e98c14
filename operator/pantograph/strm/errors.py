"""Why a run cannot go on at all: thing, fault, remedy. What concerns one file is an `Issue` of the report instead."""

from __future__ import annotations


class StrmError(Exception):
    """Ends the run; `reason` is a condition's reason, `remedy` what a person can do."""

    def __init__(self, reason: str, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message
