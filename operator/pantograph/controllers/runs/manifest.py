"""The Kubernetes Job of one run: everything it needs in one object, so that it is there whole or not at all.

The spec and the authority lie in annotations that the downward API shows as files; Secrets and volumes are mounted by
the kubelet, so the operator never has a Secret of a Job's run in hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from pantograph.api import labels
from pantograph.api.execution import Execution, Resources
from pantograph.api.meta import GROUP, JOBS, Body, Key, to_body
from pantograph.api.run import TOKEN_AUDIENCE
from pantograph.api.units import parse_cpu, parse_quantity
from pantograph.controllers.runs.orders import (
    CA_FILE,
    SPEC_FILE,
    TOKEN_FILE,
    NeededSecret,
    arguments,
    deadline_of,
    secrets_of,
    spec_text,
)
from pantograph.controllers.runs.port import RunOrder

SPEC_ANNOTATION: Final = f"{GROUP}/run-spec"
CA_ANNOTATION: Final = f"{GROUP}/run-ca"
CONTAINER: Final = "run"
GRACE_S: Final = 60
"""What a Pod gets to finish the directory in hand and to say its result."""
TTL_S: Final = 24 * 3600
"""So long a Job that has ended is kept for its log; the newest few only, see `kubejobs`."""
TOKEN_S: Final = 3600
LATER_S: Final = 300
"""After its own deadline a run says its result; Kubernetes' one is for a run that cannot."""
_FILES: Final = ((SPEC_FILE, SPEC_ANNOTATION), (CA_FILE, CA_ANNOTATION))
_ORDER: Final = PurePosixPath("/run/pantograph/order")
_TOKEN: Final = PurePosixPath("/run/pantograph/token")
_CLAIMS: Final = PurePosixPath("/volumes")
_SECRETS: Final = PurePosixPath("/run/pantograph/secrets")
_TMP: Final = PurePosixPath("/tmp")  # noqa: S108 - a volume of the Pod's own
_MESSAGE: Final = "/dev/termination-log"
_NAME_ROOM: Final = 63 - 1 - 32  # a Job's name becomes a label; a run's id has at most 32 characters
_NOBODY: Final = 65532
_REQUESTS: Final = {"cpu": "50m", "memory": "96Mi"}
_LIMITS: Final = {"memory": "512Mi"}
_SIZE_OF: Final[dict[str, Callable[[str], int]]] = {"cpu": parse_cpu, "memory": parse_quantity}


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSettings:
    """What Pods of runs are made of, as the chart says."""

    image: str
    pull_policy: str
    pull_secrets: tuple[str, ...]
    report_url: str


def job_name(key: Key, run: str) -> str:
    """The name of the run's Job: one run, one name, so that it cannot be made twice."""
    prefix = key.name.replace(".", "-")[:_NAME_ROOM].strip("-")
    return f"{prefix}-{run}"


@dataclass(frozen=True, slots=True)
class _Volume:
    """A volume of the Pod, and where its one container sees it."""

    name: str
    path: PurePosixPath
    source: Body
    read_only: bool = True

    @property
    def declared(self) -> Body:
        return {"name": self.name} | self.source

    @property
    def mount(self) -> Body:
        return {"name": self.name, "mountPath": str(self.path)} | ({"readOnly": True} if self.read_only else {})


def job_manifest(order: RunOrder, settings: PodSettings, *, authority: str, installation: str) -> Body:
    """The Job. Its DataServer and Secrets are in its own namespace."""
    marks = _marks(order)
    annotations = {
        SPEC_ANNOTATION: spec_text(order),
        CA_ANNOTATION: authority,
        "kubectl.kubernetes.io/default-container": CONTAINER,
    }
    spec: Body = {
        "backoffLimit": 0,  # the controller begins the next run, which resumes
        "ttlSecondsAfterFinished": TTL_S,
        "template": {
            "metadata": {"labels": marks, "annotations": annotations},
            "spec": _pod(order, settings, installation),
        },
    }
    deadline_s = deadline_of(order)
    if deadline_s is not None:
        spec["activeDeadlineSeconds"] = int(deadline_s) + LATER_S
    return {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "metadata": {
            "name": job_name(order.job.key, order.id),
            "namespace": order.job.metadata.namespace,
            "labels": marks,
            "ownerReferences": [_owner(order)],
        },
        "spec": spec,
    }


def _marks(order: RunOrder) -> dict[str, str]:
    return {
        labels.RUN: order.id,
        labels.JOB: labels.label_value(order.job.metadata.name),
        "app.kubernetes.io/name": "pantograph-run",
        "app.kubernetes.io/managed-by": "pantograph",
    }


