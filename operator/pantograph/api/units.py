"""The units that people write in YAML (durations, amounts of bytes, points in time) and what they mean in numbers."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, PlainSerializer

_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
_BYTES: Final = {
    "": 1,
    **{prefix: 1000**power for power, prefix in enumerate(("k", "M", "G", "T"), start=1)},
    **{prefix: 1024**power for power, prefix in enumerate(("Ki", "Mi", "Gi", "Ti"), start=1)},
}
_DURATION: Final = re.compile(r"([0-9]+)(ms|s|m|h)")
_CPU: Final = re.compile(r"([0-9]+)m|([0-9]+(?:\.[0-9]{1,3})?)")
_QUANTITY: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(Ki|Mi|Gi|Ti|k|M|G|T|)")


def parse_duration(text: str) -> float:
    """The seconds in a `Duration` such as `1h30m`; parts add up. Raises ValueError for anything else."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration: write for example 30s, 10m or 1h30m")
    return float(sum(int(number) * _SECONDS[unit] for number, unit in parts))


def format_duration(seconds: float) -> str:
    """`seconds` as people read them and `parse_duration` does: `850ms`, `42s`, `3m20s`, `2h5m`."""
    if seconds < 10:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (0 if hours else rest, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def parse_quantity(text: str) -> int:
    """The bytes in a `Quantity` such as `1.5Gi`, a fraction of a byte rounded up as Kubernetes does.

    Raises ValueError for anything else.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an amount of bytes: write for example 512Mi or 32Gi")
    number, unit = match.groups()
    return int((Decimal(number) * _BYTES[unit]).to_integral_value(ROUND_CEILING))


def parse_cpu(text: str) -> int:
    """The thousandths of a core in an amount of CPU such as `250m` or `1.5`. Raises ValueError for anything else."""
    match = _CPU.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an amount of CPU: write for example 250m or 1.5")
    thousandths, cores = match.groups()
    return int(thousandths) if thousandths else int(Decimal(cores) * 1000)


def format_timestamp(moment: datetime) -> str:
    """`moment` as Kubernetes writes a `metav1.Time`: UTC, whole seconds, `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _whole_seconds(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)


Timestamp = Annotated[
    AwareDatetime,
    AfterValidator(_whole_seconds),
    PlainSerializer(format_timestamp, return_type=str, when_used="json"),
]
"""A `metav1.Time`. Cut to whole seconds when it is read or set, so that what is held equals what is stored."""
