"""What a reconcile knows of its object while others change it."""

from __future__ import annotations

import pytest

from pantograph.api.meta import RECONCILE_AT
from pantograph.engine.kube import Conflict
from tests.fakes.virtualtime import virtual_clock

from .toy import TOYS, Toy, ToyScope, Wall, new_manager, new_server, running


@pytest.mark.parametrize(
    "change",
    [{"metadata": {"annotations": {RECONCILE_AT: "now"}}}, {"spec": {"colour": "blue"}}],
    ids=["a reconcile", "another spec"],
)
async def test_what_is_wished_for_while_a_part_of_the_status_is_written_is_not_taken_as_seen(
    change: dict[str, object],
) -> None:
    api = new_server()
    user, manager = api.connect("kubectl"), new_manager(api, Wall())
    async with running(manager):
        await user.create(TOYS, "a", {"metadata": {"name": "x"}, "spec": {"colour": "red"}})
        await virtual_clock().sleep(30)
        body, services = await user.get(TOYS, "a", "x"), manager.services
        scope = ToyScope(object=services.cache.parse(body, Toy), services=services, wall=Wall())
        scope.accept(body)
        await user.merge_patch(TOYS, "a", "x", change)
        with pytest.raises(Conflict, match="was changed while its status was written"):
            await scope.patch_status([{"op": "add", "path": "/status/painted", "value": "red"}])
        assert scope.body == body, "the steps go on with nothing that they have not seen"
