"""Who we are for the API server: a kubeconfig, or the pod's ServiceAccount; one answer for our client and for kopf.

A kubeconfig that was named wins, then the pod's account, then `~/.kube/config` (the package's own `load_config` prefers
the home directory even inside a pod). The pod's token is read again every minute, as Kubernetes rotates it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes.aio import config as loading
from kubernetes.aio.client import Configuration
from kubernetes.aio.config.incluster_config import SERVICE_TOKEN_FILENAME

POOL = 32
"""Connections at most: the API server answers a hundred writes no sooner over more."""


class LoginError(Exception):
    """There are no usable credentials; the message says where they were sought."""


@dataclass(frozen=True, slots=True)
class Login:
    """Credentials and the address they are for."""

    configuration: Configuration
    refresh: Callable[[], Coroutine[Any, Any, None]] | None
    """Keeps credentials of an exec plugin fresh, until cancelled; None: nothing needs it."""

    async def token(self) -> str | None:
        """The bearer token as it is now."""
        value = (await self.configuration.auth_settings()).get("BearerToken", {}).get("value")
        return None if value is None else value.split(" ", 1)[-1].strip()


async def log_in(kubeconfig: Path | None = None) -> Login:
    """Find the credentials. Raises LoginError."""
    configuration = Configuration(
        connection_pool_maxsize=POOL,
        client_session_kwargs={"trust_env": False},  # True looks for proxies and .netrc on every call: twice the CPU
    )
    path = _kubeconfig(kubeconfig)
    if path is None:
        try:
            loading.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
        except loading.ConfigException as error:
            raise LoginError(f"the pod's ServiceAccount cannot be used: {error}") from error
        return Login(configuration, None)
    try:
        loader = await loading.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=str(path), client_configuration=configuration, persist_config=False
        )
    except loading.ConfigException as error:
        raise LoginError(f"the kubeconfig {path} cannot be used: {error}") from error

    async def refresh() -> None:
        await loading.refresh_token(loader, configuration)  # type: ignore[no-untyped-call]
        await asyncio.Event().wait()  # it returns at once where no plugin has to be asked again

    return Login(configuration, refresh)


def _kubeconfig(named: Path | None) -> Path | None:
    """Which kubeconfig to use; None: the pod's ServiceAccount."""
    if named is None and os.environ.get("KUBECONFIG"):
        named = Path(os.environ["KUBECONFIG"])
    if named is None and Path(SERVICE_TOKEN_FILENAME).exists():
        return None
    path = named or Path("~/.kube/config").expanduser()
    if not path.is_file():
        raise LoginError(f"there is no kubeconfig {path}, and this is no pod; to mend it: set KUBECONFIG")
    return path
