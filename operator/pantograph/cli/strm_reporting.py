"""A run's side of the run protocol: it says how far it is, and does what it is told in answer.

What a run did is on disk, so nothing depends on being heard: without an answer it goes on, slower than it might.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import aiohttp
from yarl import URL

from pantograph.api.run import (
    ANSWER_WITHIN_S,
    REPORT_EVERY_S,
    RunAnswer,
    RunCooldown,
    RunProgress,
    RunReport,
    RunResult,
)
from pantograph.cli.strm_ordered import Place
from pantograph.clock import Clock
from pantograph.providers.media.bucket import Cooldown, RateBucket
from pantograph.strm.errors import StrmError
from pantograph.strm.report import Progress, Report

RECORDED_WITHIN_S: Final = 600.0
"""So long a result is repeated: an operator that is updated or moves to another node comes back within it."""
RECORDED_WITHIN_GRACE_S: Final = 10.0
"""The same once the process was asked to end: a Pod has 60 s for that and for what is in hand."""
REQUEST_TIMEOUT_S: Final = 10.0
_BACK_OFF_S: Final = (0.5, 1.0, 2.0, 4.0)
_LEADER: Final = "Pantograph-Leader"
_MESSAGE_BYTES: Final = 4096
"""Kubernetes keeps no longer a termination message."""


class Reporter:
    """One a run: `open`, then `progress` as often as one likes, then `conclude`, then `close`."""

    def __init__(
        self,
        place: Place,
        *,
        clock: Clock,
        bucket: RateBucket | None,
        alone_per_minute: float | None,
        cancel: Callable[[], None],
    ) -> None:
        """`alone_per_minute`: the rate while nobody answers; `cancel` is called when the answer is to stop."""
        self._place = place
        self._clock = clock
        self._bucket = bucket
        self._alone_per_minute = alone_per_minute
        self._cancel = cancel
        self._progress = RunProgress()
        self._cooldown: Cooldown | None = None
        self._obeying = False
        self._news = asyncio.Event()
        self._answered = asyncio.Event()
        self._answered_at = clock.monotonic()
        self._silent = False
        self._leader: str | None = None
        self._session: aiohttp.ClientSession
        self._loop: asyncio.Task[None]

    async def open(self) -> None:
        """Begin to report; return at the first answer, or when there was none for `ANSWER_WITHIN_S`.

        Raises StrmError if the authority cannot be read.
        """
        try:
            context = ssl.create_default_context(cafile=self._place.ca_file)
        except OSError as error:
            raise StrmError("InvalidSpec", f"--ca-file {self._place.ca_file} cannot be used: {error}") from error
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context),
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S),
            trust_env=False,
        )
        self._loop = asyncio.create_task(self._report_for_ever(), name="reporting")
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await self._answered.wait()
        self._heed_silence()

    async def close(self) -> None:
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)
        await self._session.close()

    def progress(self, seen: Progress) -> None:
        """Take note; it is said soon, at once if the phase is another."""
        if seen.phase != self._progress.phase:
            self._news.set()
        self._progress = RunProgress(
            phase=seen.phase,
            dirs_done=seen.dirs_done,
            dirs_known=seen.dirs_known,
            files_seen=seen.files_seen,
            percent=seen.percent,
        )

    def cooled(self, cooldown: Cooldown | None) -> None:
        """The bucket's cooldown has changed: others are to know it, unless it came from them."""
        if self._obeying:
            return
        self._cooldown = cooldown
        if cooldown is not None:
            self._news.set()

    async def conclude(self, report: Report, *, hurry: asyncio.Event) -> bool:
        """Say the result until it is recorded; give up after a while, the message file has it too.

        Returns whether it is stored for certain, so that nobody will ask for the same once more.

        `hurry` is set when the process was asked to end: then the while is short.
        """
        result = result_of(report)
        self._leave_message(result)
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)
        began, attempt = self._clock.monotonic(), 0
        while True:
            answer = await self._post(RunReport(progress=self._progress, result=result))
            if answer is not None and answer.recorded:
                return answer.stored
            limit_s = RECORDED_WITHIN_GRACE_S if hurry.is_set() else RECORDED_WITHIN_S
            if self._clock.monotonic() - began > limit_s:
                print(f"pantograph strm: the result was not recorded within {limit_s:.0f} s", file=sys.stderr)
                return False
            await _rest(_BACK_OFF_S[min(attempt, len(_BACK_OFF_S) - 1)], hurry)
            attempt += 1

    # Reporting

    async def _report_for_ever(self) -> None:
        attempt = 0
        while True:
            self._news.clear()
            answer = await self._post(RunReport(progress=self._progress, cooldown=self._own_cooldown()))
            self._heed_silence()
            attempt = 0 if answer is not None else attempt + 1
            pause_s = REPORT_EVERY_S if answer is not None else _BACK_OFF_S[min(attempt, len(_BACK_OFF_S)) - 1]
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._news.wait()

    async def _post(self, report: RunReport) -> RunAnswer | None:
        """Say it and obey the answer; None: there was none."""
        url, host = self._place.url, self._place.url.host
        if self._leader is not None:
            leader = URL(f"https://{self._leader}")
            url = url.with_host(leader.host or "").with_port(leader.port)
        try:
            token = self._place.token_file.read_text(encoding="ascii").strip()  # the kubelet renews it
            async with self._session.post(
                url,
                data=report.model_dump_json(by_alias=True, exclude_none=True),
                headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
                server_hostname=host,
                allow_redirects=False,
            ) as response:
                text = await response.text()
                self._leader = response.headers.get(_LEADER) if response.status == 503 else self._leader
                if response.status != 200:
                    return self._unanswered(f"HTTP {response.status} {text.strip()[:200]}")
                answer = RunAnswer.model_validate_json(text)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            self._leader = None
            return self._unanswered(str(error) or type(error).__name__)
        self._obey(answer)
        return answer

    def _unanswered(self, why: str) -> RunAnswer | None:
        if not self._silent:
            self._silent = True
            print(f"pantograph strm: no answer of the operator, going on: {why}", file=sys.stderr)
        return None

    def _obey(self, answer: RunAnswer) -> None:
        if self._silent:
            self._silent = False
            print("pantograph strm: the operator answers again", file=sys.stderr)
        self._answered_at = self._clock.monotonic()
        if answer.action == "Cancel":
            self._cancel()
        if self._bucket is not None:
            if answer.requests_per_minute is not None:
                self._bucket.set_rate(answer.requests_per_minute / 60)
            if answer.cooldown is not None:
                self._obeying = True
                self._bucket.cool(answer.cooldown.seconds, answer.cooldown.why)
                self._obeying = False
        self._answered.set()

    def _heed_silence(self) -> None:
        """Without an answer others may work beside us, and we do not know how many: take the least share."""
        silent_s = self._clock.monotonic() - self._answered_at
        if self._bucket is not None and self._alone_per_minute is not None and silent_s >= ANSWER_WITHIN_S:
            self._bucket.set_rate(self._alone_per_minute / 60)

    def _own_cooldown(self) -> RunCooldown | None:
        if self._cooldown is None:
            return None
        left_s = (self._cooldown.until - self._clock.now()).total_seconds()
        return RunCooldown(seconds=left_s, why=self._cooldown.why[:1024]) if left_s > 0 else None

    def _leave_message(self, result: RunResult) -> None:
        if self._place.message_file is None:
            return
        text = message_of(result)
        try:
            self._place.message_file.write_text(text, encoding="utf-8")
        except OSError as error:
            print(f"pantograph strm: {self._place.message_file} cannot be written: {error}", file=sys.stderr)


async def _rest(seconds: float, hurry: asyncio.Event) -> None:
    if hurry.is_set():
        await asyncio.sleep(min(seconds, 0.5))
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await hurry.wait()


def result_of(report: Report) -> RunResult:
    """The report as the protocol knows it, within its bounds."""
    said = report.as_json()
    for name in ("message", "remedy", "pruneBlocked"):
        said[name] = str(said.get(name) or "")[:1024]
    return RunResult.model_validate(said)


def message_of(result: RunResult) -> str:
    """The result in at most 4 KiB: without lists, and with as much of its messages as fits."""
    said = json.loads(result.model_dump_json(by_alias=True, exclude={"samples", "notify_failed", "unfinished"}))
    for longest in (1024, 256, 64):
        short = {name: value[:longest] if isinstance(value, str) else value for name, value in said.items()}
        text = json.dumps(short, ensure_ascii=False)
        if len(text.encode()) <= _MESSAGE_BYTES:
            break
    return text
