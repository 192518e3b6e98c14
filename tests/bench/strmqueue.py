"""How fast jobs get their turn: offered, chosen by priority and room on their servers, run at once, offered again."""

from __future__ import annotations

from random import Random

from pantograph.api.meta import Key
from pantograph.controllers.strmsyncjob.runqueue import RunQueue
from tests.bench.metering import cpu_s
from tests.bench.results import Result

JOBS = 2000
SERVERS = 50
TURNS = 20_000
PLACES = 2
"""On each server; with runs that end in another order than they began."""
GATE_MS = 10.0
"""A hundred jobs a second."""


def run() -> list[Result]:
    """Milliseconds of CPU for one job's turn."""
    random, queue = Random(5), RunQueue()
    servers = [Key("DataServer", "media", f"server-{number}") for number in range(SERVERS)]
    jobs = {Key("StrmSyncJob", "media", f"job-{number}"): servers[number % SERVERS] for number in range(JOBS)}
    for key, server in jobs.items():
        queue.offer(key, server=server, priority=random.randrange(3))
    busy = dict.fromkeys(servers, 0)
    running: list[Key] = []
    began = cpu_s()
    for _ in range(TURNS):
        while (turn := queue.first(lambda server: busy[server] < PLACES)) is not None:
            queue.withdraw(turn)
            busy[jobs[turn]] += 1
            running.append(turn)
        ended = running.pop(random.randrange(len(running)))
        busy[jobs[ended]] -= 1
        queue.freed(jobs[ended])
        queue.offer(ended, server=jobs[ended], priority=random.randrange(3))
    return [Result(name="strm.queue", value=(cpu_s() - began) * 1000 / TURNS, unit="ms", gate=GATE_MS)]
