"""How a call reaches a Proxmox cluster: limits, a thread, endpoints in turn, and every failure given its meaning."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxmoxer.core import ResourceException

from pantograph.clock import Clock
from pantograph.providers.breaker import Breaker
from pantograph.providers.errors import OutcomeUnknown, ProtocolError, ProviderError, Unreachable
from pantograph.providers.executor import CallExecutor, CallNotFinished
from pantograph.providers.limiter import Limiter
from pantograph.providers.proxmox.auth import TicketAuth
from pantograph.providers.proxmox.encoding import path_parts
from pantograph.providers.proxmox.errors import Call, http_error
from pantograph.providers.proxmox.privileges import MissingRight, Need
from pantograph.providers.proxmox.session import Answer, ConnectionLost, Endpoint, NoConnection
from pantograph.providers.proxmox.settings import ConnectionSettings

CallHook = Callable[[str, str, str, float], None]
"""Told of each call: verb, path template, code (`200`, `500`, `unreachable`, `refused`, `lost`, `timeout`), seconds."""


CircuitHook = Callable[[bool], None]
"""Told when the circuit to a cluster opens (True) or closes."""


def no_circuit_hook(is_open: bool) -> None:
    """For callers that keep no figures."""


def no_hook(verb: str, template: str, code: str, seconds: float) -> None:
    """For callers that keep no figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    verb: str
    template: str
    path: Mapping[str, str | int]
    values: Mapping[str, str] = field(default_factory=dict)
    call: Call
    fail_over: bool = True


