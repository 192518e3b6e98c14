"""Every refusal of Proxmox VE that is known, in its own words, and what it means."""

from __future__ import annotations

import pytest

from pantograph.providers.errors import (
    AlreadyExists,
    Busy,
    MissingPrivilege,
    NotFound,
    OutcomeUnknown,
    ProtocolError,
    ProviderError,
    Rejected,
    Unauthorized,
    Unreachable,
)
from pantograph.providers.proxmox.errors import REASONS, Call, http_error, task_error
from pantograph.providers.proxmox.privileges import MissingRight

READ = Call(user="op@pve!tok", node="pve1", storage="local", vmid=100)
CHANGE = Call(mutation=True, user="op@pve!tok", node="pve1", storage="local", vmid=100, claims=100)

BUSINESS = [
    # (Proxmox's words, kind, reason, what the message must name)
    ("VM is locked (backup)", Busy, "Locked", "guest 100 on node 'pve1' is locked (backup)"),
    ("VM is locked (clone)", Busy, "Locked", "(clone)"),
    ("can't lock file '/var/lock/qemu-server/lock-400.conf' - got timeout", Busy, "LockTimeout", "lock-400"),
    ("can't lock file '/var/lock/pve-manager/pve-storage-local' - got timeout", Busy, "LockTimeout", "local"),
    ("cfs-lock 'storage-shared' error: got lock request timeout", Busy, "LockTimeout", "storage-shared"),
    ("'storage-shared'-locked command timed out - aborting", Busy, "LockTimeout", "storage-shared"),
    ("checksum mismatch (file change by other user?)", Busy, "ConfigChanged", "checksum mismatch"),
    (
        "detected modified configuration - file changed by other user? Try again.",
        Busy,
        "ConfigChanged",
        "detected modified",
    ),
    ("cluster not ready - no quorum?", Busy, "QuorumLost", "node 'pve1'"),
    ("cfs-lock 'storage-shared' error: no quorum!", Busy, "QuorumLost", "no quorum"),
    (
        "unable to open file '/etc/pve/nodes/pve1/qemu-server/213.conf.tmp.4652' - Permission denied",
        Busy,
        "QuorumLost",
        "no quorum at node 'pve1'",
    ),
    (
        "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist",
        NotFound,
        "GuestNotOnNode",
        "guest 999 is not on node 'pve1': deleted, or moved to another node",
    ),
    (
        "unable to find configuration file for VM 999 on node 'pve1'",
        NotFound,
        "GuestNotOnNode",
        "guest 999 is not on node 'pve1'",
    ),
    (
        "hostname lookup 'nope' failed - failed to get address info for: nope: Name or service not known",
        NotFound,
        "NodeUnknown",
        "no node 'nope'",
    ),
    ("no such cluster node 'nope'", NotFound, "NodeUnknown", "no node 'nope'"),
    ("storage 'nope' does not exist", NotFound, "StorageUnknown", "no storage 'nope'"),
    ("storage 'fast' is not available on node 'pve3'", Rejected, "StorageNotOnNode", "'fast' is not available"),
    (
        "unable to create VM 710 - storage 'fast' is not available on node 'pve3'",
        Rejected,
        "StorageNotOnNode",
        "node 'pve3'",
    ),
    ("storage 'x' is disabled", Rejected, "StorageDisabled", "'x' is disabled"),
    ("storage 'nas' is not online", Busy, "StorageOffline", "'nas' is not online"),
    ("storage 'noimport' does not support 'import' content", Rejected, "StorageLacksContent", "'import'"),
    ("storage 'noimport' is not configured for content-type 'import'", Rejected, "StorageLacksContent", "'noimport'"),
    ("storage 'iso' does not support vm images", Rejected, "StorageLacksContent", "'images'"),
    ("can't upload to storage type 'lvmthin', not a file based storage!", Rejected, "ImportUnsupported", "lvmthin"),
    ("can't upload to storage type 'lvmthin'", Rejected, "ImportUnsupported", "holds no files"),
    ("unable to create VM 450 - VM 450 already exists on node 'pve1'", AlreadyExists, "VmidTaken", "VMID 450"),
    ("unable to create VM 450 - CT 450 already exists on node 'pve1'", AlreadyExists, "VmidTaken", "VMID 450"),
    ("unable to restore VM 450 - VM 450 already exists on node 'pve1'", AlreadyExists, "VmidTaken", "VMID 450"),
    ("unable to create VM 102: config file already exists", AlreadyExists, "VmidTaken", "VMID 102"),
    (
        "close (rename) atomic file '/etc/pve/nodes/pve1/qemu-server/105.conf' failed: File exists",
        AlreadyExists,
        "VmidTaken",
        "VMID 105",
    ),
    ("can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout", AlreadyExists, "VmidTaken", "VMID 100"),
    (
        "base volume 'local:100/base-100-disk-0.qcow2' is still in use by linked cloned",
        Rejected,
        "InUse",
        "linked clones still use 'local:100/base-100-disk-0.qcow2'",
    ),
    ("base volume '100/base-100-disk-0.qcow2' is still in use by linked clones", Rejected, "InUse", "base-100"),
    ("can't remove VM 500 - protection mode enabled", Rejected, "Protected", "guest 500"),
    ("VM 510 is running - destroy failed", Rejected, "Running", "guest 510 is running"),
    ("you can't convert a VM to template if VM is running", Rejected, "Running", "guest 100 is running"),
    ("you can't convert a template to a template", Rejected, "AlreadyTemplate", "guest 100"),
    ("unable to create template, because VM contains snapshots", Rejected, "HasSnapshots", "guest 100"),
    (
        "unable to remove VM 100 - used in HA resources and purge parameter not set.",
        Rejected,
        "ManagedByHA",
        "guest 100",
    ),
    (
        "Linked clone feature is not supported for 'shared:200/vm-200-disk-0.qcow2' (scsi0)",
        Rejected,
        "CloneUnsupported",
        "shared:200",
    ),
    ("Full clone feature is not supported for 'x:200/d' (scsi0)", Rejected, "CloneUnsupported", "x:200/d"),
    ("can't clone VM to node 'pve2' (VM uses local storage)", Rejected, "NotShared", "pve2"),
    ("can't clone to non-shared storage 'local'", Rejected, "NotShared", "local"),
    ("only root can set 'lock' config", Rejected, "RootOnly", "no token"),
    (
        "Only root can pass arbitrary filesystem paths. at /usr/share/perl5/PVE/Storage.pm line 581.",
        Rejected,
        "RootOnly",
        "no token",
    ),
    (
        "volume_size_info on 'local:import/nope.qcow2' failed - no format",
        NotFound,
        "VolumeMissing",
        "local:import/nope.qcow2",
    ),
    ("volume 'local:backup/x.vma' does not exist", NotFound, "VolumeMissing", "local:backup/x.vma"),
    ("invalid server response: '404 File not found'", Rejected, "DownloadFailed", "404 File not found"),
]


