"""OpenList v4, as far as its clients see it: accounts, listings, signed downloads, and every way they go wrong."""

from tests.fakes.openlist.faults import Fault, Faults
from tests.fakes.openlist.server import FakeOpenList, serving
from tests.fakes.openlist.thread import served

__all__ = ["FakeOpenList", "Fault", "Faults", "served", "serving"]
