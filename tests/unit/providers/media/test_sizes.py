"""Sizes as servers tell them."""

from __future__ import annotations

import pytest

from pantograph.providers.media.port import size_of


@pytest.mark.parametrize("told", [0, 12, 2**63 - 1, "0", "12", str(2**63 - 1)])
def test_a_size_is_a_number_or_its_digits(told: int | str) -> None:
    assert size_of(told) == int(told)


@pytest.mark.parametrize("told", [-1, 2**63, 10**20, str(2**63), "9" * 5000, "", "1e3", "-1", 1.0, True, None, []])
def test_what_no_file_can_have_is_no_size(told: object) -> None:
    assert size_of(told) is None