@pytest.mark.parametrize(("text", "kind", "reason", "named"), BUSINESS, ids=[row[0][:60] for row in BUSINESS])
def test_a_500_means_what_its_text_says(text: str, kind: type[ProviderError], reason: str, named: str) -> None:
    error = http_error(500, text + "\n", call=CHANGE)
    assert (type(error), error.reason) == (kind, reason)
    assert named in error.message
    assert error.reason in REASONS


@pytest.mark.parametrize(("text", "kind", "reason", "named"), BUSINESS, ids=[row[0][:60] for row in BUSINESS])
def test_the_same_text_means_the_same_at_the_end_of_a_task(
    text: str, kind: type[ProviderError], reason: str, named: str
) -> None:
    error = task_error(text, call=CHANGE)
    assert (type(error), error.reason) == (kind, reason)
    assert named in error.message


@pytest.mark.parametrize(
    ("errors", "kind", "reason", "named"),
    [
        ({"vmid": "VM 100 already exists"}, AlreadyExists, "VmidTaken", "VMID 100"),
        ({"upid": "no such task"}, NotFound, "TaskUnknown", "pve1"),
        ({"upid": "unable to parse worker upid"}, Rejected, "InvalidParameter", "upid: unable to parse"),
        (
            {"content": "value 'import' does not have a value in the enumeration 'iso, vztmpl'"},
            Rejected,
            "ImportUnsupported",
            "no content type 'import'",
        ),
        ({"filename": "invalid filename or wrong extension"}, Rejected, "ImportUnsupported", "pve1"),
        ({"filename": "wrong file extension"}, Rejected, "ImportUnsupported", "pve1"),
        ({"skiplock": "Only root may use this option."}, Rejected, "RootOnly", "skiplock"),
        ({"storage": "storage 'x' does not support vm images"}, Rejected, "StorageLacksContent", "'x'"),
        (
            {"boot": "invalid format - format error\nboot.legacy: value does not match the regex pattern\n"},
            Rejected,
            "InvalidParameter",
            "boot: invalid format - format error boot.legacy: value does not match",
        ),
        ({"a": "one", "b": "two"}, Rejected, "InvalidParameter", "a: one; b: two"),
    ],
)
def test_a_400_is_told_by_its_parameters(
    errors: dict[str, str], kind: type[ProviderError], reason: str, named: str
) -> None:
    error = http_error(400, "Parameter verification failed.", errors, call=READ)
    assert (type(error), error.reason) == (kind, reason)
    assert named in error.message


