"""What all tiers share: options of the command line, which pytest only takes from here."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-goldens", action="store_true", help="write the golden files anew; read the diff, then commit"
    )
