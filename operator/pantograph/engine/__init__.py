"""The Kubernetes side: watch, cache, queue, reconcile skeleton, API client, lease, metrics.

It knows Kubernetes and no virtual machine. `controllers` and `cli` import it; it imports `api` only. kopf is imported
nowhere else.
"""
