"""Images: fetched once per digest, verified, unpacked, inspected, stored by digest, served by signed URL.

It knows no Kubernetes and no hypervisor. Controllers begin a fetch and poll its state; nodes read by signed URL.
"""

from pantograph.depot.depot import Depot, DepotSettings
from pantograph.depot.errors import (
    ChecksumMismatch,
    DepotError,
    DepotFull,
    DepotUnusable,
    FetchForbidden,
    ImageNotInDepot,
    SourceRefused,
    SourceStalled,
    SourceUnreachable,
    UnsupportedImage,
)
from pantograph.depot.fetch import Patience
from pantograph.depot.model import FetchRequest, FetchState, Image
from pantograph.depot.policy import FetchPolicy
from pantograph.depot.server import application, routes

__all__ = [
    "ChecksumMismatch",
    "Depot",
    "DepotError",
    "DepotFull",
    "DepotSettings",
    "DepotUnusable",
    "FetchForbidden",
    "FetchPolicy",
    "FetchRequest",
    "FetchState",
    "Image",
    "ImageNotInDepot",
    "Patience",
    "SourceRefused",
    "SourceStalled",
    "SourceUnreachable",
    "UnsupportedImage",
    "application",
    "routes",
]
