"""The floor: what a bare asyncio loop over raw aiohttp costs for the same objects and the same number of writes.

`write`: list in pages, watch, and patch each object's status each time its change comes back, until it has been written
so often; then create as many Events as were asked for. `list`: the paged LIST and its decoding alone.
Prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import yaml

from tests.bench.metering import cpu_s, rss_bytes

PAGE = 500
WORKERS = 8
Body = dict[str, Any]


@dataclass
class Loop:
    """Everything that the floor knows."""

    session: aiohttp.ClientSession
    server: str
    namespace: str
    writes: int
    events: int
    left: dict[str, int] = field(default_factory=dict)
    queue: asyncio.Queue[Body] = field(default_factory=asyncio.Queue)
    done: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def collection(self) -> str:
        return f"{self.server}/apis/pantograph.dev/v1alpha1/namespaces/{self.namespace}/templatereplicas"

    async def pages(self) -> AsyncIterator[Body]:
        query = {"limit": str(PAGE)}
        while True:
            async with self.session.get(self.collection, params=query) as answer:
                page: Body = json.loads(await answer.read())
            yield page
            following = page["metadata"].get("continue")
            if not following:
                return
            query["continue"] = following

    async def write_all(self) -> None:
        version = ""
        async for page in self.pages():
            version = page["metadata"]["resourceVersion"]
            for item in page["items"]:
                self.left[item["metadata"]["name"]] = self.writes
                self.queue.put_nowait(item)
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(self.watch(version))]
        tasks += [asyncio.create_task(self.work()) for _ in range(WORKERS)]
        over = asyncio.create_task(self.over.wait())
        done, _ = await asyncio.wait([*tasks, over], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        for task in done & set(tasks):
            task.result()

    async def watch(self, version: str) -> None:
        query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "3600"}
        async with self.session.get(self.collection, params=query) as answer:
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "MODIFIED":
                    self.queue.put_nowait(event["object"])

    async def work(self) -> None:
        while True:
            body = await self.queue.get()
            name = body["metadata"]["name"]
            if self.left[name] > 0:
                await self.patch(name, body)
            elif self.left[name] == 0:
                await self.finish(name, body)

    async def patch(self, name: str, body: Body) -> None:
        self.left[name] -= 1
        status = {**body["status"], "lastHandledReconcileAt": str(self.left[name])}
        patch = {"metadata": {"resourceVersion": body["metadata"]["resourceVersion"]}, "status": status}
        headers = {"Content-Type": "application/merge-patch+json"}
        url = f"{self.collection}/{name}/status"
        async with self.session.patch(url, data=json.dumps(patch), headers=headers) as answer:
            json.loads(await answer.read())
            answer.raise_for_status()

    async def finish(self, name: str, body: Body) -> None:
        """The last change has come back: nothing but the Events is left."""
        self.left[name] = -1
        for number in range(self.events):
            await self.create_event(f"{name}.floor{number}", body)
        self.done += 1
        if self.done == len(self.left):
            self.over.set()

    async def create_event(self, name: str, body: Body) -> None:
        meta = body["metadata"]
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": self.namespace},
            "involvedObject": {"kind": "TemplateReplica", "name": meta["name"], "uid": meta["uid"]}
            | {"namespace": self.namespace, "apiVersion": "pantograph.dev/v1alpha1"},
            "type": "Normal",
            "reason": "Floor",
            "message": "a message of the usual length, as an operator would write it",
            "source": {"component": "floor"},
        }
        url = f"{self.server}/api/v1/namespaces/{self.namespace}/events"
        async with self.session.post(url, json=event) as answer:
            json.loads(await answer.read())
            answer.raise_for_status()


async def _measure(args: argparse.Namespace) -> None:
    server, context = _credentials(args.kubeconfig)
    connector = aiohttp.TCPConnector(ssl=context, limit=32)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        loop = Loop(session, server, args.namespace, args.writes, args.events)
        began, used = monotonic(), cpu_s()
        objects = 0
        if args.mode == "list":
            async for page in loop.pages():
                objects += len(page["items"])
        else:
            await loop.write_all()
            objects = len(loop.left)
        spent = {"cpu_s": cpu_s() - used, "wall_s": monotonic() - began}
        print(json.dumps({"objects": objects, **spent, "rss_bytes": rss_bytes()}), flush=True)


def _credentials(kubeconfig: Path) -> tuple[str, ssl.SSLContext]:
    """The administrator's client certificate."""
    content = yaml.safe_load(kubeconfig.read_text())
    cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
    context = ssl.create_default_context(cafile=cluster["certificate-authority"])
    context.load_cert_chain(user["client-certificate"], user["client-key"])
    return cluster["server"], context


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=["write", "list"])
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--writes", type=int, default=0)
    parser.add_argument("--events", type=int, default=0)
    asyncio.run(_measure(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
