"""What Proxmox VE answers when it refuses, told apart by its words: codes say nothing (500 is "locked", "gone" and
"taken" alike).

One table serves HTTP answers and task results, since the same texts come in both. Line numbers and pids in the texts
vary, so patterns match the stable part. Source: Proxmox VE 8.4, observed, and its sources where noted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from pantograph.providers.proxmox import privileges
from pantograph.providers.proxmox.privileges import MissingRight
from pantograph.providers.proxmox.remedies import ALLOW_TAGS, storage_lacks_content


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What was asked: the words of an error, and whether repeating it could do harm."""

    mutation: bool = False
    user: str | None = None
    node: str | None = None
    storage: str | None = None
    vmid: int | None = None
    claims: int | None = None
    """The VMID that this call wanted to bring into being."""
    needs: tuple[MissingRight, ...] = ()
    """What the call needs, for refusals that do not say what was missing."""


@dataclass(frozen=True, slots=True)
class Rule:
    pattern: re.Pattern[str]
    fault: type[ProviderError]
    reason: str
    message: str
    """With the pattern's groups and the call's fields; `{text}` is Proxmox's own words."""
    remedy: str | None = None


def _rule(
    pattern: str, fault: type[ProviderError], reason: str, message: str = "{text}", remedy: str | None = None
) -> Rule:
    return Rule(re.compile(pattern), fault, reason, message, remedy)


_TAKEN = "VMID {vmid} is taken: {text}"
_GONE = "guest {vmid} is not on node {node!r}: deleted, or moved to another node"
_QUORUM = "the cluster has no quorum at node {node!r}: {text}"
_QUORUM_REMEDY = "bring the missing nodes back (pvecm status)"

