"""A world in which everything happens to templates at once, and what must be true of it at every moment.

`World` is a lab with the verbs of people, of other tools and of misfortune, each callable at any time; `check` raises
if a promise was broken, `settle` ends all misfortune and demands that what is declared comes true and stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pantograph.api.meta import FINALIZER
from pantograph.engine.kube import Conflict, KubeError, OutcomeUnknown, Unavailable
from pantograph.providers.proxmox.mark import uid16
from tests.fakes.proxmox import Machine, PveAnswer, qcow2
from tests.fakes.virtualtime import VirtualTimeLoop
from tests.simulation.lab import RESOURCES, Lab

HOUR_S = 3600.0
NODES = ("pve1", "pve2")
NAMES = ("debian", "alma")
KINDS = ("ProxmoxCluster", "VMTemplate", "TemplateReplica")
ERRORS: dict[str, KubeError] = {
    "conflict": Conflict("the object has been modified", code=409),
    "unavailable": Unavailable("the API server is starting"),
    "unknown": OutcomeUnknown("the connection broke"),
}
RIGHTS = (("/vms", "VM.Audit"), ("/vms", "VM.Allocate"), ("/storage", "Datastore.AllocateSpace"))


class World:
    """Verbs return at once or after the little time that they take; a verb that makes no sense now does nothing."""

    def __init__(self, seed: int = 1) -> None:
        self._runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.declared: dict[str, list[str]] = {}
        """By template: the nodes that must hold it."""
        self.bystanders: dict[int, Machine] = {}
        """Machines that are none of ours, as people left them."""
        self._background: set[asyncio.Task[None]] = set()
        self.lab = self._run(self._open(seed))

    async def _open(self, seed: int) -> Lab:
        lab = Lab(seed=seed, nodes=NODES)
        for name in NAMES:
            lab.disk.origin[_url(name)] = qcow2(payload=name.encode())
        return await lab.__aenter__()

    def close(self) -> None:
        async def end() -> None:
            await self.lab.kill()
            await self.lab.pve.close()

        self._run(end())
        self._runner.close()

    def _run(self, coroutine: Any) -> Any:
        return self._runner.run(coroutine)

    def _now(self, act: Callable[..., object], *args: Any, **options: Any) -> None:
        """Do it inside the loop: it may read the clock or begin a task."""

        async def inside() -> None:
            act(*args, **options)

        self._run(inside())

    # -- time --------------------------------------------------------------------------------------------------------
    def wait(self, seconds: float) -> None:
        self._run(self.lab.quiet(for_s=seconds))

    # -- what users do -----------------------------------------------------------------------------------------------
    def declare(self, name: str, nodes: Sequence[str], *, cores: int = 1, tags: Sequence[str] = ()) -> None:
        """Create the template, or edit it: other cores, other tags, a node more or less."""
        found = self.lab.get(f"vmtemplate/{name}")
        if found is not None and "deletionTimestamp" in found["metadata"]:
            return
        hardware = {"cores": cores, **({"tags": list(tags)} if tags else {})}
        self._run(self.lab.apply(self.lab.template(name, url=_url(name), nodes=nodes, hardware=hardware)))
        self.declared[name] = list(nodes)

    def delete(self, name: str) -> None:
        if self.lab.get(f"vmtemplate/{name}") is not None:
            self._run(self.lab.delete(f"vmtemplate/{name}"))
            self.declared.pop(name, None)

    def suspend(self, name: str, suspended: bool) -> None:
        if self.lab.get(f"vmtemplate/{name}") is not None:
            self._run(self.lab.patch(f"vmtemplate/{name}", {"spec": {"suspend": suspended}}))

    # -- what happens to the operator and its API server -------------------------------------------------------------
    def crash(self, down_s: float) -> None:
        self._run(self.lab.kill())
        self._run(self.lab.clock.sleep(down_s))
        self._run(self.lab.start())

    def fail_writes(self, error: str, times: int) -> None:
        self.lab.server.fail_next("write", ERRORS[error], after_effect=error == "unknown", times=times)

    def lose_events(self, kind: str) -> None:
        """The watch tells nothing of this kind until it is relisted."""
        self._now(self.lab.server.drop_events, RESOURCES[kind.lower()])

    def relist(self, kind: str) -> None:
        self._now(self.lab.server.relist, RESOURCES[kind.lower()])

    def stale_lists(self, kind: str, stale: bool) -> None:
        resource = RESOURCES[kind.lower()]
        self._now(self.lab.server.stale_lists if stale else self.lab.server.fresh_lists, resource)

    # -- what happens to the cluster ---------------------------------------------------------------------------------
    def cut(self, node: str, *, power: bool) -> None:
        self._now(self.lab.pve.faults.cut, node, power=power)

    def mend(self, node: str) -> None:
        self._now(self.lab.pve.faults.mend, node)

    def freeze(self, node: str, acts: Literal["at once", "when thawed", "never"]) -> None:
        self._now(self.lab.pve.faults.freeze, node, acts=acts)

    def thaw(self, node: str) -> None:
        self._now(self.lab.pve.faults.thaw, node)

    def lose_answer(self, nth: int, kind: Literal["596", "reset"]) -> None:
        self.lab.pve.faults.lose_answer(nth, kind=kind)

    def rights(self, right: tuple[str, str], *, held: bool) -> None:
        faults = self.lab.pve.faults
        (faults.regain_rights if held else faults.lose_rights)(*right)

    def slow_copies(self, factor: float) -> None:
        self.lab.pve.faults.slow_copies(factor)

    def hold_flock(self, nth: int, seconds: float) -> None:
        """Somebody holds a machine's file lock: calls that need it time out."""
        if (machine := self._ours(nth)) is not None:
            self._run(self._in_background(self.lab.pve.faults.hold_flock(machine.vmid, seconds)))

    def lock(self, nth: int) -> None:
        if (machine := self._ours(nth)) is not None and machine.lock is None:
            self._now(self.lab.pve.faults.lock_vm, machine.vmid)

    def unlock(self) -> None:
        """`qm unlock` of everything that no task is at work on."""
        self._now(self._unlock)

    def _unlock(self) -> None:
        busy = {task.id for task in self.lab.pve.tasks.running()}
        for machine in self.lab.truth.stubs():
            if str(machine.vmid) not in busy:
                self.lab.pve.faults.unlock_vm(machine.vmid)

    # -- what people and other tools do there ------------------------------------------------------------------------
    def take_vmid(self, name: str, node: str) -> None:
        """Another tool takes the number of the next create, and by chance the name of our machine as well."""
        replica = self._replica(name, node)

        def take(call: Any, when: str) -> None:
            if when == "before" and call.verb == "create_vm":
                self.lab.pve.faults.hooks.remove(take)
                vmid = int(call.params["vmid"])
                if vmid not in self.lab.pve.guests:
                    self.lab.pve.faults.take_vmid(vmid, node, name=replica or "somebody-elses")
                    self._stands_by(vmid)

        self.lab.pve.faults.hooks.append(take)

    def destroy(self, nth: int) -> None:
        """A person deletes one of our templates, if Proxmox lets them."""
        if (machine := self._ours(nth)) is not None and not self._is_cloned(machine.vmid):
            self._run(self._by_hand(self.lab.people.destroy(machine.vmid)))

    def replace(self, nth: int) -> None:
        """A person deletes one of our templates and gives its number to a machine of their own."""
        machine = self._ours(nth)
        if machine is None or self._is_cloned(machine.vmid):
            return
        self._run(self._by_hand(self.lab.people.destroy(machine.vmid)))
        if machine.vmid not in self.lab.pve.guests:
            self._now(self.lab.pve.faults.take_vmid, machine.vmid, machine.node, name=machine.name)
            self._stands_by(machine.vmid)

    def take_flag(self, nth: int) -> None:
        if (machine := self._ours(nth)) is not None and machine.template:
            self._now(self.lab.people.lose_template_flag, machine.vmid)

    def clone(self, nth: int, *, linked: bool) -> None:
        machine = self._ours(nth)
        if machine is None or not machine.is_real_template or machine.lock is not None:
            return
        newid = max(self.lab.pve.guests, default=0) + 5000
        people = self.lab.people
        clone = people.linked_clone(machine.vmid, newid) if linked else people.full_clone(machine.vmid, newid)
        self._run(self._by_hand(clone))
        if newid in self.lab.pve.guests:
            self._stands_by(newid)

    def remove_clones(self) -> None:
        """People remove the machines that they cloned."""
        for vmid in [vmid for vmid in self.bystanders if self._base_of(vmid) is not None]:
            del self.bystanders[vmid]
            self._run(self._by_hand(self.lab.people.destroy(vmid)))

    def remove_staged(self, nth: int) -> None:
        files = self.lab.truth.staged_files()
        if files:
            file = files[nth % len(files)]
            self._now(self.lab.people.remove_staged_file, file.node, file.storage, file.name)

    # -- what must be true at every moment ---------------------------------------------------------------------------
    def check(self) -> None:
        """Raises AssertionError if a promise was broken."""
        self.lab._require_alive()
        machines = {machine.vmid: machine for machine in self.lab.truth.machines()}
        for vmid, left in self.bystanders.items():
            assert vmid in machines, f"{left.name} ({vmid}), which is none of ours, was deleted"
            assert machines[vmid] == left, f"{left.name} ({vmid}), which is none of ours, was changed: {machines[vmid]}"
        held = {
            uid16(body["metadata"]["uid"]): FINALIZER in body["metadata"].get("finalizers", ())
            for body in self.lab.all("templatereplica")
        }
        marked: dict[str, int] = {}
        for machine in machines.values():
            uid = next((tag[3:19] for tag in machine.tags if tag == f"pg-{tag[3:19]}-{machine.vmid}"), None)
            if uid is None or machine.vmid in self.bystanders:
                continue
            assert uid not in marked, f"{marked[uid]} and {machine.vmid} both carry the mark of {uid}"
            marked[uid] = machine.vmid
            assert held.get(uid), f"nobody answers for {machine.name} ({machine.vmid}) any more"

    def settle(self) -> None:
        """No more misfortune: what is declared comes true within six hours, and then nothing is written any more."""
        self._run(self._settle())
        self.check()

    async def _settle(self) -> None:
        lab = self.lab
        lab.server._faults._planned.clear()
        for kind in KINDS:
            lab.server.fresh_lists(RESOURCES[kind.lower()])
            lab.server.relist(RESOURCES[kind.lower()])
        faults = lab.pve.faults
        faults._losses.clear()
        faults.hooks.clear()
        faults.slow_copies(1)
        for node in NODES:
            faults.mend(node)
        for right in RIGHTS:
            faults.regain_rights(*right)
        for name in NAMES:
            if lab.get(f"vmtemplate/{name}") is not None:
                await lab.patch(f"vmtemplate/{name}", {"spec": {"suspend": False}})
        await lab.clock.sleep(60)
        for vmid in [vmid for vmid in self.bystanders if self._base_of(vmid) is not None]:
            del self.bystanders[vmid]
            await self._by_hand(lab.people.destroy(vmid))
        self._unlock()
        await lab.until(self._is_true, within_s=6 * HOUR_S)
        await self._end_writes()

    async def _end_writes(self) -> None:
        lab = self.lab
        await lab.quiet(for_s=0.25 * HOUR_S)
        writes, mutations = len(lab.server.writes), len(lab.truth.mutations)
        await lab.quiet(for_s=2 * HOUR_S)
        assert lab.server.writes[writes:] == []
        assert lab.truth.mutations[mutations:] == []
        assert self._is_true(), lab.picture()

    def _is_true(self) -> bool:
        """Every declared template is Ready on its nodes, and of every other one nothing is left."""
        lab = self.lab
        templates = {body["metadata"]["name"] for body in lab.all("vmtemplate")}
        places = sorted(
            (body["spec"]["templateRef"]["name"], body["spec"]["node"]) for body in lab.all("templatereplica")
        )
        wanted = sorted((name, node) for name, nodes in self.declared.items() for node in nodes)
        ours = [machine for machine in lab.truth.machines_marked() if machine.vmid not in self.bystanders]
        return (
            templates == set(self.declared)
            and places == wanted
            and all(lab.is_ready(f"vmtemplate/{name}") for name in templates)
            and all(lab.is_ready(f"templatereplica/{body['metadata']['name']}") for body in lab.all("templatereplica"))
            and len(ours) == len(wanted)
            and all(machine.is_real_template for machine in ours)
            and lab.truth.staged_files() == []
        )

    # -- small things ------------------------------------------------------------------------------------------------
    def _ours(self, nth: int) -> Machine | None:
        """One of our machines that are made."""
        ours = [m for m in self.lab.truth.machines_marked() if m.vmid not in self.bystanders and m.lock is None]
        busy = {task.id for task in self.lab.pve.tasks.running()}
        ours = [machine for machine in ours if str(machine.vmid) not in busy]
        return ours[nth % len(ours)] if ours else None

    def _replica(self, name: str, node: str) -> str | None:
        found = [
            body["metadata"]["name"]
            for body in self.lab.all("templatereplica")
            if body["spec"]["templateRef"]["name"] == name and body["spec"]["node"] == node
        ]
        return found[0] if found else None

    def _stands_by(self, vmid: int) -> None:
        self.bystanders[vmid] = self.lab.truth.machine(vmid)

    def _base_of(self, vmid: int) -> int | None:
        """The template from which the machine is a linked clone."""
        if vmid not in self.lab.pve.guests:
            return None
        for volid in self.lab.truth.machine(vmid).disks.values():
            base, _, own = volid.partition(":")[2].partition("/vm-")
            if "/base-" in base and own:
                return int(base.partition("/")[0])
        return None

    def _is_cloned(self, vmid: int) -> bool:
        return any(self._base_of(other) == vmid for other in self.bystanders)

    async def _by_hand(self, work: Any) -> None:
        """People are refused too, for instance while a node is down; then they leave it."""
        try:
            await asyncio.wait_for(work, timeout=600)
        except (PveAnswer, AssertionError, TimeoutError):
            return

    async def _in_background(self, work: Any) -> None:
        async def quietly() -> None:
            await self._by_hand(work)

        task = asyncio.get_running_loop().create_task(quietly())
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _url(name: str) -> str:
    return f"http://images.test/{name}.qcow2"
