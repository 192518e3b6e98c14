"""Runs as child processes of the operator, on its roots.

A child is a fresh interpreter (never a fork of this one, which has gRPC and threads in it). It ends when this process
ends, however that happens: its standard input closes. What is known of children is known here alone, so after a restart
there are none, and a new run resumes what one left.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from pantograph.api.meta import Key
from pantograph.api.run import INTERRUPTED, RunProgress
from pantograph.clock import Clock
from pantograph.controllers.runs.authority import CHILD_HANDLE
from pantograph.controllers.runs.orders import (
    CA_FILE,
    SPEC_FILE,
    TOKEN_FILE,
    NeededSecret,
    arguments,
    secrets_of,
    spec_text,
)
from pantograph.controllers.runs.port import RunOrder, RunState
from pantograph.controllers.runs.registry import Registry
from pantograph.controllers.runs.roots import Roots
from pantograph.controllers.runs.silence import of_child as silence_of_child
from pantograph.controllers.secrets import SecretNotFound, read_secret_bytes
from pantograph.engine import logs
from pantograph.engine.errors import Terminal
from pantograph.engine.kube import KubeApi

logger = logging.getLogger(__name__)

CANCEL_GRACE_S: Final = 20.0
"""So long a cancelled run may take to end by its own word; then it gets SIGTERM, and after `KILL_GRACE_S` SIGKILL."""
KILL_GRACE_S: Final = 10.0
SecretValues = Mapping[str, bytes]
_PREFIX: Final = "run-"
_EXCEPTION: Final = re.compile(r"((?:[a-z_]\w*\.)*[A-Z]\w{0,60}(?:Error|Exception|Exit|Interrupt))(?::|$)")
_PRIVATE: Final = ("PANTOGRAPH_", "KUBE")
"""Variables that are no business of a run, by their beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSettings:
    """What children of this process are told."""

    directory: Path
    """Where each gets a private directory with its spec and Secrets; best in memory."""
    report_url: str
    authority: Callable[[], str]
    """The PEM to trust there."""
    installation: str
    cancel_grace_s: float = CANCEL_GRACE_S
    kill_grace_s: float = KILL_GRACE_S


