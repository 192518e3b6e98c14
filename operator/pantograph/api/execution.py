"""`spec.execution` of a `StrmSyncJob`: what a person may say about the Pods of its runs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pantograph.api.markers import Atomic
from pantograph.api.meta import Model, Name

Cpu = Annotated[str, Field(max_length=16, pattern=r"^([0-9]+m|[0-9]+(\.[0-9]{1,3})?)$")]
"""Such as `250m` or `1.5`."""
Memory = Annotated[str, Field(max_length=16, pattern=r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|k|M|G)?$")]
Id = Annotated[int, Field(ge=1, le=2_147_483_647)]
LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]


class Amounts(Model):
    """Of CPU and memory."""

    cpu: Cpu | None = None
    memory: Memory | None = None


class Resources(Model):
    """As in a Pod's container: what is reserved, and what may be used."""

    requests: Amounts | None = None
    """Absent: 50m and 96Mi, or the limit, if that is lower."""
    limits: Amounts | None = None
    """Absent: 512Mi of memory, or what is requested, if that is more. A run's memory grows with the largest
    directory, not with the library."""


class Toleration(Model):
    """As in a Pod."""

    key: LabelKey | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: LabelValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: Annotated[int, Field(ge=0, le=604_800)] | None = None


class Execution(Model):
    """How the Pods of this job's runs are made."""

    resources: Resources | None = None
    node_selector: Annotated[dict[str, LabelValue], Field(max_length=16)] | None = None
    """Labels of the nodes that may be used. A volume that is bound to a node needs none."""
    tolerations: Annotated[list[Toleration], Field(max_length=16), Atomic()] | None = None
    priority_class_name: Name | None = None
    run_as_user: Id | None = None
    """The user that runs work as, who owns the files that are made; absent: 65532. Never root."""
    run_as_group: Id | None = None
    """The group of these files; absent: the number of `runAsUser`."""
    fs_group: Id | None = None
    """The group that Kubernetes gives the target's volume to; absent: the number of `runAsGroup`."""
