"""An in-memory Kubernetes API server with faults, and one client's connection to it.

It implements the ports `pantograph.engine.kube.KubeApi` and `WatchSource` and passes the contract suite that the real
kube-apiserver passes (`tests/contract/apiserver`); where the two differ, this one is wrong. Simulations and benchmarks
run on it; nothing of the product imports it.

    server = ApiServer(clock=clock, rng=random.Random(1), crds=[crd])
    await server.create(WIDGETS, "default", {"metadata": {"name": "a"}, "spec": {"size": 1}})
    user = server.connect("kubectl")               # another client: neither faults nor records of the first
    server.fail_next("write", OutcomeUnknown("…"), after_effect=True)

Modelled: identity, versions and generations, status subresource, conflicts and preconditions, finalizers, background
owner collection, forced server-side apply, structural schemas (pruning, defaults, bounds), label selectors, watches.
Secret, ConfigMap, Event and Lease are known without a schema.

Not modelled: CEL rules but those that freeze a field, and `format`; authentication, rights and admission (hence
OwnerReferencesPermissionEnforcement); namespaces as objects, and kinds without a namespace; several versions of one
kind; quotas and rate limits; paging and field selectors; foreground and orphan deletion; conflicts of unforced applies;
Secret's `stringData`; Event expiry.
"""

from tests.fakes.apiserver.faults import Call, Crash, Hook, Verb, Write
from tests.fakes.apiserver.server import ApiServer

__all__ = ["ApiServer", "Call", "Crash", "Hook", "Verb", "Write"]