@pytest.mark.parametrize(
    ("exitstatus", "kind", "reason", "named"),
    [
        (
            "unable to create VM 206 - failed to stat '/var/lib/vz/import/nope.qcow2'",
            NotFound,
            "VolumeMissing",
            "/var/lib/vz/import/nope.qcow2",
        ),
        (
            "unable to create VM 212 - cannot import from 'local:100/base-100-disk-0.qcow2' - could not get size of"
            " local:100/base-100-disk-0.qcow2",
            NotFound,
            "VolumeMissing",
            "local:100/base-100-disk-0.qcow2",
        ),
        (
            "unable to create VM 9 - cannot import from 'x' - owner VM 100 not on local node",
            Rejected,
            "NotShared",
            "owner VM 100",
        ),
        (
            "checksum mismatch: got 'b974' != expect '00b9'",
            Rejected,
            "ChecksumMismatch",
            "checksum b974, expected 00b9",
        ),
        (
            "checksum mismatch: got 'b974' != expect '00b9', aborting",
            Rejected,
            "StagedFileDiffers",
            "storage 'local' of node 'pve1'",
        ),
        (
            "refusing to override existing file '/var/lib/vz/import/dl.qcow2'",
            AlreadyExists,
            "FileExists",
            "dl.qcow2",
        ),
        (
            "failed to verify file: backing file not allowed for untrusted image '/x.tmp_dwnl.7'!",
            Rejected,
            "UnsafeImage",
            "backing file",
        ),
        (
            "download failed: Connecting to images.example:80... failed: Connection refused.",
            Busy,
            "DownloadFailed",
            "Connection refused",
        ),
        ("shrinking disks is not supported", Rejected, "ShrinkRefused", "shrinking"),
        (
            "unable to create VM 405 - cannot import from 'local:import/big.raw' - copy failed: command '..' failed:"
            " received interrupt",
            Busy,
            "Interrupted",
            "stopped",
        ),
        (
            "clone failed: copy failed: command '/usr/bin/qemu-img convert A zeroinit:B' failed: interrupted by signal",
            Busy,
            "Interrupted",
            "stopped",
        ),
        ("copy failed: qemu-img: error while writing: No space left on device", Rejected, "StorageFull", "'local'"),
        ("unexpected status", OutcomeUnknown, "WorkerKilled", "unexpected status"),
        ("unable to read tail (got 0 bytes)", OutcomeUnknown, "WorkerKilled", "without a result"),
        ("unable to open file - No such file or directory", OutcomeUnknown, "WorkerKilled", "without a result"),
        ("unable to extract last line", OutcomeUnknown, "WorkerKilled", "without a result"),
        ("start failed: QEMU exited with code 1", Rejected, "TaskFailed", "QEMU exited with code 1"),
    ],
)
def test_a_task_result_means_what_it_says(exitstatus: str, kind: type[ProviderError], reason: str, named: str) -> None:
    error = task_error(exitstatus, call=CHANGE)
    assert (type(error), error.reason) == (kind, reason)
    assert named in error.message


def test_a_vague_result_is_told_by_the_log() -> None:
    log = [
        "--2026-11-22 18:25:44--  http://images.example/tpl.qcow2",
        "HTTP request sent, awaiting response... 404 File not found",
        "2026-11-22 18:25:44 ERROR 404: File not found.",
        "",
        "TASK ERROR: download failed: exit code 8",
    ]
    error = task_error("download failed: exit code 8", log, call=CHANGE)
    assert error.reason == "DownloadFailed"
    assert "node 'pve1' could not download" in error.message
    assert "ERROR 404: File not found." in error.message


def test_a_full_disk_shows_in_the_log_of_a_download_only() -> None:
    log = ["Cannot write to '/var/lib/vz/import/dl.qcow2.tmp_dwnl.3' (No space left on device).", "TASK ERROR: x"]
    assert task_error("download failed: exit code 3", log, call=CHANGE).reason == "StorageFull"


def test_a_number_taken_at_a_remote_cluster_shows_in_the_log_only() -> None:
    log = ["ERROR: vmid: unable to create empty VM config - VM 616 already exists on node 'pve2'", "ERROR: migration"]
    error = task_error("migration aborted", log[:1], call=CHANGE)
    assert isinstance(error, AlreadyExists)
    assert "VMID 616" in error.message


def test_a_lock_on_the_number_that_a_call_claims_is_somebody_else_making_it() -> None:
    text = "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout"
    assert http_error(500, text, call=CHANGE).reason == "VmidTaken"
    assert http_error(500, text, call=READ).reason == "LockTimeout"


