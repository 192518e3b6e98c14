"""One message about one run, to a webhook or into a Telegram chat."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pantograph.api.notify import TELEGRAM_URL, AlertReceiver, AlertResult, Telegram, Webhook
from pantograph.providers.errors import Busy, Rejected, Unauthorized
from pantograph.providers.notify.exchange import TIMEOUT_S, exchange, refuse
from pantograph.providers.notify.secrets import checked_headers, checked_token, value_of

Secrets = Mapping[str, Mapping[str, str]]
"""The text values of Secrets, by the Secret's name."""

_BOT_TOKEN: Final = re.compile(r"[0-9]+:[A-Za-z0-9_-]+")
_ADDRESS: Final = re.compile(r"https?://[^\s#@]+")
_MAX_TEXT: Final = 1800
"""Characters; Discord takes 2000, Telegram 4096."""
_WITHOUT_RUN: Final = {"Failed": "cannot run", "Blocked": "waits for your approval", "Recovered": "can run again"}
_HEADLINES: Final = {"Failed": "failed", "Blocked": "waits for your approval", "Recovered": "works again"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """What is to be known about a run."""

    job: str
    """namespace/name."""
    run: str
    """Empty: none could begin."""
    result: AlertResult
    reason: str = ""
    message: str = ""
    remedy: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Such as `created`, `pruneCandidates`: as in the run's result."""

    def text(self) -> str:
        """For people; plain, a few lines."""
        headline = f"{_HEADLINES[self.result]} (run {self.run})" if self.run else _WITHOUT_RUN[self.result]
        lines = [f"StrmSyncJob {self.job} {headline}"]
        if self.message or self.reason:
            lines.append(": ".join(each for each in (self.reason, self.message) if each))
        if self.remedy:
            lines.append(f"→ {self.remedy}")
        told = ", ".join(f"{count} {name}" for name, count in self.counts.items() if count)
        text = "\n".join([*lines, told] if told else lines)
        return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"

    def as_json(self) -> dict[str, Any]:
        """The webhook's document."""
        return {
            "kind": "StrmSyncJob",
            "job": self.job,
            "run": self.run,
            "result": self.result,
            "reason": self.reason,
            "message": self.message,
            "remedy": self.remedy,
            "counts": dict(self.counts),
            "text": self.text(),
        }


def secrets_of(receiver: AlertReceiver) -> frozenset[str]:
    """The names of the Secrets that `send_alert` needs."""
    if receiver.telegram is not None:
        return frozenset({receiver.telegram.secret_ref.name})
    webhook = receiver.webhook
    references = (webhook.url_from, webhook.headers_from) if webhook is not None else ()
    return frozenset(each.name for each in references if each is not None)


def wants(receiver: AlertReceiver, result: AlertResult) -> bool:
    """Whether the receiver asked to hear of it."""
    return receiver.on is None or result in receiver.on


async def send_alert(
    receiver: AlertReceiver, alert: Alert, *, secrets: Secrets, timeout_s: float = TIMEOUT_S
) -> None:  # fmt: skip
    """Tell `receiver` once, whatever its `on` says. Raises ProviderError; nothing is tried again here."""
    name = f"alert receiver {receiver.name}"
    if receiver.telegram is not None:
        await _telegram(name, receiver.telegram, alert, secrets, timeout_s)
    elif receiver.webhook is not None:
        await _webhook(name, receiver.webhook, alert, secrets, timeout_s)
    else:
        raise Rejected(f"{name} has neither webhook nor telegram")


async def _webhook(name: str, webhook: Webhook, alert: Alert, secrets: Secrets, timeout_s: float) -> None:
    url = webhook.url
    if webhook.url_from is not None:
        url = value_of(secrets.get(webhook.url_from.name, {}), "url", name=name)
    if url is None or not _ADDRESS.fullmatch(url):
        raise Rejected(f"{name}: its Secret's key `url` holds no http(s) address", remedy="put the whole address there")
    headers = {}
    if webhook.headers_from is not None:
        headers = checked_headers(secrets.get(webhook.headers_from.name, {}), name=name)
    document = alert.as_json()
    if webhook.format == "Slack":
        document = {"text": alert.text()}
    elif webhook.format == "Discord":
        document = {"content": alert.text(), "allowed_mentions": {"parse": []}}
    answer = await exchange(name, "POST", url, headers=headers, document=document, timeout_s=timeout_s)
    refuse(name, answer, remedy="put what the receiver wants to see into the Secret of headersFrom")


async def _telegram(name: str, telegram: Telegram, alert: Alert, secrets: Secrets, timeout_s: float) -> None:
    """`sendMessage` of https://core.telegram.org/bots/api; the token is a part of the address."""
    held = value_of(secrets.get(telegram.secret_ref.name, {}), "token", name=name)
    token = checked_token(held, name=name, pattern=_BOT_TOKEN)
    url = f"{(telegram.url or TELEGRAM_URL).rstrip('/')}/bot{token}/sendMessage"
    document = {"chat_id": telegram.chat_id, "text": alert.text(), "link_preview_options": {"is_disabled": True}}
    answer = await exchange(name, "POST", url, document=document, timeout_s=timeout_s)
    said = answer.json()
    if isinstance(said, dict) and said.get("ok") is True:
        return
    remedy = "write the bot's token, as @BotFather gave it, into the Secret as `token`"
    if answer.status in (401, 404):  # 404 is how Telegram answers a token that never was one
        raise Unauthorized(f"{name} answered {answer.status}: it refused the bot's token", remedy=remedy)
    if answer.status in (400, 403):
        raise Rejected(
            f"{name} answered {answer.status}: the bot may not write to chat {telegram.chat_id}",
            remedy="open the chat with the bot once, or add it to the group, and check chatId",
        )
    if answer.status == 429:
        raise Busy(f"{name} answered 429", reason="RateLimited", retry_after_s=_retry_after_s(said))
    refuse(name, answer, remedy=remedy)
    raise Rejected(f"{name} answered {answer.status}, but not as Telegram does", remedy="check telegram.url")


def _retry_after_s(said: Any) -> float | None:
    parameters = said.get("parameters") if isinstance(said, dict) else None
    seconds = parameters.get("retry_after") if isinstance(parameters, dict) else None
    return float(seconds) if isinstance(seconds, int | float) else None