_RULES = (
    # Quorum first: some of its texts look like other faults.
    _rule(r"cluster not ready - no quorum\?", Busy, "QuorumLost", _QUORUM, _QUORUM_REMEDY),
    _rule(r"cfs-lock '[^']*' error: no quorum!", Busy, "QuorumLost", _QUORUM, _QUORUM_REMEDY),
    # Without quorum the cluster file system is read-only.
    _rule(r"unable to open file '/etc/pve/[^']*' - Permission denied", Busy, "QuorumLost", _QUORUM, _QUORUM_REMEDY),
    # A number somebody else has.
    _rule(r"(?:VM|CT) (?P<vmid>\d+) already exists", AlreadyExists, "VmidTaken", _TAKEN),
    _rule(r"unable to \w+ VM (?P<vmid>\d+): config file already exists", AlreadyExists, "VmidTaken", _TAKEN),
    _rule(
        r"close \(rename\) atomic file '/etc/pve/nodes/[^']*/(?P<vmid>\d+)\.conf' failed: File exists",
        AlreadyExists,
        "VmidTaken",
        _TAKEN,
    ),
    # Locks: the property may stay for ever, the others pass.
    _rule(
        r"VM is locked \((?P<lock>[^)]+)\)",
        Busy,
        "Locked",
        "guest {vmid} on node {node!r} is locked ({lock})",
        "if no task is at work on it, as root on {node}: qm unlock {vmid}",
    ),
    _rule(r"can't lock file '(?P<file>[^']+)' - got timeout", Busy, "LockTimeout"),
    _rule(r"cfs-lock '[^']*' error: got lock request timeout", Busy, "LockTimeout"),
    _rule(r"'[^']*'-locked command timed out - aborting", Busy, "LockTimeout"),
    _rule(r"checksum mismatch \(file change by other user\?\)", Busy, "ConfigChanged"),
    _rule(r"detected modified configuration - file changed by other user", Busy, "ConfigChanged"),
    # Not there, or not there any more.
    _rule(r"Configuration file 'nodes/(?P<node>[^/']+)/[^']*/(?P<vmid>\d+)\.conf' does not exist", NotFound,
          "GuestNotOnNode", _GONE),
    _rule(r"unable to find configuration file for VM (?P<vmid>\d+) on node '(?P<node>[^']+)'", NotFound,
          "GuestNotOnNode", _GONE),
    _rule(r"hostname lookup '(?P<node>[^']+)' failed", NotFound, "NodeUnknown", "the cluster has no node {node!r}"),
    _rule(r"no such cluster node '(?P<node>[^']+)'", NotFound, "NodeUnknown", "the cluster has no node {node!r}"),
    _rule(r"no such task", NotFound, "TaskUnknown", "node {node!r} knows no such task"),
    # Storages.
    _rule(r"storage '(?P<storage>[^']+)' does not exist", NotFound, "StorageUnknown",
          "the cluster has no storage {storage!r}"),
    _rule(
        r"storage '(?P<storage>[^']+)' is not available on node '(?P<node>[^']+)'",
        Rejected,
        "StorageNotOnNode",
        "storage {storage!r} is not available on node {node!r}",
        "pvesm set {storage} --nodes NODES,{node} (NODES: the nodes it has now)",
    ),
    _rule(r"storage '(?P<storage>[^']+)' is disabled", Rejected, "StorageDisabled",
          "storage {storage!r} is disabled", "pvesm set {storage} --disable 0"),
    # pve-storage, activate_storage: a network share that does not answer.
    _rule(r"storage '(?P<storage>[^']+)' is not online", Busy, "StorageOffline",
          "storage {storage!r} is not online at node {node!r}", "pvesm status --storage {storage}"),
    _rule(r"can't upload to storage type '(?P<type>[^']+)'", Rejected, "ImportUnsupported",
          "storage {storage!r} is of type {type!r}, which holds no files", "choose a staging storage that holds files"),
    _rule(r"No space left on device|[Dd]isk quota exceeded|insufficient free space|not enough (?:free )?space",
          Rejected, "StorageFull", "no space left on storage {storage!r} at node {node!r}: {text}",
          "free space on it (pvesm status --storage {storage})"),
    _rule(r"volume_size_info on '(?P<volid>[^']+)' failed", NotFound, "VolumeMissing",
          "node {node!r} has no volume {volid!r}"),
    _rule(r"volume '(?P<volid>[^']+)' does not exist", NotFound, "VolumeMissing",
          "node {node!r} has no volume {volid!r}"),
    _rule(r"failed to stat '(?P<file>[^']+)'", NotFound, "VolumeMissing", "node {node!r} has no file {file!r}"),
    _rule(r"could not get size of (?P<volid>\S+)", NotFound, "VolumeMissing",
          "node {node!r} cannot read volume {volid!r}"),
    # Images.
    _rule(r"checksum mismatch: got '(?P<got>[^']*)' != expect '(?P<expect>[^']*)', aborting", Rejected,
          "StagedFileDiffers", "a file of this name with other content is on storage {storage!r} of node {node!r}",
          "remove it from the storage's content"),
    _rule(r"checksum mismatch: got '(?P<got>[^']*)' != expect '(?P<expect>[^']*)'", Rejected, "ChecksumMismatch",
          "node {node!r} received other bytes than declared: checksum {got}, expected {expect}"),
    _rule(r"refusing to override existing file '(?P<file>[^']+)'", AlreadyExists, "FileExists"),
    _rule(r"backing file not allowed for untrusted image", Rejected, "UnsafeImage",
          "the image has a backing file, which Proxmox refuses", "flatten it: qemu-img convert"),
    _rule(r"invalid filename or wrong extension|wrong file extension", Rejected, "ImportUnsupported",
          "node {node!r} does not take this file as content to import: {text}",
          "Proxmox VE 8.4 or newer takes qcow2, raw and vmdk"),
    _rule(r"value 'import' does not have a value in the enumeration", Rejected, "ImportUnsupported",
          "Proxmox VE on node {node!r} has no content type 'import'", "Proxmox VE 8.4 or newer is needed"),
    _rule(r"invalid server response: '(?P<answer>50[234] .*)'", Busy, "DownloadFailed",
          "node {node!r} cannot fetch the URL now: {answer}"),
    _rule(r"ERROR (?P<answer>50[234]: .*)", Busy, "DownloadFailed",
          "node {node!r} cannot fetch the URL now: {answer}"),
    _rule(r"invalid server response: '(?P<answer>.*)'", Rejected, "DownloadFailed",
          "node {node!r} cannot fetch the URL: {answer}"),
    # What a guest's state forbids.
    _rule(r"base volume '(?P<volid>[^']+)' is still in use by linked clone", Rejected, "InUse",
          "linked clones still use {volid!r}"),
    _rule(r"can't remove VM (?P<vmid>\d+) - protection mode enabled", Rejected, "Protected",
          "guest {vmid} is protected against removal", "qm set {vmid} --protection 0"),
    _rule(r"VM (?P<vmid>\d+) is running - destroy failed", Rejected, "Running", "guest {vmid} is running",
          "qm shutdown {vmid}"),
    _rule(r"can't convert a VM to template if VM is running", Rejected, "Running", "guest {vmid} is running",
          "qm shutdown {vmid}"),
    _rule(r"can't convert a template to a template", Rejected, "AlreadyTemplate", "guest {vmid} is a template already"),
    _rule(r"because VM contains snapshots", Rejected, "HasSnapshots", "guest {vmid} has snapshots",
          "qm listsnapshot {vmid}"),
    _rule(r"unable to remove VM (?P<vmid>\d+) - used in HA resources", Rejected, "ManagedByHA",
          "guest {vmid} is managed by HA", "ha-manager remove vm:{vmid}"),
    _rule(r"(?P<kind>Linked|Full) clone feature is not supported for '(?P<volid>[^']+)'", Rejected, "CloneUnsupported"),
    _rule(r"can't clone VM to node|can't clone to non-shared storage|owner VM \d+ not on local node", Rejected,
          "NotShared"),
    _rule(r"shrinking disks is not supported", Rejected, "ShrinkRefused"),
    # Rights that no grant can give.
    _rule(r"Only root may use this option|only root can set|Only root can pass arbitrary filesystem paths", Rejected,
          "RootOnly", "{text}: Proxmox lets no token do that"),
    _rule(r"not available with API token, need proper ticket", Rejected, "RootOnly"),
    # Ends of a task that leave open how far it came.
    _rule(r"received interrupt|interrupted by signal", Busy, "Interrupted", "the task was stopped: {text}"),
    _rule(r"^(?:unexpected status|unable to open file - |unable to read tail|unable to extract last line)",
          OutcomeUnknown, "WorkerKilled", "the task on node {node!r} ended without a result: {text}"),
)  # fmt: skip