@dataclass(slots=True)
class _Child:
    run: str
    key: Key
    process: Process
    folder: Path
    exception: str = ""
    """The type of the exception that it died of, if its last words tell one: words of a run may hold secrets."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    watching: asyncio.Task[None] | None = None
    stopping: asyncio.Task[None] | None = None


class Children:
    """One a process."""

    def __init__(
        self,
        settings: ChildSettings,
        *,
        registry: Registry,
        roots: Roots,
        kube: KubeApi,
        clock: Clock,
        wake: Callable[[Key], None],
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._roots = roots
        self._kube = kube
        self._clock = clock
        self._wake = wake
        self._children: dict[str, _Child] = {}
        self._leaving: dict[str, _Child] = {}
        """Forgotten, and not ended yet."""
        self._life = secrets.token_hex(4)
        """Tells handles and folders of this process from those of the one before."""

    def clean(self) -> None:
        """Remove what a process before this one, which was killed, has left in the directory."""
        for left in self._settings.directory.glob(f"{_PREFIX}*"):
            if not left.name.startswith(f"{_PREFIX}{self._life}-"):  # a run of ours may have begun meanwhile
                shutil.rmtree(left, ignore_errors=True)

    async def start(self, order: RunOrder) -> str:
        """See `Runs.start`."""
        if (handle := self.find(order.id)) is not None:
            return handle
        roots = self._resolve(order)
        values = {(each.namespace, each.name): await self._read(each) for each in secrets_of(order)}
        if (handle := self.find(order.id)) is not None:  # begun meanwhile
            return handle
        folder = self._make_folder(order)
        try:
            process = await self._begin(order, folder, roots, values)
        except BaseException:  # also when it is cut short: no Secret is left on the disk
            shutil.rmtree(folder, ignore_errors=True)
            self._registry.forget(order.id)
            raise
        child = _Child(order.id, order.job.key, process, folder)
        child.watching = asyncio.create_task(self._watch(child), name=f"run-{order.id}")
        self._children[order.id] = child
        return self._handle(order.id)

    def find(self, run: str) -> str | None:
        return self._handle(run) if run in self._children else None

    def look(self, run: str, handle: str) -> RunState | None:
        """See `Runs.look`."""
        child = self._children.get(run)
        if child is None or handle != self._handle(run):
            self._registry.forget(run)
            return None
        known = self._registry.get(run)
        progress, result = (known.progress, known.result) if known else (None, None)
        if result is not None and result.reason == INTERRUPTED:
            if not child.ended.is_set():
                return self._at_work(child, progress)
            self.forget(run)
            return None
        if result is not None:
            return RunState(False, progress, result)
        if not child.ended.is_set():
            return self._at_work(child, progress)
        return RunState(False, progress, None, _end_of(child))

    def cancel(self, run: str) -> None:
        """See `Runs.cancel`."""
        child = self._children.get(run)
        if child is None or child.ended.is_set() or child.stopping is not None:
            return
        self._registry.cancel(run)
        child.stopping = asyncio.create_task(self._stop(child, self._settings.cancel_grace_s))

    def forget(self, run: str) -> None:
        """See `Runs.forget`. A child that is still at work is ended: nobody would hear of it."""
        self._registry.forget(run, stored=True)
        child = self._children.pop(run, None)
        if child is None or child.ended.is_set():
            return
        self._leaving[run] = child
        if child.stopping is None:
            child.stopping = asyncio.create_task(self._stop(child, self._settings.cancel_grace_s))

    async def end(self, key: Key) -> None:
        """See `Runs.end`. They are told by signal, and killed if that is not enough."""
        theirs = [child for child in self._children.values() if child.key == key]
        for child in theirs:
            self.forget(child.run)
        await asyncio.gather(*(self._stop(child, 0.0) for child in theirs))

    async def keep(self) -> None:
        """Until cancelled; then `close`: to be run so that no other process works before that is done."""
        await asyncio.to_thread(self.clean)
        try:
            await asyncio.Event().wait()
        finally:
            await self.close()

    async def close(self) -> None:
        """End all of them when what is in hand is done. Nobody records results now; the next process resumes."""
        for run in self._children:
            self._registry.forget(run)
        everybody = [*self._children.values(), *self._leaving.values()]
        await asyncio.gather(*(self._stop(child, 0.0) for child in everybody))

    # How

    def _at_work(self, child: _Child, progress: RunProgress | None) -> RunState:
        since = self._registry.silent_since(child.run)
        silence = None if since is None else silence_of_child(child.key, since, pid=child.process.pid)
        return RunState(True, progress, None, silence.fault if silence else "", silence)

    async def _read(self, secret: NeededSecret) -> Mapping[str, bytes]:
        try:
            return await read_secret_bytes(self._kube, secret.namespace, secret.name)
        except SecretNotFound:
            if not secret.optional:
                raise
            return {}

    def _resolve(self, order: RunOrder) -> Mapping[str, Path]:
        job, local = order.job, order.server.spec.local
        assert job.spec.target.root is not None, "a claim is mounted into a Pod"
        root, user = job.spec.target.root, f"StrmSyncJob {job.metadata.namespace}/{job.metadata.name}"
        roots = {root.name: self._roots.open(root.name, job.metadata.namespace, user=user)}
        if local is None or order.purge:
            return roots
        server = order.server.metadata
        if local.root is None:
            raise Terminal(
                "VolumesApart",
                f"the target is a root of the operator, but DataServer {server.namespace}/{server.name} lies in a"
                " PersistentVolumeClaim, which the operator cannot mount",
                remedy="give target.persistentVolumeClaim, or mount the source as a root by the chart's value roots",
            )
        source = f"DataServer {server.namespace}/{server.name}"
        return roots | {local.root.name: self._roots.open(local.root.name, server.namespace, user=source)}

    def _make_folder(self, order: RunOrder) -> Path:
        self._settings.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(mkdtemp(prefix=f"{_PREFIX}{self._life}-{order.id}-", dir=self._settings.directory))  # mode 0700

    async def _begin(
        self, order: RunOrder, folder: Path, roots: Mapping[str, Path], values: Mapping[tuple[str, str], SecretValues]
    ) -> Process:
        secret = secrets.token_urlsafe(32)
        self._fill(folder, order, secret, values)
        self._registry.enter(order.id, key=order.job.key, server=order.server.key, secret=secret)
        words = arguments(
            order,
            folder=folder,
            token_file=folder / TOKEN_FILE,
            report_url=self._settings.report_url,
            installation=self._settings.installation,
            roots=roots,
            claims={},
            secrets={_label(order, name): folder / _folder_of(name) for name in values},
        )
        return await self._execute([*words, "--until-stdin-closes", str(folder)])

    def _fill(self, folder: Path, order: RunOrder, secret: str, values: Mapping[tuple[str, str], SecretValues]) -> None:
        (folder / SPEC_FILE).write_text(spec_text(order), encoding="utf-8")
        (folder / CA_FILE).write_text(self._settings.authority(), encoding="ascii")
        (folder / TOKEN_FILE).write_text(secret, encoding="ascii")
        for name, keys in values.items():
            (folder / _folder_of(name)).mkdir()
            for key, value in keys.items():
                (folder / _folder_of(name) / key).write_bytes(value)

    async def _execute(self, words: list[str]) -> Process:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_PRIVATE)}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pantograph.cli.main", *words),
            stdin=PIPE,  # held open: its end is ours
            stdout=DEVNULL,
            stderr=PIPE,
            env=environment,
        )

    async def _watch(self, child: _Child) -> None:
        """Until it has ended; its lines go into our log."""
        assert child.process.stderr is not None, "asked for"
        with logs.about(kind=child.key.kind, namespace=child.key.namespace, name=child.key.name):
            try:
                while line := await _line(child.process.stderr):
                    child.exception = _exception_in(line)
                    logger.info("run %s: %s", child.run, line)
                code = await child.process.wait()
                logger.info("run %s has ended with code %d", child.run, code)
            finally:
                await asyncio.to_thread(shutil.rmtree, child.folder, ignore_errors=True)
                child.ended.set()
                self._leaving.pop(child.run, None)
                self._wake(child.key)

    async def _stop(self, child: _Child, grace_s: float) -> None:
        for wait_s, end in (
            (grace_s, child.process.terminate),
            (self._settings.kill_grace_s, child.process.kill),
            (self._settings.kill_grace_s, None),
        ):
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await child.ended.wait()
                return
            if end is not None:
                with suppress(ProcessLookupError):
                    end()
        logger.error("run %s does not end although it was killed: its file system may hang", child.run)

    def _handle(self, run: str) -> str:
        return f"{CHILD_HANDLE}{self._life}-{run}"


async def _line(stream: asyncio.StreamReader) -> str:
    """The next line that says something; empty: there is none any more."""
    while True:
        try:
            raw = await stream.readline()
        except ValueError:  # longer than the buffer: it was dropped
            continue
        line = raw.decode(errors="replace").strip()
        if line or not raw:
            return line


def _exception_in(line: str) -> str:
    """The type at the beginning of a traceback's last line, which alone is fit for everybody's eyes."""
    found = _EXCEPTION.match(line)
    return found[1].rpartition(".")[2] if found else ""


def _end_of(child: _Child) -> str:
    code = child.process.returncode
    how = f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
    return f"the run's process {how} without a result" + (f": {child.exception}" if child.exception else "")


def _folder_of(secret: tuple[str, str]) -> str:
    return f"secret-{'.'.join(secret)}"


def _label(order: RunOrder, secret: tuple[str, str]) -> str:
    """How the runner finds it: by name, and one of another namespace by both."""
    namespace, name = secret
    return name if namespace == order.job.metadata.namespace else f"{namespace}/{name}"
