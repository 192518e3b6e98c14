"""The port `KubeApi` over the official async client: every kind goes one way, as JSON.

The package's generated methods decode into models and know custom objects only with detours; what is used of it is its
transport, TLS and credentials. A call costs about what bare aiohttp costs (0.33 ms of CPU a status patch).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio.client import ApiClient

from pantograph.api.meta import Body, ResourceType

from .kube import (
    FIELD_MANAGER,
    Conflict,
    Forbidden,
    Invalid,
    KubeError,
    Listing,
    NotFound,
    OutcomeUnknown,
    Unavailable,
)
from .login import Login
from .metrics import Metrics

PAGE = 500
REQUEST_TIMEOUT_S = 30.0
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_GONE = 410
_REFUSALS: Mapping[int, type[KubeError]] = {
    400: Invalid,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    405: Invalid,
    409: Conflict,
    413: Invalid,
    415: Invalid,
    422: Invalid,
}

Subresource = Literal["status"] | None


class KubeClient:
    """`KubeApi` against a real API server. Close it when done."""

    def __init__(self, login: Login, *, metrics: Metrics, request_timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        self._api = ApiClient(login.configuration)
        self._configuration = login.configuration
        self._metrics = metrics
        self._timeout_s = request_timeout_s

    async def close(self) -> None:
        await self._api.close()  # type: ignore[no-untyped-call]

    async def list(
        self,
        resource: ResourceType,
        *,
        namespace: str | None = None,
        labels: str | None = None,
        metadata_only: bool = False,
    ) -> Listing:
        try:
            return await self._list(resource, namespace, labels, metadata_only=metadata_only, limit=PAGE)
        except Unavailable as error:
            if error.code != _GONE:
                raise
        # The pages took longer than the server keeps the past: read all at once.
        return await self._list(resource, namespace, labels, metadata_only=metadata_only, limit=None)

    async def _list(
        self,
        resource: ResourceType,
        namespace: str | None,
        labels: str | None,
        *,
        metadata_only: bool,
        limit: int | None,
    ) -> Listing:
        query = {name: value for name, value in (("labelSelector", labels), ("limit", limit)) if value}
        accept = _METADATA_ONLY if metadata_only else "application/json"
        kind = {} if metadata_only else {"apiVersion": resource.api_version, "kind": resource.kind}
        items: list[Body] = []
        while True:
            page = await self._call("list", resource, namespace, query=query, accept=accept)
            # Null in a metadata-only list of nothing: the server appends to a slice that nobody made.
            for item in page["items"] or ():
                item["metadata"].pop("managedFields", None)
                items.append({**kind, **item})
            following = page["metadata"].get("continue")
            if not following:
                return Listing(items, page["metadata"]["resourceVersion"])
            query["continue"] = following

    async def get(self, resource: ResourceType, namespace: str, name: str) -> Body:
        return await self._call("get", resource, namespace, name)

    async def create(self, resource: ResourceType, namespace: str, body: Body) -> Body:
        query = {"fieldManager": FIELD_MANAGER}
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
        return await self._call("create", resource, namespace, query=query, body=body)

    async def apply(self, resource: ResourceType, namespace: str, name: str, body: Body) -> Body:
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
        return await self._patch(resource, namespace, name, body, "application/apply-patch+yaml", query, None)

    async def merge_patch(
        self,
        resource: ResourceType,
        namespace: str,
        name: str,
        patch: Mapping[str, Any],
        *,
        subresource: Subresource = None,
    ) -> Body:
        query = {"fieldManager": FIELD_MANAGER}
        return await self._patch(resource, namespace, name, patch, "application/merge-patch+json", query, subresource)

    async def json_patch(
        self,
        resource: ResourceType,
        namespace: str,
        name: str,
        patch: Sequence[Mapping[str, Any]],
        *,
        subresource: Subresource = None,
    ) -> Body:
        query = {"fieldManager": FIELD_MANAGER}
        body = list(patch)
        return await self._patch(resource, namespace, name, body, "application/json-patch+json", query, subresource)

    async def replace(self, resource: ResourceType, namespace: str, name: str, body: Body) -> Body:
        query = {"fieldManager": FIELD_MANAGER}
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
        return await self._call("replace", resource, namespace, name, query=query, body=body)

    async def delete(
        self,
        resource: ResourceType,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Literal["Background", "Foreground"] = "Background",
    ) -> None:
        conditions = {"uid": uid, "resourceVersion": resource_version}
        preconditions = {field: value for field, value in conditions.items() if value is not None}
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        body = {**options, "preconditions": preconditions} if preconditions else options
        await self._call("delete", resource, namespace, name, body=body)

    async def served(self, resource: ResourceType) -> bool:
        path = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
        try:
            answer = await self._request("served", resource, "GET", path, {"Accept": "application/json"}, None)
        except NotFound:
            return False
        return any(each["name"] == resource.plural and each["kind"] == resource.kind for each in answer["resources"])

    async def _patch(
        self,
        resource: ResourceType,
        namespace: str,
        name: str,
        body: Any,
        content_type: str,
        query: Mapping[str, str],
        subresource: Subresource,
    ) -> Body:
        return await self._call(
            "patch",
            resource,
            namespace,
            name,
            query=query,
            body=body,
            content_type=content_type,
            subresource=subresource,
        )

    async def _call(
        self,
        verb: str,
        resource: ResourceType,
        namespace: str | None,
        name: str | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        subresource: Subresource = None,
    ) -> Body:
        path = _path(resource, namespace, name, subresource)
        if query:
            path = f"{path}?{urlencode(query)}"
        headers = {"Accept": accept, "Content-Type": content_type}
        return await self._request(verb, resource, _METHODS[verb], path, headers, body)

    async def _request(
        self, verb: str, resource: ResourceType, method: str, path: str, headers: dict[str, str], body: Any
    ) -> Body:
        token = (await self._configuration.auth_settings()).get("BearerToken")
        if token is not None:
            headers["Authorization"] = str(token["value"])
        code = "lost"
        try:
            response = await self._api.call_api(
                method,
                f"{self._configuration.host}{path}",
                header_params=headers,
                body=body,
                _request_timeout=self._timeout_s,  # one number; a tuple is a TypeError in the package
            )
            raw = await response.read()  # type: ignore[no-untyped-call]
            code = str(response.status)
        except aiohttp.ClientConnectorError as error:  # nothing was sent
            raise Unavailable(f"the API server was not reached: {error}") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            fault = str(error) or type(error).__name__
            if method == "GET":
                raise Unavailable(f"no answer of the API server to {verb} {path}: {fault}") from error
            raise OutcomeUnknown(f"the answer of the API server to {verb} {path} was lost: {fault}") from error
        finally:
            self._metrics.api_requests.labels(verb, resource.plural, code).inc()
        if response.status >= 300:
            raise _refusal(method, response.status, raw)
        answer: Body = json.loads(raw)
        if "metadata" in answer:
            answer["metadata"].pop("managedFields", None)
        return answer


_METHODS = {"list": "GET", "get": "GET", "create": "POST", "patch": "PATCH", "replace": "PUT", "delete": "DELETE"}


def _path(resource: ResourceType, namespace: str | None, name: str | None, subresource: Subresource) -> str:
    parts = ["apis", resource.group, resource.version] if resource.group else ["api", resource.version]
    if namespace and resource.namespaced:
        parts += ["namespaces", namespace]
    parts.append(resource.plural)
    if name:
        parts.append(quote(name, safe=""))
    if subresource:
        parts.append(subresource)
    return "/" + "/".join(parts)


def _refusal(method: str, code: int, raw: bytes) -> KubeError:
    """What the server's Status says, as one of the port's errors."""
    try:
        status = json.loads(raw)
        message, reason = str(status.get("message", "")), status.get("reason")
    except ValueError:  # a proxy's page, not the API server's answer
        message, reason = raw[:200].decode(errors="replace"), None
    message = message or f"HTTP {code}"
    kind = _REFUSALS.get(code)
    if kind is None:
        # "etcdserver: request timed out" is a 500 of a write that may be committed later.
        kind = OutcomeUnknown if code >= 500 and method != "GET" else Unavailable
    return kind(message, code=code, reason=reason)
