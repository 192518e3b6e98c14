"""What is said of a run from which nothing is heard any more: what is known of it, and what mends it.

Such a run may still write, so nothing is begun in its place: people have to know of it.
"""

from __future__ import annotations

from datetime import datetime

from pantograph.api.meta import GROUP, Body, Key
from pantograph.api.units import format_timestamp
from pantograph.controllers.runs.pods import how_ended
from pantograph.controllers.runs.port import Silence


def of_child(key: Key, since: datetime, *, pid: int) -> Silence:
    """Of a process of this pod."""
    what = f"its process {pid} in the operator's pod hangs, as on a file system that does not answer"
    return _silence(since, what, f"mend what it hangs on, or end it: {_cancel(key)}")


def of_pod(key: Key, since: datetime, *, job: Body, pod: Body | None) -> Silence:
    """Of a Kubernetes Job, whose Pod may be gone."""
    namespace = job["metadata"]["namespace"]
    if pod is None:
        name = job["metadata"]["name"]
        return _silence(since, "its Pod is gone and its Job is not", f"kubectl delete job {name} -n {namespace}")
    name, node = pod["metadata"]["name"], (pod.get("spec") or {}).get("nodeName") or "unknown"
    where = f"its Pod {name} on node {node}"
    if pod["metadata"].get("deletionTimestamp"):
        why = f" ({how})" if (how := how_ended(pod)) else ""
        force = f"kubectl delete pod {name} -n {namespace} --force"
        return _silence(
            since,
            f"{where} is being deleted and does not end{why}",
            f"mend the node or what the Pod hangs on; only if the node is off for good: {force}",
        )
    look = f"kubectl logs {name} -n {namespace}"
    return _silence(
        since,
        f"{where} hangs or cannot reach the operator",
        f"look what it does: {look}; mend what it hangs on, or end it: {_cancel(key)}",
    )


def _silence(since: datetime, what: str, remedy: str) -> Silence:
    return Silence(since, f"the run has said nothing since {format_timestamp(since)}: {what}", remedy)


def _cancel(key: Key) -> str:
    return f'kubectl annotate strmsyncjob {key.name} -n {key.namespace} --overwrite {GROUP}/cancel="$(date)"'
