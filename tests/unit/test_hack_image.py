"""What the image is made of: the versions that are tested, nothing else, each with its hashes."""

import re
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
DOCKERFILE = CHECKOUT / "hack" / "image" / "Dockerfile"
LOCKED = re.compile(r"^([a-z0-9][a-z0-9.-]*)==(\S+)(.*?)(?=^[a-z0-9]|\Z)", re.M | re.S)


def locked(name: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Package → version and hashes."""
    text = (CHECKOUT / "hack" / name).read_text()
    return {
        package: (version, frozenset(re.findall(r"sha256:\w{64}", rest)))
        for package, version, rest in LOCKED.findall(text)
    }


def test_the_image_holds_what_is_tested_to_the_byte() -> None:
    tested = locked("requirements.lock")
    for file in ("image/requirements.lock", "image/build.lock"):
        pinned = locked(file)
        assert pinned, file
        assert {package: tested.get(package) for package in pinned} == pinned, f"{file} is stale: write it anew"
        assert all(hashes for _, hashes in pinned.values())


def test_the_image_holds_every_dependency_and_no_tool_of_the_developers() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    pinned = set(locked("image/requirements.lock"))
    assert {_name(each) for each in project["project"]["dependencies"]} <= pinned
    assert {"pytest", "mypy", "ruff", "hypothesis"}.isdisjoint(pinned)


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return re.sub(r"[._]+", "-", found[0]).lower()


def test_an_image_is_built_only_if_every_command_that_it_is_started_with_can_be_imported() -> None:
    check = next(line for line in DOCKERFILE.read_text().splitlines() if "python -c" in line)
    for command in ("run", "strm"):
        assert f"pantograph.cli.{command}" in check
