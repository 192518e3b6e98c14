"""A run's side of the protocol, against the real endpoint: what it obeys, and what it does when nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random

import pytest
from yarl import URL

from hack.controlplane.process import free_ports
from pantograph.api.run import RunResult
from pantograph.cli import strm_reporting
from pantograph.cli.strm_ordered import Place
from pantograph.cli.strm_reporting import Reporter
from pantograph.clock import SystemClock
from pantograph.controllers.installation import SECRET_NAME, load_installation
from pantograph.controllers.runs.certificate import ensure_certificate
from pantograph.providers.errors import Busy
from pantograph.providers.media.bucket import RateBucket
from pantograph.strm.report import Progress, Report
from tests.contract.runs.lab import KEY, RUN, Lab, claimed, remote, service_on
from tests.fakes.apiserver import ApiServer

DONE = Report(RUN, "manual", "Succeeded")


@pytest.fixture
async def place(lab: Lab) -> Place:
    """Where a child with its secret reports."""
    await lab.declare(remote(requestsPerMinute=600), claimed())
    lab.service.registry.enter(RUN, key=KEY, server=lab.order().server.key, secret="secret")
    (lab.folder / "token").write_text("secret")
    (lab.folder / "ca").write_text(lab.service.authority)
    url = URL(f"https://127.0.0.1:{lab.settings.port}/v1/runs/{RUN}")
    return Place(url, lab.folder / "token", lab.folder / "ca", lab.folder / "message")


@asynccontextmanager
async def reporting(place: Place) -> AsyncIterator[tuple[Reporter, RateBucket, asyncio.Event]]:
    cancelled = asyncio.Event()
    bucket = RateBucket(
        "nas",
        SystemClock(),
        Random(1),
        per_second=1,
        burst=1,
        on_change=lambda cooldown: reporter.cooled(cooldown),  # noqa: PLW0108 - it is made below
    )
    reporter = Reporter(place, clock=SystemClock(), bucket=bucket, alone_per_minute=60, cancel=cancelled.set)
    await reporter.open()
    try:
        yield reporter, bucket, cancelled
    finally:
        await reporter.close()


def rate(bucket: RateBucket) -> float:
    """Requests a minute."""
    return 60 / bucket._limiter._interval_s


async def test_the_first_answer_is_awaited_and_its_share_taken(lab: Lab, place: Place) -> None:
    async with reporting(place) as (_, bucket, _cancelled):
        assert rate(bucket) == pytest.approx(600)


async def test_a_change_of_phase_is_said_at_once_and_a_cancel_heard_with_it(lab: Lab, place: Place) -> None:
    async with reporting(place) as (reporter, _, cancelled):
        lab.service.registry.cancel(RUN)
        reporter.progress(Progress(phase="Prune", dirs_done=7))
        await asyncio.wait_for(cancelled.wait(), 3)
        known = lab.service.registry.get(RUN)
        assert known is not None
        assert known.progress is not None
        assert (known.progress.phase, known.progress.dirs_done) == ("Prune", 7)


async def test_a_ban_is_told_to_all_and_one_that_was_heard_is_not_told_back(lab: Lab, place: Place) -> None:
    server = lab.order().server.key
    async with reporting(place) as (_, bucket, _cancelled):
        with pytest.raises(Busy):
            async with bucket.call():
                raise Busy("too many requests", retry_after_s=100)
        while lab.service.cooldowns.left(server) is None:
            await lab.news()
    left = lab.service.cooldowns.left(server)
    assert left is not None
    assert 90 < left.seconds < 115
    async with reporting(place) as (other, bucket, _cancelled):
        assert bucket.cooldown is not None
        assert other._own_cooldown() is None


async def test_a_result_is_repeated_until_it_is_recorded_and_also_left_behind(lab: Lab, place: Place) -> None:
    async with reporting(place) as (reporter, _, _cancelled):
        telling = asyncio.create_task(reporter.conclude(DONE, hurry=asyncio.Event()))
        while not ((known := lab.service.registry.get(RUN)) and known.result):
            await lab.news()
        assert not telling.done()
        lab.service.registry.forget(RUN)
        await asyncio.wait_for(telling, 5)
    assert RunResult.model_validate_json((lab.folder / "message").read_text()).result == "Succeeded"


async def test_a_run_that_was_told_to_end_does_not_wait_for_long(
    lab: Lab, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(strm_reporting, "RECORDED_WITHIN_GRACE_S", 0.5)
    async with reporting(place) as (reporter, _, _cancelled):
        await lab.stop()
        hurry = asyncio.Event()
        telling = asyncio.create_task(reporter.conclude(DONE, hurry=hurry))
        hurry.set()
        await asyncio.wait_for(telling, 5)
    assert "was not recorded" in capsys.readouterr().err


async def test_without_an_answer_a_run_goes_on_with_the_share_that_is_safe(
    lab: Lab, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(strm_reporting, "ANSWER_WITHIN_S", 1.0)
    lab.ready = False
    async with reporting(place) as (reporter, bucket, cancelled):
        assert rate(bucket) == pytest.approx(60)
        assert not cancelled.is_set()
        lab.ready = True
        reporter.progress(Progress(phase="Apply"))
        while rate(bucket) < 600:
            await lab.news()
            await asyncio.sleep(0)
    said = capsys.readouterr().err
    assert said.count("no answer of the operator") == 1
    assert said.count("answers again") == 1


async def test_a_standby_sends_the_run_to_the_leader_whose_certificate_is_the_services(lab: Lab, place: Place) -> None:
    (port,) = free_ports(1, rng=Random())
    standby = await service_on(lab.services, replace(lab.settings, port=port))
    leader = f"127.0.0.1:{lab.settings.port}"
    serving = asyncio.create_task(standby.serve(ready=lambda: False, leader=lambda: leader))
    await standby.listening.wait()
    through = replace(place, url=place.url.with_host("localhost").with_port(port))
    async with reporting(through) as (_, bucket, _cancelled):
        assert rate(bucket) == pytest.approx(600)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_a_run_does_not_report_to_whoever_has_another_authority(
    lab: Lab, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(strm_reporting, "ANSWER_WITHIN_S", 0.5)
    elsewhere = ApiServer(clock=SystemClock(), rng=Random(2))
    await load_installation(elsewhere, "elsewhere")
    other = await ensure_certificate(
        elsewhere, "elsewhere", SECRET_NAME, names=lab.settings.names, now=SystemClock().now()
    )
    place.ca_file.write_text(other.authority)
    async with reporting(place):
        known = lab.service.registry.get(RUN)
        assert known is not None
        assert not known.heard
    assert "CERTIFICATE_VERIFY_FAILED" in capsys.readouterr().err