_PERMISSION = re.compile(r"Permission check failed(?: \((?P<what>.*)\))?")
_TAG = re.compile(r"for modifying tag '(?P<tag>[^']+)'")
_CONTENT = re.compile(
    r"storage '(?P<storage>[^']+)' (?:does not support '(?P<a>\w+)' content"
    r"|is not configured for content-type '(?P<b>\w+)'|does not support vm (?P<c>images))"
)
_LOCK_FILE = re.compile(r"can't lock file '[^']*/lock-(?P<vmid>\d+)\.conf' - got timeout")

REASONS = frozenset(rule.reason for rule in _RULES) | {
    "CertificateRefused", "CircuitOpen", "ConnectionClosed", "CredentialsRefused", "DownloadFailed", "InvalidCA",
    "InvalidCredentials", "InvalidParameter", "MarkRefused", "MissingPrivilege", "NodeUnreachable",
    "NotImplemented", "OutcomeUnknown", "PoolUnknown", "ProtocolError", "StorageLacksContent", "TaskFailed",
    "Unreachable", "VmidRangeExhausted",
}  # fmt: skip
"""Every reason that this provider gives."""


# -- HTTP answers ---------------------------------------------------------------


def http_error(status: int, text: str, errors: Mapping[str, object] | None = None, *, call: Call) -> ProviderError:
    """The error for an answer of 400 and above. `text` is the reason phrase, `errors` the body's, by parameter."""
    if status == 595:
        # AnyEvent::HTTP: not connected yet, so nothing was sent to the node.
        return Unreachable(
            f"node {call.node!r} cannot be reached through this endpoint: {text}", reason="NodeUnreachable"
        )
    if 596 <= status <= 599 or status in (502, 503, 504):
        return _no_answer(f"{status} {text}", call)
    if status == 401:
        return Unauthorized(
            f"Proxmox refused the credentials of {call.user or 'the user'}: {text} (wrong, unknown, disabled or"
            " expired: it does not say)"
        )
    words = _words(text, errors)
    if (known := classify(words, call)) is not None:
        return known
    if status == 400:
        return Rejected(f"Proxmox refused the request: {words}", reason="InvalidParameter")
    if status == 501:
        return Rejected(
            f"Proxmox does not know this call: {words}", reason="NotImplemented", remedy="a newer Proxmox VE is needed"
        )
    return ProtocolError(f"unknown answer {status} from Proxmox: {words}")


def _no_answer(text: str, call: Call) -> ProviderError:
    where = f"node {call.node!r}" if call.node else "the cluster"
    if call.mutation:
        return OutcomeUnknown(f"{where} took the request and did not answer ({text}): it may still happen")
    return Unreachable(f"{where} did not answer ({text})", reason="NodeUnreachable")


