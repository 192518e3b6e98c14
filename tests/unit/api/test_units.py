"""Durations and quantities as people write them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from pantograph.api.execution import Cpu, Memory
from pantograph.api.meta import Duration, Quantity
from pantograph.api.units import parse_cpu, parse_duration, parse_quantity


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("30s", 30), ("10m", 600), ("1h30m", 5400), ("250ms", 0.25), ("1m1m", 120)]
)
def test_a_duration_is_the_sum_of_its_parts(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "10", "1d", "PT1H", "-5s", "5 s", "5s ", "1.5h", "s"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{text!r} is not a duration: write for example 30s")):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("1024", 1024),
        ("512Mi", 512 * 1024**2),
        ("32Gi", 32 * 1024**3),
        ("1.5Gi", 3 * 1024**3 // 2),
        ("2T", 2 * 1000**4),
        ("1k", 1000),
        ("0.1", 1),
        ("0.3Ki", 308),
    ],
)
def test_a_quantity_counts_bytes_and_rounds_up(text: str, count: int) -> None:
    assert parse_quantity(text) == count


@pytest.mark.parametrize("text", ["", "Gi", "1gi", "1GB", "-1", "1e3", "1.", ".5", "1 Gi", "5m"])
def test_what_is_no_quantity_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{text!r} is not an amount of bytes: write for example 512Mi")):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "count"), [("250m", 250), ("2", 2000), ("1.5", 1500), ("0.001", 1), ("0.02", 20), ("0m", 0)]
)
def test_an_amount_of_cpu_counts_thousandths_of_a_core(text: str, count: int) -> None:
    assert parse_cpu(text) == count


@pytest.mark.parametrize("text", ["", "m", "1.", ".5", "1.5m", "0.0005", "2 ", "1k"])
def test_what_is_no_amount_of_cpu_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{text!r} is not an amount of CPU: write for example 250m or 1.5")):
        parse_cpu(text)


def pattern_of(annotation: Any) -> str:
    return str(TypeAdapter(annotation).json_schema()["pattern"])


@given(st.from_regex(pattern_of(Cpu), fullmatch=True), st.from_regex(pattern_of(Memory), fullmatch=True))
def test_every_amount_of_cpu_and_memory_that_the_schema_takes_can_be_read(cpu: str, memory: str) -> None:
    assert (parse_cpu(cpu) >= 0, parse_quantity(memory) >= 0) == (True, True)


@given(st.from_regex(pattern_of(Duration), fullmatch=True))
def test_every_duration_that_the_schema_takes_can_be_read(text: str) -> None:
    assert parse_duration(text) >= 0


@given(st.from_regex(pattern_of(Quantity), fullmatch=True))
def test_every_quantity_that_the_schema_takes_can_be_read(text: str) -> None:
    assert parse_quantity(text) >= 0
