"""Every metric of the operator in one place, on a registry that is passed in (so tests and benches have their own)."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

_SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300)


class Metrics:
    """Names follow Prometheus' rules (`_total`, base units); labels are bounded: never an object's name."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = registry if registry is not None else CollectorRegistry()
        self.queue_depth = Gauge("pantograph_queue_depth", "Keys that wait for a worker", ["kind"], registry=registry)
        self.queue_adds = Counter("pantograph_queue_adds", "Keys put on the queue", ["kind"], registry=registry)
        self.queue_retries = Counter(
            "pantograph_queue_retries", "Keys put back with back-off", ["kind"], registry=registry
        )
        self.queue_latency = Histogram(
            "pantograph_queue_latency_seconds",
            "From being added to being taken",
            ["kind"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.work_time = Histogram(
            "pantograph_work_seconds", "From being taken to being done", ["kind"], buckets=_SECONDS, registry=registry
        )
        self.reconciles = Counter(
            "pantograph_reconciles",
            "Reconciles by how they ended: Succeeded, "
            "Waiting, Transient, Terminal, Conflict, OutcomeUnknown, Unavailable, Suspended, Deleted, Gone",
            ["kind", "result"],
            registry=registry,
        )
        self.unforeseen_errors = Counter(
            "pantograph_unforeseen_errors",
            "Exceptions that nobody planned for: each is a defect",
            ["kind", "type"],
            registry=registry,
        )
        self.api_requests = Counter(
            "pantograph_api_requests", "Calls to the API server", ["verb", "resource", "code"], registry=registry
        )
        self.provider_calls = Counter(
            "pantograph_provider_calls", "Calls to the outside", ["provider", "verb", "code"], registry=registry
        )
        self.circuits_open = Gauge(
            "pantograph_circuits_open",
            "Connections to which calls are held back after repeated failures",
            ["provider"],
            registry=registry,
        )
        self.operations_running = Gauge(
            "pantograph_operations_running",
            "Operations begun outside and not settled",
            ["kind", "type"],
            registry=registry,
        )
        self.cached_objects = Gauge("pantograph_cached_objects", "Objects held", ["kind"], registry=registry)
        self.stalled_objects = Gauge(
            "pantograph_stalled_objects",
            "Objects that wait for a person: Stalled, not Suspended",
            ["kind"],
            registry=registry,
        )
        self.ghosts = Counter(
            "pantograph_ghosts", "Objects whose deletion the watch never told", ["kind"], registry=registry
        )
        self.leader = Gauge("pantograph_leader", "1 while this process holds the Lease", registry=registry)

    def render(self) -> bytes:
        """The text that `/metrics` serves."""
        return generate_latest(self.registry)