def _words(text: str, errors: Mapping[str, object] | None) -> str:
    # Empty and plain-text bodies reach us as {"errors": bytes}.
    named = {name: value for name, value in (errors or {}).items() if isinstance(value, str) and value.strip()}
    if not named:
        return text.strip()
    return "; ".join(f"{name}: {' '.join(value.split())}" for name, value in sorted(named.items()))


# -- task results -----------------------------------------------------------------

_VAGUE = re.compile(r"^(?:migration aborted|job errors|download failed: exit code \d+)$")
_TELLING = re.compile(r"ERROR|failed|[Uu]nable to|[Nn]o space|refused|timed out")


def task_error(exitstatus: str, log: Sequence[str] = (), *, call: Call) -> ProviderError:
    """The error for a task that ended neither `OK` nor `WARNINGS: n`; `log` is the tail of its log.

    Some results say only that it failed; the reason then stands in the log alone.
    """
    text = exitstatus.removeprefix("TASK ERROR: ").strip()
    if (known := classify(text, call)) is not None:
        return known
    line = _telling_line(log) if _VAGUE.match(text) else None
    if line is not None and (known := classify(line, call)) is not None:
        return known
    words = f"{text}: {line}" if line else text
    if text.startswith("download failed"):
        # It had reached the URL just before: the server went away meanwhile, as a depot that is restarted does.
        return Busy(f"node {call.node!r} could not download the image: {words}", reason="DownloadFailed")
    return Rejected(f"the task on node {call.node!r} failed: {words}", reason="TaskFailed")


def _telling_line(log: Sequence[str]) -> str | None:
    lines = [line.strip() for line in log if not line.startswith("TASK ")]
    return next((line for line in reversed(lines) if _TELLING.search(line)), None)


# -- one text ---------------------------------------------------------------------


def classify(text: str, call: Call) -> ProviderError | None:
    """The error that Proxmox's words mean; None: words that nobody here knows."""
    if (refused := _PERMISSION.search(text)) is not None:
        return _permission_error(refused["what"], call)
    if (lacks := _CONTENT.search(text)) is not None:
        return storage_lacks_content(lacks["storage"], node=call.node, wanted=lacks["a"] or lacks["b"] or lacks["c"])
    lock = _LOCK_FILE.search(text)
    if lock is not None and call.claims is not None and int(lock["vmid"]) == call.claims:
        # Somebody else is making a guest with this number at this moment.
        return AlreadyExists(f"VMID {call.claims} is taken: {text}", reason="VmidTaken")
    for rule in _RULES:
        if (found := rule.pattern.search(text)) is not None:
            return _apply(rule, found, text, call)
    return None


class _Values(dict[str, object]):
    def __missing__(self, key: str) -> str:
        return f"<{key}>"


def _apply(rule: Rule, found: re.Match[str], text: str, call: Call) -> ProviderError:
    known = {"node": call.node, "storage": call.storage, "vmid": call.vmid, "text": text, **found.groupdict()}
    values = _Values({name: value for name, value in known.items() if value is not None})
    remedy = rule.remedy.format_map(values) if rule.remedy is not None else None
    return rule.fault(rule.message.format_map(values), reason=rule.reason, remedy=remedy)


def _permission_error(what: str | None, call: Call) -> ProviderError:
    """`what` is `/path, Privilege`, several privileges joined by `|` (one suffices), prose, or nothing."""
    who = f"token {call.user!r}" if call.user and "!" in call.user else f"user {call.user!r}"
    if what is not None and (tag := _TAG.search(what)) is not None:
        return MissingPrivilege(
            f"the datacenter's tag policy does not let {who} set tag {tag['tag']!r}",
            reason="MarkRefused",
            remedy=ALLOW_TAGS,
        )
    if what is not None and what.startswith("pool "):
        return Rejected(f"Proxmox refused the pool: {what}", reason="PoolUnknown")
    missing: tuple[MissingRight, ...] = call.needs
    if what is not None and what.startswith("/"):
        path, _, names = what.partition(", ")
        missing = (MissingRight(path, tuple(re.findall(r"[A-Za-z]+(?:\.[A-Za-z]+)+", names))),)
    if not missing:
        return MissingPrivilege(f"{who} lacks a right that this call needs{f': {what}' if what else ''}")
    rights = "; ".join(str(right) for right in missing)
    return MissingPrivilege(
        f"{who} lacks {rights}" if what else f"{who} lacks one of: {rights}",
        remedy=privileges.remedy(missing, call.user),
    )
