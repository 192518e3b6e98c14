"""Files on storages: download-url, upload, content listings, deletion."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

from tests.fakes.proxmox.answers import TaskError, forbidden, parameter_error, refusal
from tests.fakes.proxmox.blobs import Blob, NoSpace
from tests.fakes.proxmox.cluster import SimulatedCluster
from tests.fakes.proxmox.fetching import Fetched, FetchFailed, address_of
from tests.fakes.proxmox.gate import Request
from tests.fakes.proxmox.images import inspect
from tests.fakes.proxmox.storages import Place, StoredVolume
from tests.fakes.proxmox.tasks import Task

ALGORITHMS = frozenset({"md5", "sha1", "sha224", "sha256", "sha384", "sha512"})
_DOTS_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Target:
    """A checked request for a file: where it will lie and what it must hash to."""

    place: Place
    content: str
    name: str
    format: str
    checksum: tuple[str, str] | None

    @property
    def path(self) -> str:
        return self.place.file_path(self.content, self.name)

    @property
    def blob(self) -> str:
        return self.place.blob_path(self.path)


@dataclass(frozen=True, slots=True)
class Upload:
    """The file part of a multipart upload."""

    filename: str
    data: bytes


def _contents(r: Request) -> tuple[str, ...]:
    """`import` exists since 8.3 (libpve-storage 8.2.8)."""
    return ("iso", "vztmpl", "import") if r.cluster.nodes[r.node].at_least(8, 3) else ("iso", "vztmpl")


def _check_target(r: Request, filename: str, *, verb: Literal["upload", "download"]) -> _Target:
    content = r.params["content"]
    if content not in _contents(r):
        raise parameter_error(
            "content", f"value '{content}' does not have a value in the enumeration '{', '.join(_contents(r))}'"
        )
    algorithm, expected = r.params.get("checksum-algorithm"), r.params.get("checksum")
    if (algorithm is None) != (expected is None):
        present, absent = ("checksum", "checksum-algorithm") if expected else ("checksum-algorithm", "checksum")
        raise parameter_error(present, f"missing property - '{present}' requires this property: {absent}")
    if algorithm is not None and algorithm not in ALGORITHMS:
        raise parameter_error(
            "checksum-algorithm",
            f"value '{algorithm}' does not have a value in the enumeration '{', '.join(sorted(ALGORITHMS))}'",
        )
    place = r.cluster.storages.on_node(r.path["storage"], r.node)
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", filename.rpartition("/")[2])
    format = _extension(r, content, name)
    _check_takes(place, content, verb)
    return _Target(place, content, name, format, (algorithm, expected) if algorithm and expected else None)


def _extension(r: Request, content: str, name: str) -> str:
    """qcow2, raw and vmdk may be imported since 8.4 (libpve-storage 8.3.6); before only OVA."""
    if content == "import":
        known = "ova|qcow2|raw|vmdk" if r.cluster.nodes[r.node].at_least(8, 4) else "ova"
        match = re.search(rf"\.({known})$", name)
        if match is None:
            raise parameter_error("filename", "invalid filename or wrong extension")
        return match[1]
    pattern = r"\.(iso|img)$" if content == "iso" else r"\.(tar\.(?:gz|xz|zst|bz2))$"
    match = re.search(pattern, name, re.IGNORECASE)
    if match is None:
        raise parameter_error("filename", "wrong file extension")
    return match[1].lower()


def _check_takes(place: Place, content: str, verb: str) -> None:
    storage = place.storage
    if not storage.is_file_based:
        tail = "" if verb == "upload" else ", not a file based storage!"
        raise refusal(f"can't upload to storage type '{storage.type}'{tail}")
    if content in storage.content:
        return
    if verb == "upload":
        raise refusal(f"storage '{storage.name}' does not support '{content}' content")
    raise refusal(f"storage '{storage.name}' is not configured for content-type '{content}'")


# -- download-url ----------------------------------------------------------------------------------------------------
async def download_url(r: Request) -> Any:
    url = r.params["url"]
    if not re.match(r"^https?://", url):
        raise parameter_error("url", "value does not match the regex pattern")
    r.require(f"/storage/{r.path['storage']}", "Datastore.AllocateTemplate")
    _require_network(r)
    target = _check_target(r, r.params["filename"], verb="download")
    if target.content != "iso" and r.params.get("compression"):
        raise refusal(f"decompression not supported for {target.content}")

    async def body(task: Task) -> None:
        task.say(f"downloading {url} to {target.path}")
        if r.cluster.blobs.get(target.blob) is not None:
            await _accept_existing(r.cluster, task, target)
            return
        await _download(r.cluster, task, target, url)
        task.say(f"download of '{url}' to '{target.path}' finished")

    return r.cluster.fork(node=r.node, type="download", id=target.name, user=r.user, body=body)


def _require_network(r: Request) -> None:
    access = r.cluster.access
    if access.allows(r.user, f"/nodes/{r.node}", "Sys.AccessNetwork"):
        return
    if access.allows(r.user, "/", "Sys.Audit") and access.allows(r.user, "/", "Sys.Modify"):
        return
    raise forbidden(f"/nodes/{r.node}, Sys.AccessNetwork")


async def _accept_existing(cluster: SimulatedCluster, task: Task, target: _Target) -> None:
    if target.checksum is None:
        raise TaskError(f"refusing to override existing file '{target.path}'")
    algorithm, expected = target.checksum
    got = await cluster.blobs.digest(target.blob, algorithm)
    if got != expected.lower():
        task.say("calculating checksum of existing file...")
        raise TaskError(f"checksum mismatch: got '{got}' != expect '{expected}', aborting")
    task.say("calculating checksum of existing file...OK, got correct file already, no need to download")


async def _download(cluster: SimulatedCluster, task: Task, target: _Target, url: str) -> None:
    """wget to `<dest>.tmp_dwnl.<pid>`, verify, rename."""
    stamp = cluster.clock.now().strftime("%Y-%m-%d %H:%M:%S")
    temporary = f"{target.path}.tmp_dwnl.{task.pid}"
    temporary_blob = target.place.blob_path(temporary)
    task.say(f"--{stamp}--  {url}")
    await cluster.clock.sleep(cluster.pace.task_s)
    if cluster.faults.url_blocked(task.node, url):
        raise TaskError(f"download failed: Connecting to {address_of(url)}... failed: Connection refused.")
    try:
        async with cluster.fetch(url) as fetched:
            _log_answer(task, url, fetched, temporary, stamp)
            chunks = _paced(cluster, task, fetched)
            algorithm = target.checksum[0] if target.checksum else None
            blob = await cluster.blobs.write(temporary_blob, chunks, room=target.place.avail, algorithm=algorithm)
    except FetchFailed as failure:
        raise TaskError(f"download failed: {failure}") from None
    except NoSpace:
        task.say(f"Cannot write to '{temporary}' (No space left on device).")
        raise TaskError("download failed: exit code 3") from None  # wget's code for file I/O [inferred]
    try:
        _check_complete(task, fetched, blob.size)
        if target.checksum is not None:
            _verify(task, await cluster.blobs.digest(temporary_blob, target.checksum[0]), target.checksum[1])
        _check_no_backing_file(
            blob, f"failed to verify file: backing file not allowed for untrusted image '{temporary}'!"
        )
    except (TaskError, asyncio.CancelledError):
        cluster.blobs.delete(temporary_blob)
        raise
    cluster.blobs.rename(temporary_blob, target.blob)
    _shelve(cluster, target)


def _check_complete(task: Task, fetched: Fetched, size: int) -> None:
    if fetched.length is not None and size < fetched.length:
        task.say(f"Connection closed at byte {size}. Giving up.")
        raise TaskError("download failed: exit code 4")  # wget's code for network failures [inferred]


def _check_no_backing_file(blob: Blob, refusal_text: str) -> None:
    if inspect(blob.header, size=blob.size).backing_file:
        raise TaskError(refusal_text)


def _log_answer(task: Task, url: str, fetched: Fetched, temporary: str, stamp: str) -> None:
    task.say(f"Connecting to {address_of(url)}... connected.")
    task.say(f"HTTP request sent, awaiting response... {fetched.status} {fetched.reason}")
    if fetched.status >= 400:
        task.say(f"{stamp} ERROR {fetched.status}: {fetched.reason}.")
        raise TaskError("download failed: exit code 8")
    task.say(f"Length: {fetched.length or 'unspecified'} [{fetched.mimetype}]")
    task.say(f"Saving to: '{temporary}'")


async def _paced(cluster: SimulatedCluster, task: Task, fetched: Fetched) -> AsyncIterator[bytes]:
    """The stream at the node's own speed, with wget's dots in the log."""
    done = logged = 0
    began = cluster.clock.monotonic()
    async for chunk in fetched.chunks:
        yield chunk
        done += len(chunk)
        if (rate := cluster.pace.download_bytes_per_s) is not None:
            ahead = done / rate - (cluster.clock.monotonic() - began)
            if ahead > 0:
                await cluster.clock.sleep(ahead)
        if done - logged >= _DOTS_BYTES and fetched.length:
            percent = done * 100 // fetched.length
            task.say(f"{logged // 1024:6d}K ........ ........ ........ ........ {percent:2d}% 77.1M 0s")
            logged = done
    task.say(f"{logged // 1024:6d}K {'':35} 100%  262M=0.7s")


def _verify(task: Task, got: str, expected: str) -> None:
    if got != expected.lower():
        task.say("calculating checksum...")
        raise TaskError(f"checksum mismatch: got '{got}' != expect '{expected}'")
    task.say("calculating checksum...OK, checksum verified")


def _shelve(cluster: SimulatedCluster, target: _Target) -> StoredVolume:
    blob = cluster.blobs.get(target.blob)
    assert blob is not None
    info = inspect(blob.header, size=blob.size)
    return target.place.put(
        StoredVolume(
            storage=target.place.storage.name,
            name=target.name,
            content=target.content,
            format=target.format,
            path=target.path,
            virtual_size=info.virtual_size,
            used=blob.size,
            ctime=int(cluster.clock.now().timestamp()),
        )
    )


async def query_url_metadata(r: Request) -> Any:
    _require_network(r)
    url = r.params["url"]
    if not re.match(r"^https?://", url):
        raise parameter_error("url", "value does not match the regex pattern")
    if r.cluster.faults.url_blocked(r.node, url):
        raise refusal(f"invalid server response: '500 Can't connect to {address_of(url)} (Connection refused)'")
    try:
        async with r.cluster.fetch(url) as fetched:
            if fetched.status >= 400:
                raise refusal(f"invalid server response: '{fetched.status} {fetched.reason}'")
            return {"filename": fetched.filename, "size": fetched.length, "mimetype": fetched.mimetype}
    except FetchFailed:
        raise refusal(
            f"invalid server response: '500 Can't connect to {address_of(url)} (Connection refused)'"
        ) from None


# -- upload ----------------------------------------------------------------------------------------------------------
async def upload(r: Request) -> Any:
    """Overwrites silently; validated only after the whole body is in."""
    r.require(f"/storage/{r.path['storage']}", "Datastore.AllocateTemplate")
    part: Upload = r.body
    target = _check_target(r, part.filename, verb="upload")
    temporary = f"/var/tmp/pveupload-{r.cluster.random.getrandbits(128):032x}"
    node = r.entry

    async def chunks() -> AsyncIterator[bytes]:
        yield part.data

    async def body(task: Task) -> None:
        task.say(f"starting file import from: {temporary}")
        staged = f"{node}:{temporary}"
        blob = await r.cluster.blobs.write(staged, chunks(), room=None, algorithm=r.params.get("checksum-algorithm"))
        try:
            if target.checksum is not None:
                _verify(task, await r.cluster.blobs.digest(staged, target.checksum[0]), target.checksum[1])
            _check_no_backing_file(blob, f"backing file not allowed for untrusted image '{temporary}'!")
            task.say(f"target node: {r.node}")
            task.say(f"target file: {target.path}")
            task.say(f"file size is: {blob.size}")
            task.say(f"command: cp -- {temporary} {target.path}")
            if blob.size > target.place.avail:
                raise TaskError(f"import failed: cp: error writing '{target.path}': No space left on device")
            await r.cluster.clock.sleep(r.cluster.pace.task_s)
            await r.cluster.blobs.copy(staged, target.blob)
        finally:
            r.cluster.blobs.delete(staged)
        _shelve(r.cluster, target)
        task.say("finished file import successfully")

    return r.cluster.fork(node=node, type="imgcopy", id="", user=r.user, body=body)


# -- content ---------------------------------------------------------------------------------------------------------
async def content(r: Request) -> Any:
    r.require(f"/storage/{r.path['storage']}", "Datastore.Audit", "Datastore.AllocateSpace")
    place = r.cluster.storages.on_node(r.path["storage"], r.node)
    wanted, vmid = r.params.get("content"), r.params.get("vmid")
    return [
        _row(volume)
        for volume in place.volumes.values()
        if (wanted is None or volume.content == wanted) and (vmid is None or str(volume.vmid) == vmid)
    ]


def _row(volume: StoredVolume) -> dict[str, Any]:
    row: dict[str, Any] = {"volid": volume.volid, "content": volume.content, "format": volume.format,
                           "ctime": volume.ctime}  # fmt: skip
    if volume.content != "images":
        return row | {"size": volume.used}
    parent = f"../{volume.base}" if volume.base else None
    return row | {"size": volume.virtual_size, "used": volume.used, "vmid": volume.vmid, "parent": parent}


def _volid(r: Request) -> str:
    """The path's volume may be given without its storage."""
    given = r.path["volume"]
    return given if ":" in given else f"{r.path['storage']}:{given}"


