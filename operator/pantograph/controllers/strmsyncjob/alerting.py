"""People hear of a run that failed or waits for them, of a job that cannot run, and once when all is well again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from pantograph.api.conditions import name_some
from pantograph.api.notify import AlertReceiver
from pantograph.api.strmstatus import Alerted, LastRun
from pantograph.controllers.secrets import SecretNotFound, read_secret
from pantograph.controllers.strmsyncjob.news import News, news_of
from pantograph.controllers.strmsyncjob.scope import JobScope
from pantograph.engine.errors import StepError
from pantograph.engine.kube import KubeError
from pantograph.providers.errors import ProviderError
from pantograph.providers.notify.alerts import Alert, Secrets, secrets_of, wants
from pantograph.providers.notify.alerts import send_alert as send

logger = logging.getLogger(__name__)

RETRY_S: Final = 120.0
GIVE_UP_S: Final = 3600.0
"""So long after what happened, an alert that nobody could be given is old news: the condition says so to the end."""
NOT_DELIVERED: Final = "AlertNotDelivered"


class Alerts(Protocol):
    """How an alert reaches its receiver."""

    async def send(self, receiver: AlertReceiver, alert: Alert, *, secrets: Secrets) -> None:
        """Raises ProviderError."""
        ...


@dataclass(slots=True)
class Delivery:
    """What became of one piece of news so far. A new process knows none, so a crash may tell something twice."""

    of: tuple[str, str]
    told: set[str] = field(default_factory=set)
    """Receivers that have it, by name."""
    not_before: float = 0.0
    """When the others are tried again, by the monotonic clock."""


class Messengers:
    """By HTTP."""

    async def send(self, receiver: AlertReceiver, alert: Alert, *, secrets: Secrets) -> None:
        await send(receiver, alert, secrets=secrets)


async def tell_people(scope: JobScope, end: StepError | None) -> None:
    """After this everybody who wants to hear of what happened has, or is told later. `end`: how the steps ended.

    What was told is in the status: the same fault is told once, however often it is met again. A crash between the
    message and the write tells it twice. Raises nothing: what else the reconcile has to report does not depend on it.
    """
    try:
        await _tell(scope, end)
    except Exception as error:  # noqa: BLE001  # a defect here must not hide what there is to tell
        _unforeseen(scope, error)
        scope.look_again(RETRY_S)


async def _tell(scope: JobScope, end: StepError | None) -> None:
    notify = scope.object.spec.notify
    news = news_of(scope, end) if notify is not None and notify.alerts else None
    if notify is None or news is None:
        scope.drop_condition(NOT_DELIVERED)
        return
    delivery = _delivery(scope, news)
    left_s = delivery.not_before - scope.clock.monotonic()
    if left_s > 0:
        scope.look_again(left_s + 0.1)
        return
    failed = await _deliver_to_all(scope, notify.alerts, news, delivery)
    if failed:
        scope.set_condition(NOT_DELIVERED, True, reason="Undelivered", message=name_some(failed))
    if failed and (scope.now - news.since).total_seconds() < GIVE_UP_S:
        delivery.not_before = scope.clock.monotonic() + RETRY_S
        scope.look_again(RETRY_S)
        return
    if not failed:
        scope.drop_condition(NOT_DELIVERED)
    scope.media.deliveries.pop(scope.key, None)
    scope.status.alerted = None if news.result == "Recovered" else _told(scope, news)


def _delivery(scope: JobScope, news: News) -> Delivery:
    """What became of this news so far; older news is forgotten."""
    of = (news.result, news.reason)  # whichever run met it: the next one that fails so is no other news
    known = scope.media.deliveries.get(scope.key)
    if known is None or known.of != of:
        known = scope.media.deliveries[scope.key] = Delivery(of)
    return known


async def _deliver_to_all(
    scope: JobScope, receivers: Sequence[AlertReceiver], news: News, delivery: Delivery
) -> list[str]:
    """Tell those who want to hear it and have not yet, all at once; why some could not be told."""
    alert = _alert(scope, news)
    waiting = [each for each in receivers if wants(each, news.result) and each.name not in delivery.told]
    faults = await asyncio.gather(*(_deliver(scope, each, alert) for each in waiting))
    delivery.told |= {each.name for each, fault in zip(waiting, faults, strict=True) if fault is None}
    return [fault for fault in faults if fault is not None]


def _told(scope: JobScope, news: News) -> Alerted:
    return Alerted(
        run=news.run.id if news.run else None,
        missed=news.missed,
        result="Blocked" if news.result == "Blocked" else "Failed",
        reason=news.reason or news.result,
        at=scope.now,
    )


def _alert(scope: JobScope, news: News) -> Alert:
    meta, run = scope.object.metadata, news.run
    counts = {} if run is None else _counts(run)
    return Alert(
        job=f"{meta.namespace}/{meta.name}",
        run=run.id if run else "",
        result=news.result,
        reason=news.reason,
        message=news.message,
        remedy=news.remedy,
        counts=counts,
    )


def _counts(run: LastRun) -> dict[str, int]:
    return {
        "created": run.created,
        "updated": run.updated,
        "unchanged": run.unchanged,
        "failed": run.failed,
        "pruned": run.pruned,
        "pruneCandidates": run.prune_candidates,
        "incompleteDirs": run.incomplete_dirs,
    }


async def _deliver(scope: JobScope, receiver: AlertReceiver, alert: Alert) -> str | None:
    """None if it was, or why it was not."""
    try:
        namespace = scope.object.metadata.namespace
        secrets = {name: (await read_secret(scope.kube, namespace, name))[1] for name in secrets_of(receiver)}
        await scope.media.alerts.send(receiver, alert, secrets=secrets)
    except (ProviderError, SecretNotFound) as error:
        why = error.message
    except KubeError as error:
        why = f"its Secret could not be read: {error}"
    except Exception as error:  # noqa: BLE001  # a defect with one receiver must not make others hear twice
        _unforeseen(scope, error)
        why = f"unforeseen {type(error).__name__}; its trace is in the operator's log"
    else:
        return None
    logger.warning("alert not delivered: %s: %s", receiver.name, why)
    return f"{receiver.name}: {why}"


def _unforeseen(scope: JobScope, error: Exception) -> None:
    name = type(error).__name__
    scope.services.metrics.unforeseen_errors.labels(scope.key.kind, name).inc()
    logger.error("unforeseen %s while telling people of %s", name, scope.key, exc_info=error)
