"""A kind with the least that shows the skeleton: a toy paints itself on a wall outside, and may refer to a box."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar

from pydantic import Field

from pantograph.api.base import CommonStatus, KindInfo, Resource
from pantograph.api.crd import definition
from pantograph.api.declaration import CommonSpec
from pantograph.api.meta import Body, Key, ResourceType
from pantograph.engine.controller import Controller
from pantograph.engine.errors import Terminal
from pantograph.engine.manager import Manager
from pantograph.engine.scope import Scope
from pantograph.engine.services import Services
from tests.fakes.apiserver import ApiServer
from tests.fakes.virtualtime import virtual_clock

TOYS = ResourceType("pantograph.dev", "v1alpha1", "toys", "Toy")
BOXES = ResourceType("pantograph.dev", "v1alpha1", "boxes", "Box")


class ToySpec(CommonSpec):
    """What a toy should be."""

    colour: str = Field(max_length=32)
    """Its paint."""
    box: str | None = Field(default=None, max_length=32)
    """The box it lies in."""


class ToyStatus(CommonStatus):
    """What a toy is."""

    painted: str | None = Field(default=None, max_length=32)
    """The colour on the wall."""


class Toy(Resource[ToySpec, ToyStatus]):
    """A toy."""

    info: ClassVar = KindInfo(resource=TOYS)

    def refers_to(self) -> tuple[Key, ...]:
        return (Key("Box", self.metadata.namespace, self.spec.box),) if self.spec.box else ()


class Box(Resource[CommonSpec, CommonStatus]):
    """A box."""

    info: ClassVar = KindInfo(resource=BOXES)


WORKERS = 3


@dataclass
class Wall:
    """The outside: paint by uid, and what the next strokes of the brush do instead."""

    paint: dict[str, str] = field(default_factory=dict)
    strokes: int = 0
    looks: int = 0
    fault: Callable[[], None] | None = None


@dataclass(kw_only=True)
class ToyScope(Scope[Toy, ToyStatus]):
    wall: Wall


async def look(scope: ToyScope) -> None:
    """After this the status says what is on the wall."""
    scope.wall.looks += 1
    scope.status.painted = scope.wall.paint.get(scope.object.metadata.uid)


async def ensure_painted(scope: ToyScope) -> None:
    """After this the toy has its colour on the wall."""
    if scope.wall.fault:
        scope.wall.fault()
    if scope.status.painted == scope.object.spec.colour:
        return
    if scope.object.spec.colour == "octarine":
        raise Terminal("NoSuchColour", "the wall takes no octarine", remedy="set spec.colour to red")
    scope.wall.paint[scope.object.metadata.uid] = scope.object.spec.colour
    scope.wall.strokes += 1
    scope.status.painted = scope.object.spec.colour


async def ensure_washed(scope: ToyScope) -> None:
    """After this nothing of the toy is on the wall."""
    if scope.wall.fault:
        scope.wall.fault()
    scope.wall.paint.pop(scope.object.metadata.uid, None)


class ToyController(Controller[Toy]):
    """Keeps toys painted."""

    model = Toy
    steps = (look, ensure_painted)
    undo = (ensure_washed,)

    def __init__(self, services: Services, wall: Wall) -> None:
        super().__init__(services)
        self._wall = wall

    def open_scope(self, obj: Toy) -> ToyScope:
        return ToyScope(object=obj, services=self.services, wall=self._wall)

    def remains(self, obj: Toy) -> str:
        return f"paint of {obj.metadata.name}; to mend it: wash the wall"


class BoxController(Controller[Box]):
    """Boxes are just there."""

    model = Box


@dataclass
class Nursery:
    """An API server, a wall, and an operator core that can be killed and started again."""

    api: ApiServer
    user: ApiServer
    wall: Wall
    manager: Manager

    async def create(self, name: str = "x", **spec: Any) -> Body:
        return await self.user.create(TOYS, "a", {"metadata": {"name": name}, "spec": spec})

    async def get(self, name: str = "x") -> Body:
        return await self.user.get(TOYS, "a", name)

    async def patch(self, patch: Body, name: str = "x") -> Body:
        return await self.user.merge_patch(TOYS, "a", name, patch)

    async def condition(self, type: str, name: str = "x") -> Body | None:
        status = (await self.get(name)).get("status", {})
        return next((c for c in status.get("conditions", []) if c["type"] == type), None)

    async def pass_time(self, seconds: float = 2.0) -> None:
        await virtual_clock().sleep(seconds)

    @property
    def status_writes(self) -> int:
        return sum(write.subresource == "status" for write in self.api.writes)


def new_manager(api: ApiServer, wall: Wall, *, seed: int = 3) -> Manager:
    services = Services.create(kube=api, clock=virtual_clock(), random=Random(seed))
    return Manager(
        services=services,
        source=api,
        controllers=[ToyController(services, wall), BoxController(services)],
        workers=WORKERS,
    )


def new_server() -> ApiServer:
    return ApiServer(clock=virtual_clock(), rng=Random(5), crds=[definition(Toy), definition(Box)])


@asynccontextmanager
async def running(manager: Manager) -> AsyncIterator[None]:
    """The manager runs inside; what ended it by itself fails the test."""
    task = asyncio.create_task(manager.run())
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        manager.stop()
        await task
