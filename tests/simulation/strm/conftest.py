"""What several scenarios watch."""

from __future__ import annotations

import pytest

from pantograph.strm.manifest import Manifest


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many each run has made, from the first to the last."""
    counted: list[int] = []
    original = Manifest.close

    def close(manifest: Manifest) -> None:
        counted.append(manifest.commits)
        original(manifest)

    monkeypatch.setattr(Manifest, "close", close)
    return counted
