"""Reading what users keep in Secrets. Values never leave the caller: no status, event, log or message holds one."""

from __future__ import annotations

import base64

from pantograph.api.meta import SECRETS, Body, LocalReference
from pantograph.api.vmtemplate import SecretKey
from pantograph.engine.errors import Terminal, Waiting
from pantograph.engine.kube import KubeApi, NotFound
from pantograph.providers.trust import CA_KEY


class SecretNotFound(Waiting):
    """The Secret does not exist, or not any more."""


async def read_secret(kube: KubeApi, namespace: str, name: str) -> tuple[str, dict[str, str]]:
    """The Secret's resourceVersion and those of its values that are text. Raises SecretNotFound."""
    body = await _get(kube, namespace, name)
    texts = {key: _text(value) for key, value in (body.get("data") or {}).items()}
    return body["metadata"]["resourceVersion"], {key: text for key, text in texts.items() if text is not None}


async def read_secret_bytes(kube: KubeApi, namespace: str, name: str) -> dict[str, bytes]:
    """All of it as it is, for whoever gets the Secret as files. Raises SecretNotFound."""
    body = await _get(kube, namespace, name)
    return {key: base64.b64decode(value) for key, value in (body.get("data") or {}).items()}


async def read_secret_key(kube: KubeApi, namespace: str, reference: SecretKey) -> str:
    """One value. Raises SecretNotFound, or Waiting `SecretKeyMissing`."""
    _, values = await read_secret(kube, namespace, reference.name)
    try:
        return values[reference.key]
    except KeyError:
        raise Waiting("SecretKeyMissing", f"Secret {reference.name} has no key {reference.key}", 60) from None


async def read_authority(kube: KubeApi, namespace: str, reference: LocalReference) -> str:
    """The certificates (PEM) that a `caRef` names. Raises SecretNotFound, or Terminal `SecretKeyMissing`."""
    _, values = await read_secret(kube, namespace, reference.name)
    if CA_KEY not in values:
        raise Terminal(
            "SecretKeyMissing",
            f"Secret {reference.name} has no key {CA_KEY}",
            remedy=f"kubectl create secret generic {reference.name} --from-file={CA_KEY}=FILE",
        )
    return values[CA_KEY]


async def _get(kube: KubeApi, namespace: str, name: str) -> Body:
    try:
        return await kube.get(SECRETS, namespace, name)
    except NotFound as missing:
        raise SecretNotFound(
            "SecretNotFound", f"Secret {name} does not exist in namespace {namespace}", 60
        ) from missing


def _text(value: str) -> str | None:
    """None: bytes that are no text, in a key that is not for us."""
    try:
        return base64.b64decode(value).decode()
    except UnicodeDecodeError:
        return None
