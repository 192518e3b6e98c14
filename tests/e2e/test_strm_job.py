"""A library on a claim is mirrored by a pod of its own, one on a root by the operator's pod."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.controlplane.controlplane import CommandError
from hack.node.world import NODE_ADDRESS
from hack.stage import SYSTEM, Body, Stage, until
from pantograph.api.run import TOKEN_AUDIENCE
from pantograph.api.units import parse_quantity
from tests.cluster.mirroring import declared, library_of, status
from tests.e2e.memory import peaks
from tests.e2e.release import Release, create_namespace
from tests.e2e.volumes import Volumes
from tests.fakes.openlist import FakeOpenList, served

DIRECTORIES = 80
PER_MINUTE = 240
"""So a run lasts about 20 s: it reports every 5 s, and an operator's pod is replaced within it."""
ROOTS = [{"name": "library", "existingClaim": "library", "namespaces": ["*"]}]
JOB = "strmsyncjob/movies"


@pytest.fixture
def openlist() -> Iterator[FakeOpenList]:
    """A media server outside the pods."""
    with served(FakeOpenList(library_of(DIRECTORIES)), host=NODE_ADDRESS) as fake:
        yield fake


@pytest.fixture
def library(release: Release, stage: Stage, volumes: Volumes) -> Path:
    """The folder behind the claim `library` of the scene."""
    return volumes.claim(stage.namespace, "library")


@pytest.fixture
def root(stage: Stage, volumes: Volumes) -> Iterator[Path]:
    """The folder behind the claim `library` of the operator's namespace; the claim goes with the pod that has it."""
    create_namespace(stage.plane, SYSTEM)
    yield volumes.claim(SYSTEM, "library")
    stage.plane.kubectl("delete", "persistentvolumeclaim", "library", "--namespace", SYSTEM, "--wait=false")


def await_progress(stage: Stage) -> str:
    """The run's id, once it has said how far it is."""
    until(lambda: (status(stage).get("run") or {}).get("dirsDone"), "a run that reports progress", within_s=60)
    return str(status(stage)["run"]["id"])


def pods(stage: Stage) -> list[Body]:
    return stage.all("pods")


def strm_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.strm"))


def test_a_run_on_a_claim_is_a_pod_that_reports_progress_and_outlives_the_operators_pod(
    release: Release, stage: Stage, openlist: FakeOpenList, library: Path
) -> None:
    stage.apply(*declared(openlist, per_minute=PER_MINUTE))
    run = await_progress(stage)
    (pod,) = pods(stage)
    operator = release.pod()
    release.kubectl("delete", "pod", operator)
    release.await_successor(operator)
    stage.await_ready(JOB, within_s=90)

    last = status(stage)["lastRun"]
    assert (last["id"], last["result"], last["created"]) == (run, "Succeeded", DIRECTORIES)
    assert [each["metadata"]["uid"] for each in pods(stage)] == [pod["metadata"]["uid"]]
    files = strm_files(library / "movies")
    assert len(files) == DIRECTORIES
    assert {(file.stat().st_uid, file.stat().st_gid) for file in files} == {(65532, 65532)}
    stage.kubectl("wait", "--for=condition=Complete", "jobs", "--all", "--timeout=60s")
    assert '"result":"Succeeded"' in stage.kubectl("logs", pod["metadata"]["name"]).replace(" ", "")


def test_a_runs_pod_can_reach_nothing_of_the_api_and_ends_with_its_cancel(
    stage: Stage, openlist: FakeOpenList, library: Path
) -> None:
    stage.apply(*declared(openlist, per_minute=PER_MINUTE))
    run = await_progress(stage)
    (pod,) = pods(stage)
    name, spec = pod["metadata"]["name"], pod["spec"]
    sources = [source for volume in spec["volumes"] for source in volume.get("projected", {}).get("sources", [])]
    assert [source["serviceAccountToken"]["audience"] for source in sources] == [TOKEN_AUDIENCE]
    with pytest.raises(CommandError, match="No such file"):
        stage.kubectl("exec", name, "--", "ls", "/var/run/secrets/kubernetes.io")

    answers = json.loads(stage.kubectl("exec", name, "--", "python3", "-c", ASK, stage.namespace))
    assert answers["nobody"] == dict.fromkeys(PATHS, 403)
    assert answers["run"] == dict.fromkeys(PATHS, 401)

    stage.kubectl("annotate", JOB, "pantograph.dev/cancel=now")
    until(lambda: status(stage).get("lastRun"), "the cancelled run is recorded", within_s=60)
    assert (status(stage)["lastRun"]["id"], status(stage)["lastRun"]["result"]) == (run, "Cancelled")
    until(lambda: all(each["status"]["phase"] != "Running" for each in pods(stage)), "its pod has ended")
    assert 0 < len(strm_files(library / "movies")) == status(stage)["lastRun"]["created"] < DIRECTORIES


PATHS = (
    "/api",
    "/apis/pantograph.dev/v1alpha1",
    "/apis/pantograph.dev/v1alpha1/namespaces/{namespace}/strmsyncjobs/movies",
    "/api/v1/namespaces/{namespace}/pods",
    "/api/v1/namespaces/{namespace}/secrets/openlist",
)
ASK = f"""
import json, ssl, sys, urllib.error, urllib.request
token = open("/run/pantograph/token/token").read()
context = ssl._create_unverified_context()
def ask(path, headers):
    url = "https://kubernetes.default.svc" + path.format(namespace=sys.argv[1])
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), context=context, timeout=10).status
    except urllib.error.HTTPError as refused:
        return refused.code
callers = {{"nobody": {{}}, "run": {{"Authorization": "Bearer " + token}}}}
print(json.dumps({{who: {{path: ask(path, given) for path in {PATHS!r}}} for who, given in callers.items()}}))
"""


def test_a_run_on_a_root_is_a_process_of_the_operators_pod_within_the_memory_that_the_chart_requests(
    shared_release: Release, stage: Stage, openlist: FakeOpenList, root: Path
) -> None:
    release = shared_release
    release.ensure("--set-json", f"roots={json.dumps(ROOTS)}")
    secret, server, job = declared(openlist, per_minute=PER_MINUTE)
    job["spec"]["target"] = {"root": {"name": "library", "subPath": "movies"}}
    stage.apply(secret, server, job)
    operator = json.loads(release.kubectl("get", "pod", release.pod(), "-o", "json"))
    most: dict[int, int] = {}

    def has_run() -> bool:
        most.update(peaks(operator))
        return "lastRun" in status(stage)

    until(has_run, "the run is over", within_s=120)
    print("MiB that the operator and its child have had resident:", [peak >> 20 for peak in most.values()])
    assert len(most) == 2, "the operator and its child"
    requested = parse_quantity(operator["spec"]["containers"][0]["resources"]["requests"]["memory"])
    assert sum(most.values()) < requested
    stage.await_ready(JOB)
    assert len(strm_files(root / "movies")) == DIRECTORIES
    assert pods(stage) == []
