"""Which rights are missing, and commands that grant them without taking others away."""

from __future__ import annotations

import pytest

from pantograph.providers.errors import Rejected
from pantograph.providers.proxmox import privileges
from pantograph.providers.proxmox.privileges import MissingRight, held_at, missing_for
from pantograph.providers.proxmox.remedies import allow_content, storage_lacks_content
from pantograph.providers.proxmox.vmids import Vmids

EVERYTHING = {
    "/": {"Sys.Audit": True},
    "/vms": dict.fromkeys(privileges._FAMILIES[0].privileges, True),
    "/storage/local": dict.fromkeys(privileges._FAMILIES[1].privileges, True),
    "/nodes": {"Sys.AccessNetwork": True},
    "/sdn/zones": {"SDN.Use": True},
}
NEEDS = (
    *privileges.observe(),
    *privileges.depot_transfer("pve1", staging="local", target="local", bridges=["vmbr0"]),
    *privileges.destroy(),
)


def test_the_roles_that_we_name_suffice_for_all_but_deleting_images() -> None:
    assert missing_for(EVERYTHING, NEEDS) == []
    assert missing_for(EVERYTHING, privileges.delete_staged("local")) == [
        MissingRight("/storage/local", ("Datastore.Allocate",))
    ]


def test_a_token_without_any_access_list_lacks_everything() -> None:
    missing = {right.path: right.privileges for right in missing_for({}, NEEDS)}
    assert missing["/"] == ("Sys.Audit",)
    assert missing["/nodes/pve1"] == ("Sys.AccessNetwork",)
    assert missing["/sdn/zones/localnetwork/vmbr0"] == ("SDN.Use",)
    assert set(missing["/storage/local"]) == {
        "Datastore.AllocateTemplate",
        "Datastore.AllocateSpace",
        "Datastore.Audit",
    }


def test_a_right_that_does_not_propagate_says_nothing_about_the_guests_below() -> None:
    held = {"/vms": {"VM.Audit": False}}
    assert missing_for(held, [privileges.Need("/vms", ("VM.Audit",), propagating=True)])
    assert not missing_for(held, [privileges.Need("/vms", ("VM.Audit",))])


def test_what_propagates_from_above_counts_until_a_deeper_list_replaces_it() -> None:
    held = {"/": {"VM.Audit": True, "Sys.Audit": False}, "/vms/100": {"VM.Clone": True}}
    assert held_at(held, "/vms/101") == {"VM.Audit"}
    assert held_at(held, "/vms/100") == {"VM.Clone"}
    assert held_at(held, "/") == {"VM.Audit", "Sys.Audit"}


def test_the_network_right_may_be_replaced_by_two_on_the_root() -> None:
    need = privileges.look_at_url("pve1")
    assert missing_for({"/": {"Sys.Audit": False, "Sys.Modify": False}}, [need]) == []
    assert missing_for({"/": {"Sys.Audit": False}}, [need]) == [MissingRight("/nodes/pve1", ("Sys.AccessNetwork",))]


def test_the_commands_grant_all_that_a_path_needs_since_a_deeper_list_replaces_the_one_above() -> None:
    commands = privileges.grant_commands([MissingRight("/vms/200", ("VM.Clone",))], "op@pve!tok").split("; ")
    assert commands[0].startswith("pveum role add PantographVMs-VM.Clone --privs VM.Allocate,VM.Audit,VM.Config.CDROM,")
    assert commands[0].endswith(",VM.Clone")
    assert commands[1] == "pveum acl modify /vms --tokens 'op@pve!tok' --roles PantographVMs-VM.Clone"


def test_a_role_is_made_once_for_several_paths() -> None:
    missing = [MissingRight(f"/storage/{name}", ("Datastore.Audit",)) for name in ("a", "b")]
    commands = privileges.grant_commands(missing, "op@pve!tok").split("; ")
    assert [command.split()[1] for command in commands] == ["role", "acl", "acl"]


def test_a_user_is_granted_as_user() -> None:
    text = privileges.remedy([MissingRight("/", ("Sys.Audit",))], "op@pve")
    assert (
        text
        == "pveum role add PantographRoot --privs Sys.Audit; pveum acl modify / --users op@pve --roles PantographRoot"
    )


def test_the_content_command_repeats_what_the_storage_takes() -> None:
    assert allow_content("local", {"iso", "backup"}) == "pvesm set local --content backup,import,iso"
    error = storage_lacks_content("local", node="pve1", existing={"iso"})
    assert (error.reason, error.remedy) == ("StorageLacksContent", "pvesm set local --content import,iso")


def test_vmids_are_chosen_round_and_round_past_those_in_use() -> None:
    vmids = Vmids()
    used = {100, 101, 103}
    assert [vmids.choose(range(100, 106), used.__contains__) for _ in range(4)] == [102, 104, 105, 102]


def test_a_range_without_a_free_vmid_says_what_to_widen() -> None:
    with pytest.raises(Rejected, match="every VMID from 100 to 101 is in use") as caught:
        Vmids().choose(range(100, 102), {100, 101}.__contains__)
    assert caught.value.reason == "VmidRangeExhausted"
    assert caught.value.remedy is not None
    assert "vmidRange" in caught.value.remedy
