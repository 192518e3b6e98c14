"""The certificate of the run endpoint: made by the operator with an authority of its own, kept in its Secret.

Runs trust the authority alone, which outlives many certificates: a run that lasts a day sees no change of it.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pantograph.api.meta import SECRETS, Body
from pantograph.engine.kube import Conflict, KubeApi, OutcomeUnknown

AUTHORITY_LIFE: Final = timedelta(days=3650)
LIFE: Final = timedelta(days=365)
RENEW_BEFORE: Final = timedelta(days=120)
"""A third of its life: missed for months, it still has not ended."""
_BACKDATED: Final = timedelta(hours=1)  # for nodes whose clocks are behind
_AUTHORITY, _AUTHORITY_KEY, _CERTIFICATE, _KEY = "runs-ca.crt", "runs-ca.key", "runs-tls.crt", "runs-tls.key"
_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True)
class RunsCertificate:
    """All PEM."""

    authority: str
    authority_key: str = field(repr=False)
    certificate: str
    key: str = field(repr=False)

    def load_into(self, context: ssl.SSLContext) -> None:
        """Serve with it from the next connection on. `ssl` takes files alone: they exist for this moment."""
        with tempfile.TemporaryDirectory(prefix="pantograph-tls-") as folder:
            pem = Path(folder) / "tls.pem"
            with os.fdopen(os.open(pem, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(self.key + self.certificate)
            context.load_cert_chain(pem)


async def ensure_certificate(
    kube: KubeApi, namespace: str, secret: str, *, names: Sequence[str], now: datetime
) -> RunsCertificate:
    """The one in the installation Secret; made or renewed now if it is missing, near its end, or lacks a name.

    `names`: DNS names and IP addresses at which the endpoint is reached. Raises KubeError.
    """
    for _ in range(_ATTEMPTS):
        body = await kube.get(SECRETS, namespace, secret)
        held = _read(body)
        if held is not None and _is_good(held, names, now):
            return held
        made = _issue(held, names, now)
        patch = {"metadata": {"resourceVersion": body["metadata"]["resourceVersion"]}, "data": _write(made)}
        try:
            await kube.merge_patch(SECRETS, namespace, secret, patch)
        except (Conflict, OutcomeUnknown):
            continue  # another process was first, or it was ours: what is stored decides
        return made
    raise Conflict(f"Secret {namespace}/{secret} changes faster than a certificate can be put into it")


def _is_good(held: RunsCertificate, names: Sequence[str], now: datetime) -> bool:
    certificate = x509.load_pem_x509_certificate(held.certificate.encode())
    if certificate.not_valid_after_utc - now < RENEW_BEFORE:
        return False
    alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(each.value) for each in alternatives} >= set(names)


def _issue(held: RunsCertificate | None, names: Sequence[str], now: datetime) -> RunsCertificate:
    """By the authority that is there, if it lives long enough: runs under way go on trusting."""
    authority, authority_key = _authority(held, now)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder("pantograph runs", authority.subject, now, LIFE)
        .public_key(key.public_key())
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return RunsCertificate(_pem(authority), _key_pem(authority_key), _pem(certificate), _key_pem(key))


def _authority(held: RunsCertificate | None, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    if held is not None:
        authority = x509.load_pem_x509_certificate(held.authority.encode())
        key = serialization.load_pem_private_key(held.authority_key.encode(), password=None)
        if authority.not_valid_after_utc - now > LIFE and isinstance(key, ec.EllipticCurvePrivateKey):
            return authority, key
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pantograph runs authority")])
    authority = (
        _builder("pantograph runs authority", name, now, AUTHORITY_LIFE)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_SIGNS, critical=True)
        .sign(key, hashes.SHA256())
    )
    return authority, key


def _builder(common_name: str, issuer: x509.Name, now: datetime, life: timedelta) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + life)
    )


_SIGNS: Final = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _read(secret: Body) -> RunsCertificate | None:
    """None: it was never put there, by an operator that knew no runs."""
    data = secret.get("data") or {}
    try:
        parts = [base64.b64decode(data[name]).decode() for name in (_AUTHORITY, _AUTHORITY_KEY, _CERTIFICATE, _KEY)]
    except KeyError:
        return None
    return RunsCertificate(*parts)


def _write(certificate: RunsCertificate) -> dict[str, str]:
    parts = {
        _AUTHORITY: certificate.authority,
        _AUTHORITY_KEY: certificate.authority_key,
        _CERTIFICATE: certificate.certificate,
        _KEY: certificate.key,
    }
    return {name: base64.b64encode(text.encode()).decode() for name, text in parts.items()}
