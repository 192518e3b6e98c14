"""People hear of a run that failed or waits for them, and once when all is well again."""

from __future__ import annotations

import logging
from typing import Final, Protocol

from pantograph.api.conditions import name_some
from pantograph.api.notify import AlertReceiver, AlertResult
from pantograph.api.strmstatus import Alerted, LastRun
from pantograph.controllers.secrets import SecretNotFound, read_secret
from pantograph.controllers.strmsyncjob.scope import JobScope
from pantograph.providers.errors import ProviderError
from pantograph.providers.notify.alerts import Alert, Secrets, secrets_of, wants
from pantograph.providers.notify.alerts import send_alert as send

logger = logging.getLogger(__name__)

RETRY_S: Final = 120.0
GIVE_UP_S: Final = 3600.0
"""So long after the run, an alert that nobody could be given is old news: the condition says so to the end."""
NOT_DELIVERED: Final = "AlertNotDelivered"


class Alerts(Protocol):
    """How an alert reaches its receiver."""

    async def send(self, receiver: AlertReceiver, alert: Alert, *, secrets: Secrets) -> None:
        """Raises ProviderError."""
        ...


class Messengers:
    """By HTTP."""

    async def send(self, receiver: AlertReceiver, alert: Alert, *, secrets: Secrets) -> None:
        await send(receiver, alert, secrets=secrets)


async def tell_people(scope: JobScope) -> None:
    """After this everybody who wants to hear of the last run has, or is told later.

    What was told is in the status: the same fault is told once, however often it is tried again. A crash between the
    message and the write tells it twice.
    """
    last, notify = scope.status.last_run, scope.object.spec.notify
    if last is None or notify is None or not notify.alerts:
        scope.drop_condition(NOT_DELIVERED)
        return
    result = _news(scope, last)
    if result is None:
        scope.drop_condition(NOT_DELIVERED)
        return
    alert = _alert(scope, last, result)
    failed = [
        fault
        for receiver in notify.alerts
        if wants(receiver, result) and (fault := await _deliver(scope, receiver, alert)) is not None
    ]
    age_s = (scope.now - last.ended_at).total_seconds()
    if failed:
        scope.set_condition(NOT_DELIVERED, True, reason="Undelivered", message=name_some(failed))
    if failed and age_s < GIVE_UP_S:
        scope.look_again(RETRY_S)
        return
    if not failed:
        scope.drop_condition(NOT_DELIVERED)
    told = Alerted(run=last.id, result=last.result, reason=last.reason or last.result, at=scope.now)
    scope.status.alerted = None if result == "Recovered" else told


def _news(scope: JobScope, last: LastRun) -> AlertResult | None:
    """What people do not know yet."""
    told = scope.status.alerted
    if last.result in ("Failed", "Blocked"):
        is_known = told is not None and (told.result, told.reason) == (last.result, last.reason or last.result)
        return None if is_known else ("Failed" if last.result == "Failed" else "Blocked")
    if scope.status.blocked is not None:
        return None  # a part is well; what was asked still waits for a person, who was told
    return "Recovered" if told is not None and last.result in ("Succeeded", "Degraded") else None


def _alert(scope: JobScope, last: LastRun, result: AlertResult) -> Alert:
    meta = scope.object.metadata
    counts = {
        "created": last.created,
        "updated": last.updated,
        "unchanged": last.unchanged,
        "failed": last.failed,
        "pruned": last.pruned,
        "pruneCandidates": last.prune_candidates,
        "incompleteDirs": last.incomplete_dirs,
    }
    return Alert(
        job=f"{meta.namespace}/{meta.name}",
        run=last.id,
        result=result,
        reason=last.reason or "",
        message=last.message or "",
        remedy=last.remedy or "",
        counts=counts,
    )


async def _deliver(scope: JobScope, receiver: AlertReceiver, alert: Alert) -> str | None:
    """None if it was, or why it was not."""
    try:
        namespace = scope.object.metadata.namespace
        secrets = {name: (await read_secret(scope.kube, namespace, name))[1] for name in secrets_of(receiver)}
        await scope.media.alerts.send(receiver, alert, secrets=secrets)
    except (ProviderError, SecretNotFound) as error:
        logger.warning("alert not delivered: %s", error.message)
        return f"{receiver.name}: {error.message}"
    return None
