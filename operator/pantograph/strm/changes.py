"""Folders of the target in which something changed and that a media server has not been told of yet.

One row a media server and folder, stored before the change happens and taken back if it does not: so a kill between
the change and the message loses none, and a run that changes nothing stores and tells nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pantograph.providers.notify.port import ChangeKind
from pantograph.strm.manifest import Manifest

# What somebody who was told nothing in between has to know.
_NOTE: Final = """
INSERT INTO changes (server, path, kind) VALUES (?,?,?) ON CONFLICT (server, path) DO UPDATE SET kind = CASE
  WHEN kind = 'Created' AND excluded.kind = 'Modified' THEN 'Created'
  WHEN kind = 'Deleted' AND excluded.kind = 'Created' THEN 'Modified'
  ELSE excluded.kind END""".strip()


@dataclass(frozen=True, slots=True)
class Telling:
    """When a media server was last told, or not reached."""

    at: float
    """Seconds since 1970."""
    failures: int
    """In a row; 0: it was told."""


@dataclass(slots=True)
class Changes:
    """The rows of `servers`; without any, nothing is stored."""

    manifest: Manifest
    servers: tuple[str, ...] = ()
    _expected: dict[tuple[str, str], tuple[ChangeKind, ChangeKind | None]] = field(default_factory=dict)
    """What is about to happen, and what was known of the folder before."""
    _happened: set[str] = field(default_factory=set)

    def expect(self, kinds: Mapping[str, ChangeKind]) -> None:
        """These folders are about to change: durable before the first of them does. `settle` ends it."""
        if not self.servers or not kinds:
            return
        for server in self.servers:
            for path, kind in kinds.items():
                self._expected[server, path] = (kind, self._kind(server, path))
                self.manifest.execute(_NOTE, (server, path, kind))
        self.manifest.commit()

    def happened(self, path: str) -> None:
        """A file in this folder was written or went, as expected."""
        self._happened.add(path)

    def settle(self) -> None:
        """Take back what did not come about; stored with the caller's commit."""
        made = {above for path in self._happened for above in _with_those_above(path)}
        for (server, path), (kind, before) in self._expected.items():
            if path in (made if kind == "Created" else self._happened):
                continue
            if before is None:
                self.manifest.execute("DELETE FROM changes WHERE server=? AND path=?", (server, path))
            else:
                self.manifest.execute("UPDATE changes SET kind=? WHERE server=? AND path=?", (before, server, path))
        self._expected, self._happened = {}, set()

    def note(self, path: str, kind: ChangeKind) -> None:
        """The folder has changed; stored with the caller's commit."""
        self.manifest.executemany(_NOTE, [(server, path, kind) for server in self.servers])

    def are_pending(self, server: str) -> bool:
        return self.manifest.execute("SELECT 1 FROM changes WHERE server=? LIMIT 1", (server,)).fetchone() is not None

    def pending(self, server: str) -> Iterator[tuple[str, ChangeKind]]:
        """A folder comes before those in it."""
        yield from self.manifest.select("SELECT path, kind FROM changes WHERE server=? ORDER BY path", (server,))

    def last_telling(self, server: str) -> Telling | None:
        row = self.manifest.execute("SELECT at, failures FROM tellings WHERE server=?", (server,)).fetchone()
        return None if row is None else Telling(*row)

    def told(self, server: str, at: float) -> None:
        """All that was pending."""
        self.manifest.execute("DELETE FROM changes WHERE server=?", (server,))
        self._record(server, Telling(at, 0))

    def not_told(self, server: str, at: float) -> Telling:
        """It could not be reached; everything stays pending."""
        last = self.last_telling(server)
        telling = Telling(at, (last.failures if last else 0) + 1)
        self._record(server, telling)
        return telling

    def forget_others(self) -> None:
        """Servers that the spec no longer names."""
        known = self.manifest.select("SELECT server FROM changes UNION SELECT server FROM tellings")
        for server in [name for (name,) in known if name not in self.servers]:
            for table in ("changes", "tellings"):
                self.manifest.execute(f"DELETE FROM {table} WHERE server=?", (server,))  # noqa: S608 - constants
            self.manifest.commit()

    def _record(self, server: str, telling: Telling) -> None:
        self.manifest.execute(
            "INSERT OR REPLACE INTO tellings (server, at, failures) VALUES (?,?,?)",
            (server, telling.at, telling.failures),
        )
        self.manifest.commit()

    def _kind(self, server: str, path: str) -> ChangeKind | None:
        row = self.manifest.execute("SELECT kind FROM changes WHERE server=? AND path=?", (server, path)).fetchone()
        return None if row is None else row[0]


def all_of(paths: Iterable[str], kind: ChangeKind) -> dict[str, ChangeKind]:
    """The same of each."""
    return dict.fromkeys(paths, kind)


def _with_those_above(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]
