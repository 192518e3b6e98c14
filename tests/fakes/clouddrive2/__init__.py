"""CloudDrive2, as far as its clients see it: streamed listings, pushed changes, downloads, and how they go wrong."""

from tests.fakes.clouddrive2.server import FakeCloudDrive2, Fault, serving

__all__ = ["FakeCloudDrive2", "Fault", "serving"]
