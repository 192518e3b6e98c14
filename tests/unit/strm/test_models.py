"""The kinds as the API server and a file of YAML see them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pantograph.api import crd
from pantograph.api.dataserver import DataServer
from pantograph.api.declaration import InvalidObject
from pantograph.api.strmspec import DeclaredJob
from pantograph.api.strmsyncjob import StrmSyncJob
from pantograph.cli.strm_reporting import result_of
from pantograph.strm.errors import StrmError
from pantograph.strm.report import Issue, Report
from pantograph.strm.runner import Places, read_declared
from pantograph.strm.spec import compile_job

SERVER = 'driver: OpenList, endpoint: "http://openlist:5244"'
FOLDER = "driver: Local, local: {root: {name: media}}"
SPEC = """
apiVersion: pantograph.dev/v1alpha1
kind: DataServer
metadata: {name: openlist}
spec: {driver: OpenList, endpoint: "http://openlist:5244"}
---
apiVersion: pantograph.dev/v1alpha1
kind: StrmSyncJob
metadata: {name: films}
spec:
  serverRef: {name: openlist}
  source: {path: /115/Films/}
  target: {root: {name: media, subPath: films}}
  link: {publicBase: "http://Player.lan:80/"}
"""


@pytest.mark.parametrize("kind", [StrmSyncJob, DataServer])
def test_the_api_server_would_take_the_definition(kind: crd.Kind) -> None:
    assert len(crd.manifest(kind)) < crd.MAX_BYTES


def declared(tmp_path: Path, text: str = SPEC) -> DeclaredJob:
    file = tmp_path / "spec.yaml"
    file.write_text(text)
    return read_declared(file).job


def test_the_defaults_are_the_careful_ones(tmp_path: Path) -> None:
    job = compile_job(declared(tmp_path))
    assert (job.prune.mode, job.prune.max_percent, job.prune.max_count, job.max_rewrite_percent) == (
        "Report",
        5,
        500,
        50,
    )
    assert (job.source, job.max_depth, job.links.base) == ("/115/Films", None, "http://player.lan")


def test_a_trailing_slash_or_another_spelling_changes_nothing(tmp_path: Path) -> None:
    one = compile_job(declared(tmp_path))
    other = compile_job(declared(tmp_path, SPEC.replace("Films/", "Films")))
    assert one.shape == other.shape


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kind: StrmSyncJob", "kind: Other", "declares 0 StrmSyncJobs"),
        ("name: openlist}\nspec", "name: other}\nspec", "does not declare DataServer/default/openlist"),
        ("link: {publicBase", "link: {mode: Mount, publicBase", "link.mountPrefix"),
        ("root: {name: media, subPath: films}", "adopt: false", "target needs root or persistentVolumeClaim"),
        ("path: /115", "path: 115", "path"),
        (SERVER, f"{SERVER}, local: {{root: {{name: media}}}}", "local needs driver Local; remove local, or"),
        (SERVER, f"{SERVER}, tls: {{caRef: {{name: home-ca}}}}", "tls needs an endpoint of https://"),
        (SERVER, f'{FOLDER}, endpoint: "http://openlist:5244"', "endpoint needs a driver other than Local"),
        (SERVER, f"{FOLDER}, credentialsRef: {{name: openlist}}", "credentialsRef needs a driver other than Local"),
        (SERVER, f"{FOLDER}, tls: {{caRef: {{name: home-ca}}}}", "tls needs a driver other than Local; remove tls, or"),
    ],
)
def test_a_fault_in_the_file_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises((StrmError, InvalidObject), match=message):
        declared(tmp_path, SPEC.replace(old, new))


def test_a_folder_that_contradicts_nothing_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(SPEC.replace(SERVER, FOLDER))
    assert read_declared(file).server.spec.driver == "Local"


def test_a_volume_that_nobody_named_is_asked_for() -> None:
    with pytest.raises(StrmError) as error:
        Places().secret("openlist")
    assert "--secret openlist=DIR" in str(error.value)


def test_paths_are_mapped_by_segments_and_then_replaced_in_order(tmp_path: Path) -> None:
    link = (
        "link: {publicBase: http://p, pathMap: [{from: /115, to: /cloud}, {from: /cloud, to: /no}], "
        'replace: [{from: Films, to: F}, {from: "/F/", to: "/G/"}]}'
    )
    text = SPEC.replace('link: {publicBase: "http://Player.lan:80/"}', link)
    rules = compile_job(declared(tmp_path, text)).links
    assert rules.mapped("/115/Films/a") == "/cloud/G/a"
    assert rules.mapped("/1155/x") == "/1155/x"


def test_a_run_says_in_its_result_whom_it_could_not_tell_and_when_to_come_back() -> None:
    report = Report("run-1", "cron", notified=3, notify_due=1767225600.2)
    report.notify_failed.append(Issue("Unreachable", "den", "media server den (Emby) answered 502"))
    result = result_of(report)
    assert (result.notified, [(each.server, each.reason) for each in result.notify_failed]) == (
        3,
        [("den", "Unreachable")],
    )
    assert result.notify_due is not None
    assert result.notify_due.timestamp() == 1767225601, "never before it is due"
