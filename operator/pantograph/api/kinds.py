"""Every kind of the API, in the order in which people meet them: the one list that CRDs, caches and tests go by."""

from __future__ import annotations

from typing import Final

from pantograph.api.crd import Kind
from pantograph.api.dataserver import DataServer
from pantograph.api.proxmoxcluster import ProxmoxCluster
from pantograph.api.strmsyncjob import StrmSyncJob
from pantograph.api.templatereplica import TemplateReplica
from pantograph.api.vmtemplate import VMTemplate

ALL: Final[tuple[Kind, ...]] = (ProxmoxCluster, VMTemplate, TemplateReplica, DataServer, StrmSyncJob)
