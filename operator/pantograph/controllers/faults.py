"""The one table from what went wrong outside to what happens next."""

from __future__ import annotations

from typing import Final

from pantograph.depot.errors import DepotError
from pantograph.engine.errors import StepError, Terminal, Transient, Waiting
from pantograph.providers import errors as provider

UNREACHABLE_RETRY_S: Final = 30.0
"""An unreachable cluster is asked again this often; its observer is shared, whatever the number of objects."""


def step_error(error: Exception) -> StepError | None:
    """The error as a step's; None: nobody foresaw it."""
    match error:
        case provider.Unreachable():
            return Waiting(error.reason, error.message, after=UNREACHABLE_RETRY_S, remedy=error.remedy)
        case (
            provider.OutcomeUnknown()
            | provider.Busy()
            | provider.NotFound()
            | provider.AlreadyExists()
            | provider.ProtocolError()
        ):
            return Transient(error.reason, error.message, remedy=error.remedy)
        case provider.ProviderError():
            return Terminal(error.reason, error.message, remedy=error.remedy)
        case DepotError():
            kind = Transient if error.transient else Terminal
            return kind(error.reason, error.message, remedy=error.remedy)
    return None
