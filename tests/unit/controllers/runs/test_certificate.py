"""The endpoint's certificate: made once, renewed in time, and trusted through the same authority all along."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from cryptography import x509

from pantograph.api.meta import SECRETS
from pantograph.clock import SystemClock
from pantograph.controllers.installation import SECRET_NAME, load_installation
from pantograph.controllers.runs.certificate import LIFE, RENEW_BEFORE, RunsCertificate, ensure_certificate
from pantograph.controllers.runs.service import names_of
from pantograph.engine.kube import Conflict, OutcomeUnknown
from tests.fakes.apiserver import ApiServer

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = names_of("https://pantograph-runs.system.svc:8443")


@pytest.fixture
async def api() -> ApiServer:
    """With the Secret of an installation that knew no runs."""
    api = ApiServer(clock=SystemClock(), rng=Random(1))
    await load_installation(api, "system")
    return api


async def ensure(api: ApiServer, now: datetime = NOW, names: tuple[str, ...] = NAMES) -> RunsCertificate:
    return await ensure_certificate(api, "system", SECRET_NAME, names=names, now=now)


async def test_an_old_secret_gets_one_and_keeps_its_identity(api: ApiServer) -> None:
    before = await load_installation(api, "system")
    made = await ensure(api)
    assert await load_installation(api, "system") == before
    assert await ensure(api) == made
    certificate = x509.load_pem_x509_certificate(made.certificate.encode())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(made.authority.encode()))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(each.value) for each in names] == [
        "pantograph-runs",
        "pantograph-runs.system",
        "pantograph-runs.system.svc",
        "pantograph-runs.system.svc.cluster.local",
        "localhost",
        "127.0.0.1",
    ]


async def test_it_is_renewed_before_it_ends_by_the_same_authority(api: ApiServer) -> None:
    made = await ensure(api)
    almost = NOW + LIFE - RENEW_BEFORE
    assert await ensure(api, almost - timedelta(hours=2)) == made
    renewed = await ensure(api, almost + timedelta(hours=2))
    assert renewed.certificate != made.certificate
    assert renewed.authority == made.authority
    ends = x509.load_pem_x509_certificate(renewed.certificate.encode()).not_valid_after_utc
    assert ends > almost + LIFE - timedelta(days=1)


async def test_an_authority_near_its_end_is_made_anew(api: ApiServer) -> None:
    made = await ensure(api)
    later = await ensure(api, NOW + timedelta(days=3650 - 300))
    assert later.authority != made.authority


async def test_another_service_name_needs_another_certificate(api: ApiServer) -> None:
    made = await ensure(api)
    other = await ensure(api, names=names_of("https://runs.elsewhere.svc"))
    assert other.certificate != made.certificate


@pytest.mark.parametrize("error", [Conflict("newer"), OutcomeUnknown("lost")])
async def test_of_two_processes_both_use_what_is_stored(api: ApiServer, error: Exception) -> None:
    api.fail_next("merge_patch", error, after_effect=isinstance(error, OutcomeUnknown))  # type: ignore[arg-type]
    made = await ensure(api)
    assert "runs-tls.key" in (await api.get(SECRETS, "system", SECRET_NAME))["data"]
    assert await ensure(api) == made


async def test_no_key_is_shown_by_accident(api: ApiServer) -> None:
    assert "PRIVATE" not in repr(await ensure(api))