async def volume_info(r: Request) -> Any:
    r.require(f"/storage/{r.path['storage']}", "Datastore.Audit", "Datastore.AllocateSpace")
    place = r.cluster.storages.on_node(r.path["storage"], r.node)
    volume = place.find(_volid(r))
    if volume is None:
        raise refusal(f"volume_size_info on '{_volid(r)}' failed - no format")
    return {"format": volume.format, "path": volume.path, "size": volume.virtual_size, "used": volume.used}


async def delete_volume(r: Request) -> Any:
    """Deletes a guest's attached disk without asking; says OK for a file that is not there."""
    r.require(f"/storage/{r.path['storage']}", "Datastore.Allocate")
    place = r.cluster.storages.on_node(r.path["storage"], r.node)
    volid = _volid(r)
    owner = place.find(volid)
    task_id = f"{owner.vmid}@{place.storage.name}" if owner and owner.vmid else place.storage.name

    async def body(task: Task) -> None:
        await r.cluster.clock.sleep(r.cluster.pace.task_s)
        volume = place.find(volid)
        if volume is None:
            inner = volid.partition(":")[2].partition("/")[2]
            task.say(f"disk image '{place.file_path(volid.partition(':')[2].partition('/')[0], inner)}' does not exist")
        elif place.clones_of(volume.name):
            raise TaskError(f"base volume '{volume.name}' is still in use by linked clones")
        else:
            place.drop(volume, r.cluster.blobs)
        task.say(f"Removed volume '{volid}'")

    return r.cluster.fork(node=r.node, type="imgdel", id=task_id, user=r.user, body=body)
