"""What the engine learns from the answers to its own writes."""

from __future__ import annotations

from random import Random

from pantograph.api.meta import Body, Key
from pantograph.engine.cache import Watched
from pantograph.engine.services import Services
from tests.contract.apiserver.widget import WIDGETS
from tests.fakes.apiserver import ApiServer
from tests.fakes.virtualtime import virtual_clock


def widget(name: str, *, uid: str, version: str, owner: str | None = None) -> Body:
    metadata: Body = {"name": name, "namespace": "default", "uid": uid, "resourceVersion": version}
    if owner is not None:
        metadata["ownerReferences"] = [{"apiVersion": "v1", "kind": WIDGETS.kind, "name": owner, "uid": f"uid-{owner}"}]
    return {"apiVersion": WIDGETS.api_version, "kind": WIDGETS.kind, "metadata": metadata}


def new_services() -> Services:
    clock, random = virtual_clock(), Random(1)
    services = Services.create(kube=ApiServer(clock=clock, rng=random), clock=clock, random=random)
    services.cache.register(Watched(WIDGETS))
    services.reconciled.add(WIDGETS.kind)
    return services


async def test_an_owner_is_looked_at_again_when_the_answer_to_our_own_write_was_quicker_than_the_watch() -> None:
    services = new_services()
    assert services.learn(widget("child", uid="uid-child", version="7", owner="parent"))
    assert not services.learn(widget("child", uid="uid-child", version="7", owner="parent"))
    assert services.queue.due_in(Key(WIDGETS.kind, "default", "parent")) is not None
    assert services.queue.due_in(Key(WIDGETS.kind, "default", "child")) is None


async def test_an_owner_is_looked_at_again_when_the_answer_that_its_child_is_gone_was_quicker_than_the_watch() -> None:
    services, parent = new_services(), Key(WIDGETS.kind, "default", "parent")
    child = widget("child", uid="uid-child", version="7", owner="parent")
    services.cache.absorb(child)

    assert services.forget(Key(WIDGETS.kind, "default", "child"), uid="uid-child")
    assert services.queue.due_in(parent) is not None
    services.queue.forget(parent)
    assert not services.forget(Key(WIDGETS.kind, "default", "child"), uid="uid-child")
    assert services.queue.due_in(parent) is None
