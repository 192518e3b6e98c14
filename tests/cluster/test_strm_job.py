"""Runs as Kubernetes Jobs on the real API server, with the chart's rights; a kubelet in play runs their Pods."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import psutil
import requests

from hack.stage import SYSTEM, Stage, until
from tests.cluster.kubelet import Kubelet
from tests.cluster.mirroring import DIRECTORIES, declared, status
from tests.fakes.openlist import FakeOpenList


def at_work(stage: Stage, *, beyond: int = 0) -> bool:
    return bool((status(stage).get("run") or {}).get("dirsDone", 0) > beyond)


def test_a_run_on_a_claim_outlives_its_operator_and_its_result_is_recorded_once(
    stage: Stage, openlist: FakeOpenList, kubelet: Kubelet, tmp_path: Path
) -> None:
    operator = stage.start_operator()
    operator.await_ready()
    stage.apply(*declared(openlist))
    until(lambda: at_work(stage), "progress in the status", process=operator.process)
    run = status(stage)["run"]["id"]
    assert status(stage)["operation"]["token"] == run

    operator.kill()
    successor = stage.start_operator()
    seen = status(stage)["run"]["dirsDone"]
    until(lambda: at_work(stage, beyond=seen) or status(stage).get("lastRun"), "the successor hears the same run")
    stage.await_ready("strmsyncjob/movies")
    last = status(stage)["lastRun"]
    assert (last["id"], last["result"], last["created"]) == (run, "Succeeded", DIRECTORIES)
    assert "run" not in status(stage)
    assert "operation" not in status(stage)
    assert len(list((tmp_path / "library/movies").rglob("*.strm"))) == DIRECTORIES
    until(lambda: not kubelet.processes, "the run ended once its result was recorded", within_s=15)
    assert len(kubelet.started) == 1
    job = stage.all("jobs")[0]
    until(lambda: stage.get(f"job/{job['metadata']['name']}")["status"].get("succeeded") == 1, "the Job is complete")
    successor.process.check()


def test_a_foreign_token_is_refused_and_a_cancelled_run_stops_and_leaves_what_it_made(
    stage: Stage, openlist: FakeOpenList, kubelet: Kubelet, tmp_path: Path
) -> None:
    operator = stage.start_operator()
    operator.await_ready()
    stage.apply(*declared(openlist))
    until(lambda: at_work(stage), "progress in the status", process=operator.process)
    run = status(stage)["run"]["id"]

    for token in foreign_tokens(stage, kubelet):
        answer = post(stage, run, token)
        assert (answer.status_code, "movies" in answer.text) == (403, False)
    assert "lastRun" not in status(stage)

    stage.kubectl("annotate", "strmsyncjob/movies", "pantograph.dev/cancel=now")
    until(lambda: status(stage).get("lastRun"), "the cancelled run is recorded")
    assert (status(stage)["lastRun"]["id"], status(stage)["lastRun"]["result"]) == (run, "Cancelled")
    until(lambda: not kubelet.processes, "its process has ended", within_s=20)
    made = len(list((tmp_path / "library/movies").rglob("*.strm")))
    assert 0 < made < DIRECTORIES
    assert made == status(stage)["lastRun"]["created"]


def test_a_pod_that_no_node_takes_says_so_on_the_job_and_is_gone_with_the_cancel(
    stage: Stage, openlist: FakeOpenList, kubelet: Kubelet
) -> None:
    kubelet.holds = True
    stage.start_operator().await_ready()
    stage.apply(*declared(openlist))
    until(lambda: "ReadWriteOncePod" in ((status(stage).get("run") or {}).get("waitsFor") or ""), "said why it waits")
    stage.kubectl("annotate", "strmsyncjob/movies", "pantograph.dev/cancel=now")
    until(lambda: status(stage).get("lastRun"), "the run is over")
    assert status(stage)["lastRun"]["result"] == "Cancelled"
    assert kubelet.started == []
    until(lambda: stage.all("jobs") == [], "its Job is gone")


def test_a_child_on_a_root_ends_with_its_killed_operator_and_the_successor_resumes(
    stage: Stage, openlist: FakeOpenList, tmp_path: Path
) -> None:
    (tmp_path / "root").mkdir()
    roots = json.dumps([{"name": "library", "path": str(tmp_path / "root"), "namespaces": [stage.namespace]}])
    operator = stage.start_operator(PANTOGRAPH_ROOTS=roots)
    operator.await_ready()
    secret, server, job = declared(openlist, per_minute=600)
    job["spec"]["target"] = {"root": {"name": "library", "subPath": "movies"}}
    stage.apply(secret, server, job)
    until(lambda: at_work(stage), "progress in the status", process=operator.process)
    (child,) = psutil.Process(operator.process.pid).children()
    operator.kill()
    child.wait(10)
    stage.start_operator(PANTOGRAPH_ROOTS=roots)
    stage.await_ready("strmsyncjob/movies")
    assert status(stage)["lastRun"]["result"] == "Succeeded"
    assert len(list((tmp_path / "root/movies").rglob("*.strm"))) == DIRECTORIES


def foreign_tokens(stage: Stage, kubelet: Kubelet) -> list[str]:
    """Of the ServiceAccount alone, of another Pod with its account, and of the run's own Pod for another audience."""
    container = {"name": "c", "image": "example.org/none", "args": [], "volumeMounts": []}
    kubelet.holds = True
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "other"}, "spec": {"containers": [container]}}
    stage.apply(pod)
    own = next(each for each in stage.all("pods") if each["metadata"]["name"] in kubelet.started)
    return [
        stage.plane.token_for(stage.namespace, "default"),
        kubelet.token(stage.get("pod/other"), "pantograph"),
        kubelet.token(own, "another"),
    ]


def post(stage: Stage, run: str, token: str) -> requests.Response:
    body = {"result": {"result": "Succeeded", "created": 1}}
    secret = ("get", "secret", "pantograph-installation", "-n", SYSTEM, "-o", "json")
    held = json.loads(stage.plane.kubectl(*secret))["data"]
    file = stage.folder / "runs-ca.crt"
    file.write_bytes(base64.b64decode(held["runs-ca.crt"]))
    url = f"https://localhost:{stage.runs_port}/v1/runs/{run}"
    return requests.post(url, json=body, headers={"Authorization": f"Bearer {token}"}, verify=str(file), timeout=20)
