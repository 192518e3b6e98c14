"""The labels that our children carry: native selectors for what people look up."""

from __future__ import annotations

from typing import Final

from pantograph.api.meta import GROUP

TEMPLATE: Final = f"{GROUP}/template"
REVISION: Final = f"{GROUP}/revision"
CLUSTER: Final = f"{GROUP}/cluster"
NODE: Final = f"{GROUP}/node"
ROLE: Final = f"{GROUP}/role"
MANAGED: Final = f"{GROUP}/managed"
"""`true` on children that a `VMTemplate` plans; absent on a person's own."""
RUN: Final = f"{GROUP}/run"
"""On the Job and the Pod of a run: the run's id."""
JOB: Final = f"{GROUP}/strmsyncjob"
"""On the same: the StrmSyncJob, cut to a label's length."""

MAX_VALUE: Final = 63


def label_value(text: str) -> str:
    """`text` as a legal label value: cut to 63 characters, and not ending in punctuation."""
    return text[:MAX_VALUE].rstrip("-._")
