"""What the environment says is judged before anything starts, by a message that names the variable."""

from __future__ import annotations

import pytest

from pantograph.cli.main import main
from pantograph.cli.settings import SettingsError, read_settings

POD = {"PANTOGRAPH_NAMESPACE": "pantograph-system"}


@pytest.mark.parametrize("value", ["10.244.0.1/16", "10.0.0.0/33", "10.96.0.0/12,cluster", "fd00::/129"])
def test_a_range_that_is_none_ends_the_start_with_the_variable_named(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PANTOGRAPH_NAMESPACE", "pantograph-system")
    monkeypatch.setenv("PANTOGRAPH_CLUSTER_RANGES", value)
    assert main(["run"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("pantograph: PANTOGRAPH_CLUSTER_RANGES must be ranges of addresses such as 10.96.0.0/12")
    assert value.rpartition(",")[2] in said


def test_ranges_are_read_with_blanks_between() -> None:
    settings = read_settings({**POD, "PANTOGRAPH_CLUSTER_RANGES": "10.96.0.0/12, fd00:10:96::/112"})
    assert settings.cluster_ranges == ("10.96.0.0/12", "fd00:10:96::/112")


@pytest.mark.parametrize(
    ("host", "address"), [("10.96.0.1", "10.96.0.1"), ("fd00::1", "fd00::1"), ("api.example.org", None), ("", None)]
)
def test_the_api_server_is_known_by_the_address_that_every_container_is_given(host: str, address: str | None) -> None:
    assert read_settings({**POD, "KUBERNETES_SERVICE_HOST": host}).api_address == address


def test_the_pod_is_known_by_its_address_which_also_hears_runs() -> None:
    settings = read_settings({**POD, "PANTOGRAPH_POD_IP": "fd00::7"})
    assert (settings.pod_address, settings.address) == ("fd00::7", "[fd00::7]:8443")
    with pytest.raises(SettingsError, match="PANTOGRAPH_POD_IP must be an IP address, not 'pod'"):
        read_settings({**POD, "PANTOGRAPH_POD_IP": "pod"})
