"""The fake's HTTP face: errors with status 200, listings paged from one slice, downloads that want a signature."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from pantograph.clock import Clock, SystemClock
from tests.fakes.library import Holdings, Library, Node
from tests.fakes.openlist.accounts import Accounts, Refused, User
from tests.fakes.openlist.faults import BAN_PAGE, Fault, Faults

_INDEX = "<!doctype html><html><head><title>OpenList</title></head><body><div id=root></div></body></html>"


class FakeOpenList:
    """`library` is what it serves, `faults` how it fails, `requests` what it was asked (path of the API: how often)."""

    def __init__(self, library: Holdings | None = None, *, clock: Clock | None = None) -> None:
        self.library = Library() if library is None else library
        self.accounts = Accounts(clock or SystemClock())
        self.faults = Faults()
        self.requests: Counter[str] = Counter()
        self.listed: Counter[str] = Counter()
        """How often each directory was asked for, pages counted one by one."""
        self.mounts: set[str] = set()
        """Where other storages are mounted."""
        self.sign_all = True
        self.page_cap: int | None = None
        """At most so many entries an answer, whatever was asked."""
        self.base_url = ""
        self._totals = 0
        self._released = asyncio.Event()

    def restart(self) -> None:
        """All sessions end; nothing else is lost."""
        self.accounts.end_sessions()

    def release(self) -> None:
        """Ends every hang."""
        self._released.set()

    def application(self) -> web.Application:
        application = web.Application(middlewares=[_refusals])
        application.router.add_post("/api/auth/login", self._log_in)
        application.router.add_post("/api/auth/login/hash", self._log_in)
        application.router.add_get("/api/me", self._me)
        application.router.add_route("*", "/api/public/settings", self._settings)
        application.router.add_get("/ping", _ping)
        application.router.add_post("/api/fs/list", self._list)
        application.router.add_post("/api/fs/get", self._get)
        application.router.add_get("/d/{path:.*}", self._download)
        application.router.add_get("/p/{path:.*}", self._download)
        application.router.add_get("/{path:.*}", _index)
        return application

    async def _log_in(self, request: web.Request) -> web.StreamResponse:
        self.requests["login"] += 1
        token = self.accounts.log_in(await request.json(), hashed=request.path.endswith("/hash"))
        return _answer(200, "success", {"token": token})

    async def _settings(self, _: web.Request) -> web.StreamResponse:
        self.requests["settings"] += 1
        return _answer(200, "success", {"version": "v4.1.9", "site_title": "OpenList"})

    async def _me(self, request: web.Request) -> web.StreamResponse:
        self.requests["me"] += 1
        user = self._user(request)
        role = 2 if user.username == "admin" else 0
        me = {"id": 2, "username": user.username, "base_path": user.base_path, "role": role, "disabled": user.disabled}
        return _answer(200, "success", me | {"permission": 0, "otp": user.otp_code is not None})

    async def _list(self, request: web.Request) -> web.StreamResponse:
        self.requests["list"] += 1
        question = await request.json()
        user = self._user(request)
        path = _joined(user.base_path, question["path"])
        self.listed[path] += 1
        fault = self.faults.take(path)
        if fault is not None:
            return await self._spoilt(request, fault, path, question)
        if question.get("refresh") and not user.can_write:
            raise Refused(403, "Refresh without permission")
        return _answer(200, "success", self._listing(path, self._children(path), question))

    async def _get(self, request: web.Request) -> web.StreamResponse:
        self.requests["get"] += 1
        path = _joined(self._user(request).base_path, (await request.json())["path"])
        node = self.library.node(path)
        if node is None:
            raise Refused(500, "failed get obj: object not found")
        item = self._item(path.rpartition("/")[0], node)
        more = {"raw_url": f"{self.base_url}/p{path}", "provider": "Local", "related": None}
        return _answer(200, "success", item | more)

    async def _download(self, request: web.Request) -> web.StreamResponse:
        self.requests["download"] += 1
        path = "/" + request.match_info["path"]
        sign = request.query.get("sign", "")
        if self.sign_all and sign != self._sign(path):
            fault = "expire missing" if not sign else "sign invalid"
            return web.Response(status=401, text=f"<html>{fault}</html>", content_type="text/html")
        node = self.library.node(path)
        if node is None or node.is_dir:
            return web.Response(status=500, text="<html>object not found</html>", content_type="text/html")
        if request.path.startswith("/d/") and not request.query.get("direct"):
            # As a cloud's own address: another path, nothing of ours along.
            return web.Response(
                status=302, headers={"Location": f"{request.rel_url.with_query(sign=sign, direct='1')}"}
            )
        if "Authorization" in request.headers:
            return web.Response(status=400, text="the token was sent to the cloud")
        return web.Response(body=self.library.content(path))

    def _user(self, request: web.Request) -> User:
        return self.accounts.user_of(request.headers.get("Authorization", ""))

    def _children(self, path: str) -> list[Node]:
        children = self.library.children(path)
        if children is None:
            raise Refused(500, "failed get objs: failed get dir: object not found")
        return children

    def _listing(self, path: str, nodes: list[Node], question: dict[str, Any]) -> dict[str, Any]:
        """As FsList: `per_page` below 1 means all, and an empty slice is null."""
        page, per_page = max(1, question.get("page", 1)), question.get("per_page", 0)
        size = per_page if per_page > 0 else len(nodes)
        shown = nodes[(page - 1) * size : page * size]
        if self.page_cap is not None:
            shown = shown[: self.page_cap]
        content = [self._item(path, node) for node in shown] or None
        return {
            "content": content,
            "total": len(nodes),
            "readme": "",
            "header": "",
            "write": False,
            "write_content_bypass": False,
            "provider": "unknown",
        }

    def _item(self, parent: str, node: Node) -> dict[str, Any]:
        path = f"{parent.rstrip('/')}/{node.name}"
        item: dict[str, Any] = {
            "name": node.name,
            "size": node.size,
            "is_dir": node.is_dir,
            "modified": node.modified.isoformat().replace("+00:00", "Z"),
            "created": "2024-04-30T08:00:00Z",
            "sign": self._sign(path) if self.sign_all and not node.is_dir else "",
            "thumb": "",
            "type": 1 if node.is_dir else 2,
            "hashinfo": "null",
            "hash_info": None,
        }
        if path in self.mounts:
            item |= {"created": item["modified"], "mount_details": {"driver_name": "115 Cloud", "total_space": 1 << 40}}
        return item

    def _sign(self, path: str) -> str:
        digest = hmac.new(self.accounts.admin_token.encode(), f"{path}:0".encode(), hashlib.sha256).digest()
        return f"{base64.urlsafe_b64encode(digest).decode()}:0"

    async def _spoilt(
        self, request: web.Request, fault: Fault, path: str, question: dict[str, Any]
    ) -> web.StreamResponse:
        if fault in _CODES:
            return _answer(*_CODES[fault])
        if fault in _STATUSES:
            status, body, headers = _STATUSES[fault]
            return web.Response(status=status, text=body, content_type="text/html", headers=headers)
        if fault is Fault.HANG:
            await self._released.wait()
            return _answer(500, "released")
        data = self._listing(path, self._children(path), question)
        if fault is Fault.CUT:
            return await _cut(request, {"code": 200, "message": "success", "data": data})
        return _answer(200, "success", self._spoilt_data(fault, path, data, question))

    def _spoilt_data(
        self, fault: Fault, path: str, data: dict[str, Any], question: dict[str, Any]
    ) -> dict[str, Any] | None:
        content = data["content"] or []
        if fault is Fault.NULL_DATA:
            return None
        if fault is Fault.NO_CONTENT_KEY:
            return {"total": 0}
        if fault is Fault.EMPTY:
            return data | {"content": None, "total": 0}
        if fault is Fault.SHORT_PAGE:
            return data | {"content": content[: len(content) // 2] if question.get("page", 1) == 1 else None}
        if fault is Fault.TOTAL_TOO_HIGH:
            return data | {"total": data["total"] + 3}
        if fault is Fault.TOTAL_CHANGES:
            self._totals += 1
            return data | {"content": content[:1], "total": data["total"] + self._totals}
        if fault is Fault.WRONG_TYPES:
            return data | {"content": [item | {"name": 7} for item in content] or [7], "total": max(1, len(content))}
        if fault is Fault.ROOT_ECHO:
            return self._listing("/", self._children("/"), question)
        assert fault is Fault.MOUNTS_ONLY
        mounts = [Node(mount.rpartition("/")[2], True) for mount in sorted(self.mounts) if _parent(mount) == path]
        return self._listing(path, mounts, question)


_CODES: dict[Fault, tuple[int, str]] = {
    Fault.ERROR_500: (500, "failed get objs: failed to list objs: context deadline exceeded"),
    Fault.BAN_IN_MESSAGE: (500, f"failed get objs: failed to list objs: {BAN_PAGE}"),
    Fault.FORBIDDEN: (403, "password is incorrect or you have no permission"),
    Fault.STORAGE_GONE: (500, "failed get storage: storage not found; please add a storage first"),
    Fault.CODE_ZERO: (0, ""),
    Fault.TOKEN_EXPIRED: (401, "token is expired"),
}
_STATUSES: dict[Fault, tuple[int, str, dict[str, str]]] = {
    Fault.BAN_PAGE: (200, BAN_PAGE, {}),
    Fault.STATUS_405: (405, BAN_PAGE, {}),
    Fault.STATUS_429: (429, "slow down", {"Retry-After": "90"}),
    Fault.STATUS_502: (502, "<html>bad gateway</html>", {}),
}


@asynccontextmanager
async def serving(fake: FakeOpenList, *, host: str = "127.0.0.1") -> AsyncIterator[FakeOpenList]:
    """`fake` answers at its `base_url`, an address of `host`, until the end."""
    # A hung answer must not hold the end up: nobody waits for it any more.
    runner = web.AppRunner(fake.application(), shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, host, 0)
    await site.start()
    fake.base_url = f"http://{host}:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        fake.release()
        await runner.cleanup()


async def _cut(request: web.Request, answer: dict[str, Any]) -> web.StreamResponse:
    body = json.dumps(answer).encode()
    response = web.StreamResponse(headers={"Content-Length": str(len(body)), "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    assert request.transport is not None
    request.transport.close()
    return response


def _answer(code: int, message: str, data: dict[str, Any] | None = None) -> web.Response:
    return web.json_response({"code": code, "message": message, "data": data})


@web.middleware
async def _refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """An error is a success of HTTP."""
    try:
        return await handler(request)
    except Refused as refused:
        return _answer(refused.code, refused.message)


async def _ping(_: web.Request) -> web.StreamResponse:
    return web.Response(text="pong")


async def _index(_: web.Request) -> web.StreamResponse:
    """What every address that is not the API's leads to."""
    return web.Response(text=_INDEX, content_type="text/html")


def _joined(base_path: str, path: str) -> str:
    return "/" + "/".join(name for name in f"{base_path}/{path}".split("/") if name)


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"
