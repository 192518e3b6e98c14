"""The engine against the real API server: kopf's watch, the ghosts that it leaves, the Lease, a missing kind."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from random import Random

import pytest

from hack.controlplane.controlplane import ControlPlane
from pantograph.api.crd import definition
from pantograph.api.meta import LEASES, Key, ResourceType
from pantograph.clock import SystemClock
from pantograph.engine.client import KubeClient
from pantograph.engine.informer import MissingKinds
from pantograph.engine.kube import NotFound, Unavailable, WatchEvent
from pantograph.engine.lease import Elector
from pantograph.engine.login import Login, log_in
from pantograph.engine.manager import Manager
from pantograph.engine.metrics import Metrics
from pantograph.engine.services import Services
from pantograph.engine.watch import KopfWatch
from tests.unit.engine.toy import BOXES, TOYS, Box, BoxController, Toy, ToyController, Wall

LIMIT_S = 60.0

TOY = f"{TOYS.plural}.{TOYS.group}"
"""In full: other tests have toys of another group, and kubectl remembers what it has seen served."""


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """The control plane with both toy kinds."""
    crds = [definition(Toy), definition(Box)]
    control_plane.kubectl("apply", "-f", "-", stdin="\n---\n".join(json.dumps(crd) for crd in crds))
    for crd in crds:
        control_plane.kubectl("wait", "--for=condition=Established", f"crd/{crd['metadata']['name']}")
    yield control_plane
    control_plane.kubectl("delete", "crd", *(crd["metadata"]["name"] for crd in crds), "--timeout=180s")


@pytest.fixture
async def login(plane: ControlPlane) -> Login:
    return await log_in(plane.kubeconfig)


@pytest.fixture
async def kube(login: Login) -> AsyncIterator[KubeClient]:
    client = KubeClient(login, metrics=Metrics())
    yield client
    await client.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110  # of another process and another thread
            await asyncio.sleep(0.05)


def new_manager(kube: KubeClient, login: Login, wall: Wall, namespace: str) -> Manager:
    services = Services.create(kube=kube, clock=SystemClock(), random=Random(1))
    return Manager(
        services=services,
        source=KopfWatch(login, namespaces=[namespace]),
        controllers=[ToyController(services, wall), BoxController(services)],
        namespaces=[namespace],
    )


async def clear(kube: KubeClient, namespace: str) -> None:
    """Delete the toys while somebody is there to let them go: else their finalizers hold the namespace for ever."""
    for body in (await kube.list(TOYS, namespace=namespace)).items:
        with suppress(NotFound):  # one that was going already is gone by now
            await kube.delete(TOYS, namespace, body["metadata"]["name"])
    async with asyncio.timeout(LIMIT_S):
        while (await kube.list(TOYS, namespace=namespace)).items:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


@asynccontextmanager
async def running(manager: Manager) -> AsyncIterator[None]:
    task = asyncio.create_task(manager.run())
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        manager.stop()
        await task


async def test_a_toy_lives_and_dies_and_kopf_writes_nothing(
    plane: ControlPlane, kube: KubeClient, login: Login, namespace: str
) -> None:
    wall = Wall()
    await kube.create(TOYS, namespace, {"metadata": {"name": "before"}, "spec": {"colour": "blue"}})
    async with running(new_manager(kube, login, wall, namespace)):
        await kube.create(TOYS, namespace, {"metadata": {"name": "x"}, "spec": {"colour": "red"}})
        wait = ("wait", "--for=condition=Ready", f"{TOY}/x", f"{TOY}/before", "-n", namespace, "--timeout=180s")
        await asyncio.to_thread(plane.kubectl, *wait)
        await kube.merge_patch(TOYS, namespace, "x", {"spec": {"colour": "green"}})
        await until(lambda: "green" in wall.paint.values())
        await kube.delete(TOYS, namespace, "x")
        await until(lambda: "green" not in wall.paint.values())
        await clear(kube, namespace)
    calls = [json.loads(line) for line in plane.audit_log.read_text().splitlines()]
    by_kopf = [call for call in calls if "kopf" in call.get("userAgent", "").lower()]
    assert {call["verb"] for call in by_kopf} <= {"get", "list", "watch"}
    # What the informer has just listed, kopf does not list again.
    here = [call["verb"] for call in by_kopf if call.get("objectRef", {}).get("namespace") == namespace]
    assert set(here) == {"watch"}


async def test_a_restart_on_converged_toys_writes_nothing(
    plane: ControlPlane, kube: KubeClient, login: Login, namespace: str
) -> None:
    wall = Wall()
    for n in range(20):
        await kube.create(TOYS, namespace, {"metadata": {"name": f"x{n}"}, "spec": {"colour": "red"}})
    wait = ("wait", "--for=condition=Ready", TOY, "--all", "-n", namespace, "--timeout=180s")
    async with running(new_manager(kube, login, wall, namespace)):
        await asyncio.to_thread(plane.kubectl, *wait)
    versions = {
        body["metadata"]["name"]: body["metadata"]["resourceVersion"]
        for body in (await kube.list(TOYS, namespace=namespace)).items
    }
    looks = wall.looks
    async with running(new_manager(kube, login, wall, namespace)):
        await until(lambda: wall.looks >= looks + 20)
        await asyncio.sleep(1)  # a write that should not come has no event to wait for
        again = await kube.list(TOYS, namespace=namespace)
        assert {body["metadata"]["name"]: body["metadata"]["resourceVersion"] for body in again.items} == versions
        await clear(kube, namespace)


async def test_an_object_deleted_while_the_api_server_was_away_is_forgotten(
    plane: ControlPlane, kube: KubeClient, login: Login, namespace: str
) -> None:
    wall = Wall()
    for name in ("gone", "stays"):
        await kube.create(BOXES, namespace, {"metadata": {"name": name}, "spec": {}})
    await kube.create(TOYS, namespace, {"metadata": {"name": "x"}, "spec": {"colour": "red", "box": "gone"}})
    manager = new_manager(kube, login, wall, namespace)
    cache = manager.services.cache
    async with running(manager):
        await until(lambda: manager.ready and manager.services.queue.idle and wall.strokes == 1)
        await asyncio.to_thread(plane.stop_apiserver)
        key = base64.b64encode(f"/registry/pantograph.dev/boxes/{namespace}/gone".encode()).decode()
        deleted = await asyncio.to_thread(plane._etcd, "kv/deleterange", {"key": key})
        assert deleted["deleted"] == "1"
        await asyncio.to_thread(plane.compact_etcd)
        with pytest.raises(Unavailable, match="not reached"):
            await kube.get(TOYS, namespace, "x")
        await asyncio.to_thread(plane.start_apiserver)
        looks = wall.looks
        await until(lambda: cache.keys("Box") == [Key("Box", namespace, "stays")])
        await until(lambda: wall.looks > looks)
        await kube.create(TOYS, namespace, {"metadata": {"name": "later"}, "spec": {"colour": "red"}})
        await until(lambda: wall.strokes == 2)
        await clear(kube, namespace)


async def test_a_selector_narrows_what_the_watch_delivers(kube: KubeClient, login: Login, namespace: str) -> None:
    seen: list[str] = []

    def sink(resource: ResourceType, event: WatchEvent) -> None:
        seen.append(event.object["metadata"]["name"])

    watch = KopfWatch(login, namespaces=[namespace], labels={"boxes": "colour=red"})
    task = asyncio.create_task(watch.run([BOXES], sink))
    for n, colour in enumerate(["blue", "red", "blue", "red"]):
        await kube.create(BOXES, namespace, {"metadata": {"name": f"b{n}", "labels": {"colour": colour}}, "spec": {}})
    await until(lambda: len(seen) == 2)
    task.cancel()
    await asyncio.wait([task])
    assert sorted(seen) == ["b1", "b3"]


async def test_a_missing_kind_ends_the_start(plane: ControlPlane, kube: KubeClient, login: Login) -> None:
    del plane

    class Ghost(Box):
        """A kind that nobody installed."""

    Ghost.info = type(Box.info)(resource=ResourceType("pantograph.dev", "v1alpha1", "ghosts", "Ghost"))

    class GhostController(BoxController):
        model = Ghost

    services = Services.create(kube=kube, clock=SystemClock(), random=Random(1))
    manager = Manager(services=services, source=KopfWatch(login), controllers=[GhostController(services)])
    with pytest.raises(MissingKinds, match=r"ghosts\.pantograph\.dev/v1alpha1"):
        await manager.run()


async def test_the_real_lease_is_handed_over(kube: KubeClient, namespace: str) -> None:
    def elector(identity: str) -> Elector:
        return Elector(
            kube=kube,
            clock=SystemClock(),
            random=Random(identity),
            metrics=Metrics(),
            namespace=namespace,
            name="pantograph",
            identity=identity,
        )

    one, two = elector("one"), elector("two")
    await one.acquire()
    hold = asyncio.create_task(one.hold())
    successor = asyncio.create_task(two.acquire())
    taken = await kube.get(LEASES, namespace, "pantograph")
    await until(lambda: two.holder == "one")
    async with asyncio.timeout(LIMIT_S):
        while (await kube.get(LEASES, namespace, "pantograph"))["spec"] == taken["spec"]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert not successor.done()
    hold.cancel()
    await one.release()
    async with asyncio.timeout(5):
        await successor
    lease = await kube.get(LEASES, namespace, "pantograph")
    assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseTransitions"]) == ("two", 1)
