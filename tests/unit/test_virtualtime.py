import asyncio
import threading
import time

import pytest

from pantograph.providers.executor import CallExecutor
from tests.fakes.virtualtime import Deadlock, run, virtual_clock


def test_an_hour_passes_at_once_and_in_order() -> None:
    async def main() -> list[str]:
        clock, said = virtual_clock(), []

        async def speak(word: str, after: float) -> None:
            await clock.sleep(after)
            said.append(f"{word}@{clock.now():%H:%M:%S}")

        await asyncio.gather(speak("late", 3600), speak("early", 1.5))
        return said

    began = time.monotonic()
    assert run(main()) == ["early@00:00:01", "late@01:00:00"]
    assert time.monotonic() - began < 2


def test_a_thread_at_work_holds_the_time_still() -> None:
    release = threading.Event()

    async def main() -> float:
        clock = virtual_clock()
        timer = asyncio.ensure_future(clock.sleep(10))
        work = asyncio.ensure_future(asyncio.to_thread(release.wait, 5))
        await asyncio.sleep(0)
        threading.Timer(0.1, release.set).start()
        assert await work
        assert not timer.done()
        before = clock.monotonic()
        await timer
        return before

    assert run(main()) == 0


def test_a_call_to_outside_holds_the_time_still() -> None:
    async def main() -> bool:
        calls = CallExecutor("test", size=1)
        try:
            return await calls.run(lambda: threading.Event().wait(0.1), timeout_s=120)
        finally:
            calls.close()

    assert run(main()) is False


def test_a_loop_that_waits_for_ever_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fakes.virtualtime.DEADLOCK_AFTER_S", 0.05)

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        run(main())
