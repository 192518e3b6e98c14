"""Two pods on one shared volume: one works, the other serves images and is ready to work."""

from __future__ import annotations

import requests

from hack.stage import Stage, until
from tests.cluster.playing import IMAGE, QUICK, template
from tests.e2e.release import DEPOT, Release

TWO = ("--set", "replicas=2", "--set", "depot.persistence.accessMode=ReadWriteMany")


def test_the_standby_is_ready_and_serves_images_does_not_lead_and_takes_over(
    shared_release: Release, stage: Stage
) -> None:
    release = shared_release
    release.ensure(*TWO)
    both = {pod["metadata"]["name"] for pod in release.pods()}
    until(lambda: release.holder() in both, "one of the two leads")
    leader = release.holder()
    (standby,) = both - {leader}
    assert release.leads(leader)
    assert "pantograph_leader 0.0" in release.get(standby, "/metrics")
    assert release.get(standby, "/readyz")

    simulator, origin = stage.start_simulator(*QUICK, "--nodes", "1"), stage.start_origin()
    stage.apply(*stage.connection(simulator), template(origin.put("debian.qcow2", IMAGE)))
    stage.await_ready("vmtemplate/debian")
    (download,) = [each["call"] for each in simulator.truth("mutations") if each["call"]["verb"] == "download_url"]
    signed = download["params"]["url"]
    assert signed.startswith(DEPOT)
    by_address = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in release.pods()}
    served = requests.get(signed.replace(DEPOT, f"http://{by_address[standby]}:8081/"), timeout=10)
    assert (served.status_code, served.content) == (200, IMAGE)

    release.kubectl("delete", "pod", leader)
    until(lambda: release.holder() == standby, "the standby leads")
    assert requests.get(signed, timeout=10).content == IMAGE
    stage.apply(template(origin.url("debian.qcow2"), name="again"))
    stage.await_ready("vmtemplate/again")
    release.await_rollout()
    gets = [request for request in origin.requests if request.startswith("GET")]
    assert (gets[0], set(gets[1:])) == ("GET /debian.qcow2 200", {"GET /debian.qcow2 304"})