class Transport:
    """One cluster, several endpoints.

    The endpoint that answered last is asked first. The next one is tried when nothing was sent, and for reads also
    when the answer was lost; a mutation whose answer was lost is `OutcomeUnknown` and is not sent again.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        clock: Clock,
        *,
        on_call: CallHook,
        on_circuit: CircuitHook = no_circuit_hook,
    ) -> None:
        limits = settings.limits
        self._settings = settings
        self._clock = clock
        self._on_call = on_call
        self._endpoints = [Endpoint(url, settings, monotonic=time.monotonic) for url in settings.endpoints]
        self._current = 0
        self._executor = CallExecutor("proxmox", size=limits.concurrent)
        self._limiter = Limiter(clock, concurrent=limits.concurrent, per_second=limits.per_second, burst=limits.burst)
        self._breaker = Breaker(
            f"Proxmox at {settings.endpoints[0]}",
            clock,
            threshold=limits.breaker_threshold,
            open_s=limits.breaker_open_s,
            is_failure=_is_silent,
            on_change=on_circuit,
        )

    async def request(
        self,
        verb: str,
        template: str,
        values: Mapping[str, str],
        *,
        at: Mapping[str, str | int],
        needs: Sequence[Need] = (),
        claims: int | None = None,
        fail_over: bool = True,
    ) -> Answer:
        """One call; `at` fills the template, `needs` and `claims` go into the words of its errors.

        Raises `Unreachable` when nothing was done, `OutcomeUnknown` when a mutation may have been, and what `errors.py`
        makes of a refusal.
        """
        request = _Request(
            verb=verb,
            template=template,
            path=at,
            values=values,
            fail_over=fail_over,
            call=Call(
                mutation=verb != "GET",
                user=self._settings.user,
                node=_text(at.get("node")),
                storage=_text(at.get("storage")),
                vmid=int(at["vmid"]) if "vmid" in at else claims,
                claims=claims,
                needs=tuple(MissingRight(need.path, need.privileges) for need in needs),
            ),
        )
        async with self._limiter.turn():
            with self._breaker.attempt():
                return await self._timed(request)

    async def _timed(self, request: _Request) -> Answer:
        """One request in a thread, its figures told to the hook."""
        began, code = self._clock.monotonic(), "200"
        try:
            return await self._executor.run(
                lambda: self._in_turn(request), timeout_s=self._settings.timeouts.operation_s
            )
        except CallNotFinished as late:
            code = "timeout"
            if late.began and request.call.mutation:
                raise OutcomeUnknown(f"no answer from Proxmox ({late}): it may still happen") from None
            raise Unreachable(f"no answer from Proxmox ({late})") from None
        except _Refused as refused:
            code = str(refused.status)
            raise refused.error from None
        except ProviderError as error:
            code = _code(error)
            raise
        finally:
            self._on_call(request.verb, request.template, code, self._clock.monotonic() - began)

    def close(self) -> None:
        self._breaker.retire()
        self._executor.close()
        for endpoint in self._endpoints:
            endpoint.close()

    # -- in a thread ------------------------------------------------------------

    def _in_turn(self, request: _Request) -> Answer:
        """The answer of the first endpoint that gives one."""
        parts = path_parts(request.template, request.path)
        failures: list[tuple[str, NoConnection | ConnectionLost]] = []
        for number in self._order(request):
            endpoint = self._endpoints[number]
            try:
                answer = self._at(endpoint, request, parts)
            except NoConnection as error:
                failures.append((endpoint.url, error))
            except ConnectionLost as error:
                if request.call.mutation:
                    raise OutcomeUnknown(
                        f"the answer of {endpoint.url} was lost ({error}): it may have happened"
                    ) from None
                failures.append((endpoint.url, error))
            else:
                self._current = number
                return answer
        self._current = (self._current + 1) % len(self._endpoints)
        raise _unreachable(failures)

    def _order(self, request: _Request) -> list[int]:
        count, first = len(self._endpoints), self._current
        return [(first + n) % count for n in range(count if request.fail_over else 1)]

    def _at(self, endpoint: Endpoint, request: _Request, parts: list[str]) -> Answer:
        try:
            return self._once_more(endpoint, request, parts)
        except ProtocolError as error:
            if request.call.mutation:
                raise OutcomeUnknown(error.message) from None
            raise
        except ResourceException as refused:
            if refused.status_code == 401 and isinstance(endpoint.auth, TicketAuth):
                endpoint.auth.forget()
            body: Mapping[str, Any] = refused.errors or {}
            text = str(body.get("message") or refused.content or "")
            errors = body.get("errors")
            meaning = http_error(
                refused.status_code, text, errors if isinstance(errors, dict) else None, call=request.call
            )
            raise _Refused(refused.status_code, meaning) from None

    def _once_more(self, endpoint: Endpoint, request: _Request, parts: list[str]) -> Answer:
        """A read whose kept-alive connection the node was just closing is repeated; nothing else is."""
        try:
            return endpoint.request(request.verb, parts, request.values)
        except ConnectionLost as error:
            if request.call.mutation or error.timed_out:
                raise
            return endpoint.request(request.verb, parts, request.values)


class _Refused(Exception):
    """An answer of 400 and above, with its meaning."""

    def __init__(self, status: int, error: ProviderError) -> None:
        super().__init__(error.message)
        self.status = status
        self.error = error


def _is_silent(error: ProviderError) -> bool:
    """Whether the cluster itself did not answer: a dead node behind an endpoint that lives opens no circuit."""
    return isinstance(error, Unreachable) and error.reason != "NodeUnreachable"


def _unreachable(failures: Sequence[tuple[str, NoConnection | ConnectionLost]]) -> Unreachable:
    told = "; ".join(f"{url}: {error}" for url, error in failures)
    untrusted = [url for url, error in failures if isinstance(error, NoConnection) and error.certificate]
    if len(untrusted) < len(failures):
        return Unreachable(f"no endpoint answered: {told}")
    host = untrusted[0].split("://")[-1]
    return Unreachable(
        f"no endpoint can be trusted: {told}",
        reason="CertificateRefused",
        remedy=f"compare with: openssl s_client -connect {host} </dev/null | openssl x509 -noout -fingerprint -sha256",
    )


def _code(error: ProviderError) -> str:
    if isinstance(error, OutcomeUnknown):
        return "lost"
    return "unreachable" if isinstance(error, Unreachable) else "refused"


def _text(value: str | int | None) -> str | None:
    return None if value is None else str(value)
