"""Messages about runs, as webhooks and Telegram get them."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import pytest

from pantograph.api.notify import AlertReceiver
from pantograph.providers.errors import Busy, ProviderError, Rejected, Unauthorized, Unreachable
from pantograph.providers.notify.alerts import Alert, Secrets, secrets_of, send_alert, wants
from tests.fakes.receivers import BOT_TOKEN, Receivers

ALERT = Alert(
    job="media/films",
    run="20261126-030000-1f2e",
    result="Blocked",
    reason="PruneBlocked",
    message="61 of 1000 files would be removed; the limits allow 50",
    remedy="kubectl annotate ssj films pantograph.dev/approve-prune=20261126-030000-1f2e",
    counts={"created": 0, "pruneCandidates": 61},
)
HIDDEN = "T000-B000-hidden"


def receiver(**channel: Any) -> AlertReceiver:
    return AlertReceiver.model_validate({"name": "me", **channel})


def telegram(receivers: Receivers, chat: str = "-100200") -> AlertReceiver:
    return receiver(telegram={"chatId": chat, "secretRef": {"name": "bot"}, "url": receivers.base_url})


def hidden_hook(receivers: Receivers, **more: Any) -> tuple[AlertReceiver, dict[str, dict[str, str]]]:
    declared = receiver(webhook={"urlFrom": {"name": "hook"}, **more})
    return declared, {"hook": {"url": f"{receivers.base_url}/hook/{HIDDEN}"}}


async def test_a_webhook_gets_everything_that_is_known(receivers: Receivers) -> None:
    declared = receiver(webhook={"url": f"{receivers.base_url}/hook/open", "headersFrom": {"name": "headers"}})
    await send_alert(declared, ALERT, secrets={"headers": {"Authorization": "Bearer hidden"}})
    ((headers, body),) = receivers.documents
    assert headers["Authorization"] == "Bearer hidden"
    assert body == {
        "kind": "StrmSyncJob",
        "job": "media/films",
        "run": "20261126-030000-1f2e",
        "result": "Blocked",
        "reason": "PruneBlocked",
        "message": "61 of 1000 files would be removed; the limits allow 50",
        "remedy": "kubectl annotate ssj films pantograph.dev/approve-prune=20261126-030000-1f2e",
        "counts": {"created": 0, "pruneCandidates": 61},
        "text": ALERT.text(),
    }


@pytest.mark.parametrize(("style", "member"), [("Slack", "text"), ("Discord", "content")])
async def test_a_chats_webhook_gets_the_text_where_it_looks_for_it(
    receivers: Receivers, style: str, member: str
) -> None:
    declared, secrets = hidden_hook(receivers, format=style)
    await send_alert(declared, ALERT, secrets=secrets)
    ((_, body),) = receivers.documents
    assert body[member].splitlines() == [
        "StrmSyncJob media/films waits for your approval (run 20261126-030000-1f2e)",
        "PruneBlocked: 61 of 1000 files would be removed; the limits allow 50",
        "→ kubectl annotate ssj films pantograph.dev/approve-prune=20261126-030000-1f2e",
        "61 pruneCandidates",
    ]


async def test_a_telegram_chat_gets_the_text(receivers: Receivers) -> None:
    await send_alert(telegram(receivers), ALERT, secrets={"bot": {"token": f"{BOT_TOKEN}\n"}})
    ((_, body),) = receivers.documents
    assert (body["chat_id"], body["text"]) == ("-100200", ALERT.text())


def test_a_text_fits_into_every_chat_however_long_the_message_is() -> None:
    text = Alert(job="media/films", run="r", result="Failed", message="x" * 5000).text()
    assert len(text) == 1800
    assert text.endswith("…")


@pytest.mark.parametrize(
    ("chat", "kind", "words"),
    [("-1", Rejected, "may not write to chat -1"), ("-2", Busy, "answered 429")],
)
async def test_what_telegram_refuses_is_explained(
    receivers: Receivers, chat: str, kind: type[ProviderError], words: str
) -> None:
    with pytest.raises(kind, match=words) as error:
        await send_alert(telegram(receivers, chat), ALERT, secrets={"bot": {"token": BOT_TOKEN}})
    assert BOT_TOKEN not in "".join(traceback.format_exception(error.value))
    if isinstance(error.value, Busy):
        assert error.value.retry_after_s == 9


async def test_a_wrong_bot_token_is_refused_credentials_and_stays_hidden(receivers: Receivers) -> None:
    wrong = "42:" + "x" * 35
    with pytest.raises(Unauthorized, match="refused the bot's token") as error:
        await send_alert(telegram(receivers), ALERT, secrets={"bot": {"token": wrong}})
    assert wrong not in "".join(traceback.format_exception(error.value))
    assert "@BotFather" in (error.value.remedy or "")


@pytest.mark.parametrize("token", ["../../bot42:x", "", "42:a b"])
async def test_what_is_no_bot_token_leads_to_no_request(receivers: Receivers, token: str) -> None:
    with pytest.raises(Rejected, match="Secret"):
        await send_alert(telegram(receivers), ALERT, secrets={"bot": {"token": token}})
    assert receivers.asked == []


@pytest.mark.parametrize("fault", ["500", "302", "hangs", "garbles", "gone"])
@pytest.mark.parametrize("channel", ["telegram", "webhook"])
async def test_a_failure_shows_neither_the_address_nor_what_was_answered(
    receivers: Receivers, fault: str, channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    declared, secrets = hidden_hook(receivers)
    if channel == "telegram":
        declared, secrets = telegram(receivers), {"bot": {"token": BOT_TOKEN}}
    if fault == "gone":
        text = declared.model_dump_json(by_alias=True).replace(receivers.base_url, "http://127.0.0.1:1")
        declared, secrets = AlertReceiver.model_validate_json(text), _moved(secrets, receivers)
    receivers.hangs, receivers.garbles, receivers.echo = fault == "hangs", fault == "garbles", True
    receivers.status = int(fault) if fault.isdecimal() else None
    with pytest.raises(ProviderError, match="alert receiver me") as error:
        await send_alert(declared, ALERT, secrets=secrets, timeout_s=0.3)
    shown = "".join(traceback.format_exception(error.value)) + (error.value.remedy or "")
    shown += "".join(record.getMessage() for record in caplog.records if not record.name.startswith("aiohttp.access"))
    for secret in (BOT_TOKEN, HIDDEN):
        assert secret not in shown


def _moved(secrets: dict[str, dict[str, str]], receivers: Receivers) -> dict[str, dict[str, str]]:
    return {
        name: {key: value.replace(receivers.base_url, "http://127.0.0.1:1") for key, value in keys.items()}
        for name, keys in secrets.items()
    }


async def test_nobody_listening_is_unreachable(receivers: Receivers) -> None:
    declared, secrets = hidden_hook(receivers)
    with pytest.raises(Unreachable, match="alert receiver me does not answer: connection refused"):
        await send_alert(declared, ALERT, secrets=_moved(secrets, receivers))


@pytest.mark.parametrize(
    ("secrets", "words"),
    [
        ({}, "has no key `url`"),
        ({"hook": {"url": "file:///etc/passwd"}}, "holds no http"),
        ({"hook": {"url": "http://user:pass@host/"}}, "holds no http"),
    ],
)
async def test_a_secret_that_cannot_be_used_is_named_and_not_shown(secrets: Secrets, words: str) -> None:
    with pytest.raises(Rejected, match=words) as error:
        await send_alert(receiver(webhook={"urlFrom": {"name": "hook"}}), ALERT, secrets=secrets)
    assert "passwd" not in str(error.value)


@pytest.mark.parametrize("headers", [{"Host": "x"}, {"X-A": "a\r\nX-B: b"}, {"Content-Length": "1"}])
async def test_a_header_that_would_change_the_request_is_refused(receivers: Receivers, headers: dict[str, str]) -> None:
    declared = receiver(webhook={"url": f"{receivers.base_url}/hook/open", "headersFrom": {"name": "h"}})
    with pytest.raises(Rejected, match="cannot be sent as a header"):
        await send_alert(declared, ALERT, secrets={"h": headers})
    assert receivers.asked == []


def test_a_receiver_says_which_secrets_it_needs_and_what_it_wants_to_hear() -> None:
    both = receiver(webhook={"urlFrom": {"name": "a"}, "headersFrom": {"name": "b"}}, on=["Failed"])
    assert secrets_of(both) == {"a", "b"}
    assert secrets_of(receiver(telegram={"chatId": "1", "secretRef": {"name": "c"}})) == {"c"}
    assert [wants(both, result) for result in ("Failed", "Recovered")] == [True, False]
    assert wants(receiver(telegram={"chatId": "1", "secretRef": {"name": "c"}}), "Recovered")


def test_a_job_that_could_not_run_is_told_without_a_run() -> None:
    alert = Alert(job="media/films", run="", result="Failed", reason="ServerNotReady", message="it does not answer")
    assert alert.text() == "StrmSyncJob media/films cannot run\nServerNotReady: it does not answer"
    assert alert.as_json()["run"] == ""
    assert Alert(job="media/films", run="", result="Recovered").text() == "StrmSyncJob media/films can run again"
