"""What a measurement says: one JSON object a line for machines, one table for people."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One figure. Without a `gate` it is only reported."""

    name: str
    value: float
    unit: str
    reference: float | None = None
    """What `value` is compared with, in the same unit, measured in the same run."""
    gate: float | None = None
    """The most that the ratio (without a reference: the value) may be."""

    @property
    def ratio(self) -> float | None:
        return self.value / self.reference if self.reference else None

    @property
    def passed(self) -> bool | None:
        """None: nothing is demanded."""
        if self.gate is None:
            return None
        judged = self.value if self.ratio is None else self.ratio
        return judged <= self.gate

    def line(self) -> str:
        """As it stands in the file."""
        shown = {name: _rounded(value) for name, value in asdict(self).items()}
        order = {"reference": shown["reference"], "ratio": _rounded(self.ratio), "gate": shown["gate"]}
        head = {name: shown[name] for name in ("name", "value", "unit")}
        return json.dumps({**head, **order, "pass": self.passed})


def write(results: Iterable[Result], path: Path) -> None:
    """Append the results to `path`."""
    with path.open("a", encoding="utf-8") as file:
        for result in results:
            file.write(result.line() + "\n")


def table(results: Iterable[Result]) -> str:
    """For a terminal."""
    rows = [("NAME", "VALUE", "UNIT", "REFERENCE", "RATIO", "GATE", "")]
    verdicts = {None: "", True: "ok", False: "FAILED"}
    for result in results:
        gate = "" if result.gate is None else f"<= {result.gate:g}"
        rows.append(
            (
                result.name,
                _shown(result.value),
                result.unit,
                _shown(result.reference),
                _shown(result.ratio),
                gate,
                verdicts[result.passed],
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _rounded(value: object) -> object:
    return float(f"{value:.6g}") if isinstance(value, float) else value
