"""A simulated Proxmox VE cluster: one model, two faces.

`SimulatedCluster` is the model, on a clock that may be virtual. `simulated_api` opens the port in-process;
`server.SimulatedServer` speaks HTTP as pveproxy does (`python -m tests.fakes.proxmox`). `cluster.faults` breaks things,
`People` does what people do beside the operator, `Truth` tells what is really there.
"""

from tests.fakes.proxmox.answers import ConnectionLost, PveAnswer
from tests.fakes.proxmox.api import SimulatedNetwork, simulated_api
from tests.fakes.proxmox.blobs import DiskBlobs, HashBlobs, MemoryBlobs
from tests.fakes.proxmox.cluster import OPERATOR_TOKEN, Pace, SimulatedCluster
from tests.fakes.proxmox.fetching import Fetch, Fetched, FetchFailed, HttpFetch, serving
from tests.fakes.proxmox.images import qcow2
from tests.fakes.proxmox.people import People
from tests.fakes.proxmox.storages import Storage
from tests.fakes.proxmox.truth import Machine, StagedFile, Truth

__all__ = [
    "OPERATOR_TOKEN",
    "ConnectionLost",
    "DiskBlobs",
    "Fetch",
    "FetchFailed",
    "Fetched",
    "HashBlobs",
    "HttpFetch",
    "Machine",
    "MemoryBlobs",
    "Pace",
    "People",
    "PveAnswer",
    "SimulatedCluster",
    "SimulatedNetwork",
    "StagedFile",
    "Storage",
    "Truth",
    "qcow2",
    "serving",
    "simulated_api",
]
