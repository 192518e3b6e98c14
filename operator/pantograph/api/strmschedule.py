"""When a `StrmSyncJob` runs by itself: by cron, and after changes that its server tells of."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pantograph.api.markers import at_least
from pantograph.api.meta import CelRule, Duration, Model

Cron = Annotated[
    str,
    Field(
        min_length=5,
        max_length=128,
        pattern=r"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|[0-9A-Za-z*/,#-]+( [0-9A-Za-z*/,#-]+){4})$",
    ),
]
"""Five fields as in crontab(5), one blank between two, or `@daily` and its like."""
TimeZone = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$")]


class Schedule(Model):
    """When runs begin by themselves, and how long they may take."""

    cel: ClassVar = (
        *(
            CelRule(f"!has(self.{field}) || has(self.cron)", f"schedule.{field} needs schedule.cron")
            for field in ("timeZone", "jitter", "startingDeadline")
        ),
        at_least("startingDeadline", "1m"),  # or the look that finds a time of `cron` due comes too late for it
    )

    cron: Cron | None = None
    """Such as `0 3 * * *`: minute, hour, day of month, month, day of week."""
    time_zone: TimeZone | None = None
    """The time zone of `cron` as the tz database names it, such as `Europe/Berlin`; absent: UTC."""
    jitter: Duration | None = None
    """Each job runs later than `cron` says by a part of this, always the same one, so that many jobs do not begin
    together."""
    starting_deadline: Duration | None = None
    """How late a run that was missed (the operator was down, the server did not answer) may still begin. Of several
    missed ones, one is made up for. Absent: however late. At least 1m."""
    concurrency_policy: Literal["Forbid", "Queue", "Replace"] = "Forbid"
    """What happens at a time of `cron` at which a run is still at work. `Forbid`: nothing; `Queue`: another run follows
    it; `Replace`: it is stopped and the new one begins."""
    deadline: Duration | None = None
    """A run that takes longer is stopped and counts as failed. The next one goes on where it stopped."""


class WatchSettings(Model):
    """Runs after changes that the server tells of."""

    enabled: bool = True
    """Whether changes are followed. CloudDrive2 tells of them, and Local for targets on a root."""
    min_interval: Duration | None = None
    """How long to wait after a run before one that follows changes; absent: 10s on a root, 60s on a claim."""