# -- transport ------------------------------------------------------------------


def test_595_was_never_sent_also_for_a_change() -> None:
    for text in ("Connection refused", "No route to host"):
        error = http_error(595, text, call=CHANGE)
        assert (type(error), error.reason) == (Unreachable, "NodeUnreachable")
        assert text in error.message


@pytest.mark.parametrize("status", [596, 597, 598, 599, 502, 503, 504])
def test_no_answer_leaves_a_change_open_and_a_read_undone(status: int) -> None:
    assert type(http_error(status, "Connection timed out", call=CHANGE)) is OutcomeUnknown
    assert type(http_error(status, "Connection timed out", call=READ)) is Unreachable


@pytest.mark.parametrize("text", ["No ticket", "Authentication failed!", "Permission denied - invalid csrf token"])
def test_401_names_the_user_and_admits_that_it_does_not_know_why(text: str) -> None:
    error = http_error(401, text, call=CHANGE)
    assert isinstance(error, Unauthorized)
    assert "op@pve!tok" in error.message
    assert "it does not say" in error.message


def test_an_unknown_path_is_a_call_that_this_version_does_not_have() -> None:
    error = http_error(501, "Method 'GET /nodes/pve1/nonsense' not implemented", call=READ)
    assert (type(error), error.reason) == (Rejected, "NotImplemented")


def test_words_that_nobody_knows_are_passed_on() -> None:
    error = http_error(500, "the moon is in the wrong phase", call=READ)
    assert type(error) is ProtocolError
    assert "the moon is in the wrong phase" in error.message


# -- rights ------------------------------------------------------------------------


def test_a_missing_privilege_is_named_with_the_commands_that_grant_it() -> None:
    error = http_error(403, "Permission check failed (/storage/local, Datastore.AllocateTemplate)", call=CHANGE)
    assert isinstance(error, MissingPrivilege)
    assert error.message == "token 'op@pve!tok' lacks Datastore.AllocateTemplate on /storage/local"
    assert error.remedy is not None
    assert error.remedy.startswith(
        "pveum role add PantographStorage --privs Datastore.AllocateSpace,Datastore.AllocateTemplate,Datastore.Audit;"
        " pveum acl modify /storage/local --tokens 'op@pve!tok' --roles PantographStorage"
    )
    assert "op@pve needs the same rights" in error.remedy


def test_a_choice_of_privileges_is_named_whole() -> None:
    text = "Permission check failed (/storage/local, Datastore.Audit|Datastore.AllocateSpace)"
    assert "Datastore.Audit, Datastore.AllocateSpace on /storage/local" in http_error(403, text, call=READ).message


def test_a_refusal_without_a_name_takes_it_from_the_call() -> None:
    call = Call(mutation=True, user="op@pve!tok", needs=(MissingRight("/vms/120", ("VM.Allocate",)),))
    error = http_error(403, "Permission check failed", call=call)
    assert isinstance(error, MissingPrivilege)
    assert "VM.Allocate on /vms/120" in error.message
    assert error.remedy is not None
    assert "pveum acl modify /vms --tokens" in error.remedy


def test_an_unknown_pool_is_no_missing_privilege() -> None:
    error = http_error(403, "Permission check failed (pool 'nopool' does not exist)", call=CHANGE)
    assert (type(error), error.reason) == (Rejected, "PoolUnknown")


@pytest.mark.parametrize("judge", ["http", "task"])
def test_a_refused_tag_names_the_setting_of_the_datacenter(judge: str) -> None:
    text = "Permission check failed (/, Sys.Modify for modifying tag 'pantograph')"
    error = http_error(403, text, call=CHANGE) if judge == "http" else task_error(text, call=CHANGE)
    assert (type(error), error.reason) == (MissingPrivilege, "MarkRefused")
    assert "tag 'pantograph'" in error.message
    assert error.remedy is not None
    assert "pvesh set /cluster/options --user-tag-access user-allow=free" in error.remedy


def test_a_call_that_needs_a_ticket_is_named_so() -> None:
    text = "URI '/access/ticket' not available with API token, need proper ticket."
    assert http_error(403, text, call=CHANGE).reason == "RootOnly"


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("VM is locked (clone)", "if no task is at work on it, as root on pve1: qm unlock 100"),
        ("storage 'x' is disabled", "pvesm set x --disable 0"),
        ("can't remove VM 500 - protection mode enabled", "qm set 500 --protection 0"),
        ("unable to remove VM 100 - used in HA resources and purge parameter not set.", "ha-manager remove vm:100"),
    ],
)
def test_the_remedy_is_a_command_with_its_names_filled_in(text: str, remedy: str) -> None:
    assert http_error(500, text, call=CHANGE).remedy == remedy