def _owner(order: RunOrder) -> Body:
    resource, meta = order.job.info.resource, order.job.metadata
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": meta.name,
        "uid": meta.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _pod(order: RunOrder, settings: PodSettings, installation: str) -> Body:
    execution = order.job.spec.execution or Execution()
    pod: Body = {
        "restartPolicy": "Never",
        "serviceAccountName": "default",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_S,
        "securityContext": _security(execution),
        "containers": [_container(order, settings, execution, installation)],
        "volumes": [each.declared for each in _volumes(order)],
        "imagePullSecrets": [{"name": name} for name in settings.pull_secrets],
        "nodeSelector": execution.node_selector,
        "tolerations": [to_body(each) for each in execution.tolerations or []],
        "priorityClassName": execution.priority_class_name,
    }
    return {name: value for name, value in pod.items() if value not in (None, [], {})}


def _container(order: RunOrder, settings: PodSettings, execution: Execution, installation: str) -> Body:
    words = arguments(
        order,
        folder=_ORDER,
        token_file=_TOKEN / TOKEN_FILE,
        report_url=settings.report_url,
        installation=installation,
        roots={},
        claims={name: _CLAIMS / str(number) for number, name in enumerate(_claims_of(order))},
        secrets={each.name: _SECRETS / str(number) for number, each in enumerate(secrets_of(order))},
    )
    return {
        "name": CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "args": [*words, "--message-file", _MESSAGE],
        "terminationMessagePath": _MESSAGE,
        "resources": _resources(execution),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [each.mount for each in _volumes(order)],
    }


def _volumes(order: RunOrder) -> list[_Volume]:
    """Claims and Secrets are numbered: their names may be longer than a volume's."""
    claims, secrets = _claims_of(order), secrets_of(order)
    return [
        _Volume("order", _ORDER, {"downwardAPI": {"items": [_shown(*each) for each in _FILES]}}),
        _Volume("token", _TOKEN, {"projected": {"sources": [{"serviceAccountToken": _token()}]}}),
        _Volume("tmp", _TMP, {"emptyDir": {"sizeLimit": "512Mi"}}, read_only=False),
        *(
            _Volume(f"claim-{number}", _CLAIMS / str(number), {"persistentVolumeClaim": _claim(name, is_read)}, is_read)
            for number, (name, is_read) in enumerate(claims.items())
        ),
        *(
            _Volume(f"secret-{number}", _SECRETS / str(number), {"secret": _secret(each)})
            for number, each in enumerate(secrets)
        ),
    ]


def _claims_of(order: RunOrder) -> dict[str, bool]:
    """Claims to mount; true: for reading alone."""
    target, local = order.job.spec.target.persistent_volume_claim, order.server.spec.local
    assert target is not None, "a root is the operator's own"
    claims = {target.claim_name: False}
    if local is not None and local.persistent_volume_claim is not None:
        claims.setdefault(local.persistent_volume_claim.claim_name, True)
    return claims


def _claim(name: str, is_read: bool) -> Body:
    # Read-only as a volume, not as a mount alone: the kubelet gives every other volume to `fsGroup`, file by file.
    # https://github.com/kubernetes/kubernetes/blob/v1.34.0/pkg/volume/csi/csi_mounter.go (supportsFSGroup)
    return {"claimName": name} | ({"readOnly": True} if is_read else {})


def _secret(needed: NeededSecret) -> Body:
    return {"secretName": needed.name, "defaultMode": 0o440} | ({"optional": True} if needed.optional else {})


def _shown(path: str, annotation: str) -> Body:
    return {"path": path, "fieldRef": {"fieldPath": f"metadata.annotations['{annotation}']"}}


def _token() -> Body:
    return {"audience": TOKEN_AUDIENCE, "expirationSeconds": TOKEN_S, "path": TOKEN_FILE}


def _security(execution: Execution) -> Body:
    user = execution.run_as_user or _NOBODY
    group = execution.run_as_group or user
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": group,
        "fsGroup": execution.fs_group or group,
        "fsGroupChangePolicy": "OnRootMismatch",  # or the kubelet would visit every file of the library
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _resources(execution: Execution) -> Body:
    """What was given, amount by amount, and defaults for the rest: these give way, since the API server takes no
    request above its limit."""
    given = execution.resources or Resources()
    requests: dict[str, str] = to_body(given.requests) if given.requests else {}
    limits: dict[str, str] = to_body(given.limits) if given.limits else {}
    low = {name: min(each, limits.get(name, each), key=_SIZE_OF[name]) for name, each in _REQUESTS.items()}
    high = {name: max(each, requests.get(name, each), key=_SIZE_OF[name]) for name, each in _LIMITS.items()}
    return {"requests": low | requests, "limits": high | limits}
