"""Certificates of one test control plane: an authority, a server, an administrator, others that are asked for, and the
service accounts' key.
"""

import datetime
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALID_FOR = datetime.timedelta(days=7)
"""Longer than any control plane lives; a forgotten key is worth nothing afterwards."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a certificate speaks for: `user` and `group` as a client of the API, `addresses` as a server of its own."""

    user: str
    group: str = ""
    addresses: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Certificates:
    """Paths of the PEM files."""

    ca: Path
    server: Path
    server_key: Path
    admin: Path
    admin_key: Path
    service_account_key: Path

    def pair(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of one of `others`."""
        return self.ca.with_name(f"{name}.crt"), self.ca.with_name(f"{name}.key")


def issue_certificates(
    folder: Path, *, addresses: tuple[str, ...], names: tuple[str, ...], others: Mapping[str, Identity] | None = None
) -> Certificates:
    """Write new certificates into `folder`; the API server's is valid for `addresses` (IP) and `names` (DNS)."""
    folder.mkdir(mode=0o700, parents=True)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("pantograph-test-ca")
    ca = (
        _builder(ca_name, ca_key, issuer=ca_name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    _write_certificate(folder / "ca.crt", ca)
    identities = {
        "server": Identity("kube-apiserver", addresses=addresses, names=names),
        "admin": Identity("admin", "system:masters"),
        **(others or {}),
    }
    for name, identity in identities.items():
        key = ec.generate_private_key(ec.SECP256R1())
        _write_certificate(folder / f"{name}.crt", _issue(identity, key, ca_name=ca_name, ca_key=ca_key))
        _write_key(folder / f"{name}.key", key)
    _write_key(folder / "service-account.key", rsa.generate_private_key(public_exponent=65537, key_size=2048))
    return Certificates(
        ca=folder / "ca.crt",
        server=folder / "server.crt",
        server_key=folder / "server.key",
        admin=folder / "admin.crt",
        admin_key=folder / "admin.key",
        service_account_key=folder / "service-account.key",
    )


def _issue(
    identity: Identity, key: ec.EllipticCurvePrivateKey, *, ca_name: x509.Name, ca_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in identity.names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in identity.addresses]
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = _builder(_name(identity.user, organization=identity.group), key, issuer=ca_name).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
    )
    if alternatives:
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False).sign(ca_key, hashes.SHA256())


def _builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, issuer: x509.Name) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + _VALID_FOR)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common_name: str, *, organization: str = "") -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _write_certificate(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
