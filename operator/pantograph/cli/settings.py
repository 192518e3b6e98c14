"""What `pantograph run` is told, by the environment alone: the chart's README lists the variables."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Literal, cast

from pantograph.api.units import parse_duration, parse_quantity
from pantograph.controllers.installation import SECRET_NAME
from pantograph.controllers.runs.roots import Root, parse_roots
from pantograph.controllers.runs.service import LOOPBACK, RunsSettings
from pantograph.controllers.strmsyncjob.media import DEFAULT_MAX_RUNS
from pantograph.engine.lease import LeaseTimes

PREFIX = "PANTOGRAPH_"
LOG_LEVELS = ("debug", "info", "warning", "error")


class SettingsError(ValueError):
    """A variable is missing or wrong; the message names it and says what it must be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that the process is told from outside."""

    namespace: str
    identity: str
    watch_namespaces: tuple[str, ...]
    workers: int
    http_host: str
    http_port: int
    log_format: Literal["json", "console"]
    log_level: str
    lease_name: str
    lease_namespace: str
    lease_times: LeaseTimes
    installation_secret: str
    depot_dir: Path
    depot_host: str
    depot_port: int
    depot_quota_bytes: int | None
    depot_external_url: str | None
    fetch_allow_loopback: bool
    max_runs: int
    """Runs of StrmSyncJobs at work at once."""
    cluster_ranges: tuple[str, ...]
    pod_address: str | None
    api_address: str | None
    """Of the Kubernetes API server, as Pods reach it; None outside a cluster, or if it goes by a name."""
    runs: RunsSettings
    address: str
    """Where this process hears runs, for those that asked a standby; empty: not known."""


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process. Raises SettingsError."""
    read = _Reader(os.environ if environment is None else environment)
    namespace = read.text("NAMESPACE")
    return Settings(
        namespace=namespace,
        identity=read.text("POD_NAME", socket.gethostname()),
        watch_namespaces=read.words("WATCH_NAMESPACES"),
        workers=read.number("WORKERS", 8, least=1),
        http_host=read.text("HTTP_HOST", "0.0.0.0"),  # noqa: S104 - the pod's own address is not known beforehand
        http_port=read.number("HTTP_PORT", 8080),
        log_format=cast('Literal["json", "console"]', read.choice("LOG_FORMAT", ("json", "console"))),
        log_level=read.choice("LOG_LEVEL", LOG_LEVELS, "info"),
        lease_name=read.text("LEASE_NAME", "pantograph"),
        lease_namespace=read.text("LEASE_NAMESPACE", namespace),
        lease_times=_lease_times(read),
        installation_secret=read.text("INSTALLATION_SECRET", SECRET_NAME),
        depot_dir=Path(read.text("DEPOT_DIR", "/var/lib/pantograph/depot")),
        depot_host=read.text("DEPOT_HOST", "0.0.0.0"),  # noqa: S104 - likewise
        depot_port=read.number("DEPOT_PORT", 8081),
        depot_quota_bytes=read.quantity("DEPOT_QUOTA"),
        depot_external_url=read.text("DEPOT_EXTERNAL_URL", "").rstrip("/") or None,
        fetch_allow_loopback=read.choice("FETCH_ALLOW_LOOPBACK", ("true", "false"), "false") == "true",
        max_runs=read.number("MAX_RUNS", DEFAULT_MAX_RUNS, least=1),
        cluster_ranges=read.ranges("CLUSTER_RANGES"),
        pod_address=read.address("POD_IP"),
        api_address=_api_address(read.environment),
        runs=_runs(read),
        address=_address(read),
    )


def _runs(read: _Reader) -> RunsSettings:
    port = read.number("RUNS_PORT", 8443)
    return RunsSettings(
        host=read.text("RUNS_HOST", "0.0.0.0"),  # noqa: S104 - likewise
        port=port,
        url=read.text("RUNS_URL", f"https://{LOOPBACK}:{port}"),
        image=read.text("IMAGE", "pantograph"),
        pull_policy=read.text("IMAGE_PULL_POLICY", "IfNotPresent"),
        pull_secrets=read.words("IMAGE_PULL_SECRETS"),
        roots=read.roots("ROOTS"),
        directory=Path(read.text("RUNS_DIR", "/run/pantograph")),
    )


def _api_address(environment: Mapping[str, str]) -> str | None:
    """Kubernetes gives it to every container, mostly as an address."""
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    try:
        return str(ip_address(host))
    except ValueError:
        return None


def _address(read: _Reader) -> str:
    address = read.address("POD_IP") or ""
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{read.number('RUNS_PORT', 8443)}" if host else ""


def _lease_times(read: _Reader) -> LeaseTimes:
    default = LeaseTimes()
    duration = read.seconds("LEASE_DURATION", default.duration)
    deadline = read.seconds("LEASE_RENEW_DEADLINE", default.renew_deadline)
    if deadline >= duration:
        raise SettingsError(f"{PREFIX}LEASE_RENEW_DEADLINE must be shorter than {PREFIX}LEASE_DURATION")
    retry = read.seconds("LEASE_RETRY_PERIOD", default.renew_every)
    return LeaseTimes(duration=duration, renew_deadline=deadline, renew_every=retry, request=min(3.0, deadline / 3))


@dataclass(frozen=True, slots=True)
class _Reader:
    environment: Mapping[str, str]

    def text(self, name: str, default: str | None = None) -> str:
        value = self.environment.get(PREFIX + name, "").strip() or default
        if value is None:
            raise SettingsError(f"{PREFIX}{name} is not set")
        return value

    def words(self, name: str) -> tuple[str, ...]:
        return tuple(word for each in self.text(name, "").split(",") if (word := each.strip()))

    def ranges(self, name: str) -> tuple[str, ...]:
        words = self.words(name)
        for word in words:
            try:
                ip_network(word)
            except ValueError as error:
                raise SettingsError(
                    f"{PREFIX}{name} must be ranges of addresses such as 10.96.0.0/12, joined by commas: {error}"
                ) from error
        return words

    def address(self, name: str) -> str | None:
        value = self.text(name, "")
        try:
            return str(ip_address(value)) if value else None
        except ValueError as error:
            raise SettingsError(f"{PREFIX}{name} must be an IP address, not {value!r}") from error

    def number(self, name: str, default: int, *, least: int = 0) -> int:
        value = self.text(name, str(default))
        if not value.isdecimal() or int(value) < least:
            raise SettingsError(f"{PREFIX}{name} must be a number from {least} on, not {value!r}")
        return int(value)

    def choice(self, name: str, choices: tuple[str, ...], default: str | None = None) -> str:
        value = self.text(name, default or choices[0]).lower()
        if value not in choices:
            raise SettingsError(f"{PREFIX}{name} must be one of {', '.join(choices)}, not {value!r}")
        return value

    def seconds(self, name: str, default: float) -> float:
        value = self.text(name, "")
        try:
            return parse_duration(value) if value else default
        except ValueError as error:
            raise SettingsError(f"{PREFIX}{name} must be a duration such as 15s, not {value!r}") from error

    def roots(self, name: str) -> tuple[Root, ...]:
        try:
            return parse_roots(self.text(name, "[]"))
        except ValueError as error:
            raise SettingsError(f"{PREFIX}{name} must be a JSON list of {{name, path, namespaces}}: {error}") from error

    def quantity(self, name: str) -> int | None:
        value = self.text(name, "")
        try:
            return parse_quantity(value) if value else None
        except ValueError as error:
            raise SettingsError(f"{PREFIX}{name} must be an amount such as 45Gi, not {value!r}") from error
