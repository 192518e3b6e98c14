"""The adapter on the wire: what is sent, whom it trusts, and what each failure leaves open."""

from __future__ import annotations

import logging
import socket
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
import pytest_asyncio

from pantograph.clock import SystemClock
from pantograph.providers.errors import (
    Busy,
    NotFound,
    OutcomeUnknown,
    ProtocolError,
    Rejected,
    Unauthorized,
    Unreachable,
)
from pantograph.providers.proxmox.adapter import ProxmoxerApi
from pantograph.providers.proxmox.port import Upid
from pantograph.providers.proxmox.settings import (
    ApiToken,
    ConnectionSettings,
    Credentials,
    Limits,
    Timeouts,
    Tls,
    UserPassword,
)
from tests.fakes.certificates import Certificate, self_signed
from tests.unit.providers.pveproxy import Answer, Asked, Cut, Node, Script, serving

UPID = "UPID:pve1:00005C4B:0002AF18:6B033306:qmcreate:120:op@pve!tok:"
TOKEN = ApiToken("op@pve!tok", "5ec2e7-token")


class Wire:
    """Two nodes, and adapters to them that are closed with the test."""

    def __init__(self, first: Node, second: Node) -> None:
        self.first = first
        self.second = second
        self.told: list[tuple[str, str, str]] = []
        self._apis: list[ProxmoxerApi] = []
        self.circuits: list[bool] = []
        """Whether one opened (True) or closed, each time."""

    def api(
        self,
        *urls: str,
        tls: Tls | None = None,
        credentials: Credentials = TOKEN,
        read_s: float = 10,
        operation_s: float = 20,
        threshold: int = 50,
    ) -> ProxmoxerApi:
        settings = ConnectionSettings(
            endpoints=urls or (self.first.url,),
            credentials=credentials,
            tls=tls or Tls(insecure_skip_verify=True),
            timeouts=Timeouts(connect_s=2, read_s=read_s, operation_s=operation_s),
            limits=Limits(per_second=1000, breaker_threshold=threshold),
        )

        def on_call(verb: str, template: str, code: str, seconds: float) -> None:
            assert seconds >= 0
            self.told.append((verb, template, code))

        self._apis.append(ProxmoxerApi(settings, SystemClock(), on_call=on_call, on_circuit=self.circuits.append))
        return self._apis[-1]

    async def close(self) -> None:
        for api in self._apis:
            await api.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Certificate, Certificate]:
    folder: Path = tmp_path_factory.mktemp("certificates")
    return self_signed(folder, name="pve1"), self_signed(folder, name="pve2")


@pytest.fixture
def nodes(certificates: tuple[Certificate, Certificate]) -> Iterator[tuple[Node, Node]]:
    with ExitStack() as stack:
        first, second = (stack.enter_context(serving(Node(certificate))) for certificate in certificates)
        yield first, second


@pytest_asyncio.fixture
async def wire(nodes: tuple[Node, Node]) -> AsyncIterator[Wire]:
    wire = Wire(*nodes)
    yield wire
    await wire.close()


def always(answer: Answer | Cut) -> Script:
    return lambda asked: answer


VERSION = Answer({"version": "8.4.21", "release": "8.4", "repoid": "x"})


def closed_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"https://127.0.0.1:{one.getsockname()[1]}"


# -- what is sent ---------------------------------------------------------------


async def test_a_token_goes_in_the_header_and_the_metrics_hear_the_template(wire: Wire) -> None:
    wire.first.script = always(Answer({"digest": "abc", "cores": 2, "template": 1, "memory": "128"}))
    config = await wire.api().vm_config("pve1", 120)
    assert wire.first.asked[0].headers["Authorization"] == "PVEAPIToken=op@pve!tok=5ec2e7-token"
    assert wire.first.paths() == ["GET /api2/json/nodes/pve1/qemu/120/config"]
    assert wire.told == [("GET", "/nodes/{node}/qemu/{vmid}/config", "200")]
    assert (config.is_template, config.values["cores"], config.digest) == (True, "2", "abc")


async def test_values_with_equals_signs_and_semicolons_arrive_whole(wire: Wire) -> None:
    wire.first.script = always(Answer(UPID))
    config = {"boot": "order=scsi0", "tags": "a;b", "scsi0": "local:0,import-from=local:import/t.qcow2", "name": "ä b"}
    assert await wire.api().create_vm("pve1", 120, config) == UPID
    body = wire.first.asked[0].body
    assert "boot=order%3Dscsi0" in body
    assert "tags=a%3Bb" in body
    assert dict(parse_qsl(body)) == {**config, "vmid": "120"}


async def test_a_deletion_has_its_parameters_in_the_query_and_no_body(wire: Wire) -> None:
    wire.first.script = always(Answer(UPID))
    await wire.api().destroy_vm("pve1", 120)
    asked = wire.first.asked[0]
    assert asked.path == "/api2/json/nodes/pve1/qemu/120?purge=1&destroy-unreferenced-disks=0"
    assert asked.body == ""
    assert "Content-Length" not in asked.headers or asked.headers["Content-Length"] == "0"


async def test_a_volume_and_a_task_keep_their_colons_and_slashes_in_one_part_of_the_path(wire: Wire) -> None:
    wire.first.script = always(Answer(UPID))
    await wire.api().delete_volume("pve1", "local", "local:import/pantograph-0.qcow2")
    wire.first.script = always(Answer(None))
    await wire.api().stop_task(Upid(UPID))
    assert wire.first.paths() == [
        "DELETE /api2/json/nodes/pve1/storage/local/content/local%3Aimport%2Fpantograph-0.qcow2",
        "DELETE /api2/json/nodes/pve1/tasks/UPID%3Apve1%3A00005C4B%3A0002AF18%3A6B033306%3Aqmcreate%3A120"
        "%3Aop%40pve%21tok%3A",
    ]


async def test_a_download_says_algorithm_and_digest_apart(wire: Wire) -> None:
    wire.first.script = always(Answer(UPID))
    url = "https://depot.example/i?x=1&sig=ab=="
    await wire.api().download_url("pve1", "local", url=url, filename="pantograph-0.qcow2", checksum="sha256:00ff")
    assert dict(parse_qsl(wire.first.asked[0].body)) == {
        "content": "import",
        "filename": "pantograph-0.qcow2",
        "url": url,
        "checksum": "00ff",
        "checksum-algorithm": "sha256",
    }


async def test_a_configuration_is_changed_under_its_digest(wire: Wire) -> None:
    wire.first.script = always(Answer(None))
    await wire.api().set_config("pve1", 120, {"tags": "a"}, delete=["description", "onboot"], digest="abc")
    assert wire.first.asked[0].verb == "PUT"
    assert dict(parse_qsl(wire.first.asked[0].body)) == {
        "tags": "a",
        "delete": "description,onboot",
        "digest": "abc",
    }


async def test_the_tail_of_a_log_is_asked_for_by_its_length(wire: Wire) -> None:
    lines = [f"line {n}" for n in range(120)]

    def log(asked: Asked) -> Answer:
        query = dict(parse_qsl(asked.path.partition("?")[2]))
        start, limit = int(query["start"]), int(query["limit"])
        return Answer([{"n": n + 1, "t": lines[n]} for n in range(120)][start : start + limit], total=120)

    wire.first.script = log
    assert await wire.api().task_log(Upid(UPID), tail=50) == lines[70:]


@pytest.mark.parametrize(
    "data", [[{"n": 1, "t": "no content"}], {"n": 1, "t": "unable to open file - No such file or directory"}]
)
async def test_a_log_without_a_line_of_its_own_is_empty(wire: Wire, data: object) -> None:
    wire.first.script = always(Answer(data, total=1))
    assert await wire.api().task_log(Upid(UPID)) == []


# -- what comes back --------------------------------------------------------------


async def test_a_cluster_is_read_from_its_status_and_its_nodes(wire: Wire) -> None:
    status = [
        {"type": "cluster", "id": "cluster", "name": "prod", "nodes": 2, "quorate": 1, "version": 1},
        {"type": "node", "name": "pve2", "nodeid": 2, "ip": "10.0.0.12", "online": 0, "local": 0},
        {"type": "node", "name": "pve1", "nodeid": 1, "ip": "10.0.0.11", "online": 1, "local": 1},
    ]
    nodes = [{"node": "pve1", "status": "online", "ssl_fingerprint": "AA:BB"}]
    wire.first.script = lambda asked: Answer(status if asked.path.endswith("status") else nodes)
    seen = await wire.api().cluster_status()
    assert (seen.name, seen.quorate) == ("prod", True)
    assert [(one.name, one.online, one.fingerprint) for one in seen.nodes] == [
        ("pve1", True, "AA:BB"),
        ("pve2", False, None),
    ]


async def test_a_node_that_was_never_clustered_counts_as_quorate(wire: Wire) -> None:
    rows = [{"type": "node", "node": "pve", "name": "pve", "ip": "10.0.0.11", "online": 1, "local": 1}]
    wire.first.script = always(Answer(rows))
    seen = await wire.api().cluster_status()
    assert (seen.name, seen.quorate) == (None, True)


async def test_a_row_that_does_not_say_template_is_not_taken_for_none(wire: Wire) -> None:
    rows = [
        {"type": "qemu", "id": "qemu/500", "vmid": 500, "node": "pve1", "status": "unknown", "tags": "x;y"},
        {
            "type": "qemu",
            "id": "qemu/501",
            "vmid": 501,
            "node": "pve1",
            "status": "stopped",
            "name": "t",
            "template": 1,
        },
    ]
    wire.first.script = always(Answer(rows))
    unknown, template = await wire.api().guests()
    assert (unknown.template, unknown.name, unknown.tags) == (None, None, ("x", "y"))
    assert template.template is True


async def test_a_task_row_takes_its_user_from_the_upid(wire: Wire) -> None:
    rows = [
        {"upid": UPID, "node": "pve1", "user": "op@pve", "starttime": 1, "endtime": 2, "status": "OK"},
        {"upid": UPID.replace("6B033306", "6B033307"), "node": "pve1", "status": "RUNNING", "saved": "0"},
    ]
    wire.first.script = always(Answer(rows, total=2))
    running, done = await wire.api().tasks("pve1", type="qmcreate", since=5)
    assert (done.user, done.running, done.exitstatus) == ("op@pve!tok", False, "OK")
    assert (running.running, running.exitstatus) == (True, None)
    assert "source=all" in wire.first.asked[0].path
    assert "typefilter=qmcreate&since=5" in wire.first.asked[0].path


async def test_an_answer_in_another_form_is_named_as_such(wire: Wire) -> None:
    wire.first.script = always(Answer({"nonsense": 1}))
    with pytest.raises(ProtocolError, match="not its own"):
        await wire.api().version()
    wire.first.script = always(Answer(body=b"<html>welcome</html>"))
    with pytest.raises(ProtocolError, match="is it Proxmox VE"):
        await wire.api().version()


async def test_a_change_that_was_answered_with_nonsense_may_have_happened(wire: Wire) -> None:
    wire.first.script = always(Answer(body=b"<html>welcome</html>"))
    with pytest.raises(OutcomeUnknown):
        await wire.api().create_vm("pve1", 120, {})
    wire.first.script = always(Answer("OK"))
    with pytest.raises(OutcomeUnknown, match="where a task's UPID was expected"):
        await wire.api().create_vm("pve1", 120, {})


async def test_a_redirect_is_not_followed_with_our_credentials(wire: Wire) -> None:
    wire.second.script = always(VERSION)
    moved = Answer(status=301, reason="Moved Permanently", location=f"{wire.second.url}/api2/json/version")
    wire.first.script = always(moved)
    with pytest.raises(ProtocolError, match="redirects"):
        await wire.api().version()
    assert wire.second.asked == []


async def test_a_refusal_is_told_by_the_reason_phrase_when_there_is_no_body(wire: Wire) -> None:
    text = "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist"
    wire.first.script = always(Answer(status=500, reason=text, body=b""))
    with pytest.raises(NotFound, match="moved to another node"):
        await wire.api().vm_config("pve1", 999)
    assert wire.told == [("GET", "/nodes/{node}/qemu/{vmid}/config", "500")]


async def test_a_refusal_is_told_by_the_body_where_the_phrase_is_lost(wire: Wire) -> None:
    body = b'{"data":null,"message":"VM is locked (backup)\\n"}'
    wire.first.script = always(Answer(status=500, reason="Internal Server Error", body=body))
    with pytest.raises(Busy) as caught:
        await wire.api().convert_to_template("pve1", 120)
    assert caught.value.reason == "Locked"


async def test_parameter_errors_come_from_the_body(wire: Wire) -> None:
    body = b'{"data":null,"message":"Parameter verification failed.\\n","errors":{"name":"not a DNS name\\n"}}'
    wire.first.script = always(Answer(status=400, reason="Parameter verification failed.", body=body))
    with pytest.raises(Rejected, match="name: not a DNS name"):
        await wire.api().create_vm("pve1", 120, {"name": "-"})


# -- whom we trust -------------------------------------------------------------------


async def test_the_pinned_certificate_is_trusted_and_another_sees_no_credentials(wire: Wire) -> None:
    wire.first.script = wire.second.script = always(VERSION)
    pin = Tls(fingerprint=wire.first.certificate.fingerprint)
    assert await wire.api(tls=pin).version() == "8.4.21"
    with pytest.raises(Unreachable, match="another fingerprint") as caught:
        await wire.api(wire.second.url, tls=pin).version()
    assert caught.value.reason == "CertificateRefused"
    assert caught.value.remedy is not None
    assert f"openssl s_client -connect 127.0.0.1:{wire.second.port}" in caught.value.remedy
    assert wire.second.asked == []


async def test_a_pin_without_colons_in_small_letters_is_the_same_pin(wire: Wire) -> None:
    wire.first.script = always(VERSION)
    pin = wire.first.certificate.fingerprint.replace(":", "").lower()
    assert await wire.api(tls=Tls(fingerprint=pin)).version() == "8.4.21"


async def test_a_ca_vouches_for_its_own_nodes_only(wire: Wire) -> None:
    wire.first.script = wire.second.script = always(VERSION)
    trust = Tls(ca_pem=wire.first.certificate.pem)
    assert await wire.api(tls=trust).version() == "8.4.21"
    with pytest.raises(Unreachable, match="not trusted"):
        await wire.api(wire.second.url, tls=trust).version()
    assert wire.second.asked == []


async def test_without_anything_a_self_signed_certificate_is_refused(wire: Wire) -> None:
    with pytest.raises(Unreachable) as caught:
        await wire.api(tls=Tls()).create_vm("pve1", 120, {})
    assert caught.value.reason == "CertificateRefused"


async def test_a_password_is_not_sent_to_a_node_with_another_certificate(wire: Wire) -> None:
    login = UserPassword("op@pve", "hunter2")
    pin = Tls(fingerprint=wire.first.certificate.fingerprint)
    with pytest.raises(Unreachable):
        await wire.api(wire.second.url, tls=pin, credentials=login).version()
    assert wire.second.asked == []


def test_credentials_are_not_sent_unencrypted(wire: Wire) -> None:
    with pytest.raises(ValueError, match="would send the credentials unencrypted: give https://"):
        wire.api("http://pve1.example:8006")


def test_a_ca_that_is_none_says_where_to_find_one(wire: Wire) -> None:
    with pytest.raises(Rejected, match="no PEM certificate") as caught:
        wire.api(tls=Tls(ca_pem="hello"))
    assert "/etc/pve/pve-root-ca.pem" in str(caught.value.remedy)


# -- user and password -----------------------------------------------------------------


def ticketing(node: Node, *, refuse: Callable[[Asked], bool] = lambda asked: False) -> Script:
    def script(asked: Asked) -> Answer:
        if asked.path.endswith("/access/ticket"):
            if "hunter2" not in asked.body:
                return Answer(status=401, reason="authentication failure", body=b"")
            return Answer({"ticket": f"PVE:op@pve:{len(node.asked)}", "CSRFPreventionToken": "csrf"})
        if refuse(asked):
            return Answer(status=401, reason="No ticket", body=b"")
        return VERSION if asked.verb == "GET" else Answer(UPID)

    return script


async def test_one_login_serves_reads_and_changes(wire: Wire) -> None:
    wire.first.script = ticketing(wire.first)
    api = wire.api(credentials=UserPassword("op@pve", "hunter2"))
    await api.version()
    await api.create_vm("pve1", 120, {})
    login, read, change = wire.first.asked
    assert "Cookie" not in login.headers
    assert read.headers["Cookie"] == change.headers["Cookie"] == "PVEAuthCookie=PVE:op@pve:1"
    assert "CSRFPreventionToken" not in read.headers
    assert change.headers["CSRFPreventionToken"] == "csrf"


async def test_a_refused_password_is_not_tried_again(wire: Wire) -> None:
    wire.first.script = ticketing(wire.first)
    api = wire.api(credentials=UserPassword("op@pve", "wrong"))
    for _ in range(3):
        with pytest.raises(Unauthorized, match="op@pve"):
            await api.version()
    assert len(wire.first.asked) == 1


async def test_a_ticket_that_is_refused_is_replaced_at_the_next_call(wire: Wire) -> None:
    refused = ["PVEAuthCookie=PVE:op@pve:1"]
    wire.first.script = ticketing(wire.first, refuse=lambda asked: asked.headers.get("Cookie") in refused)
    api = wire.api(credentials=UserPassword("op@pve", "hunter2"))
    with pytest.raises(Unauthorized):
        await api.version()
    assert await api.version() == "8.4.21"


# -- failures on the way -------------------------------------------------------------------


async def test_an_endpoint_that_failed_is_passed_over_and_not_asked_first_again(wire: Wire) -> None:
    wire.first.script, wire.second.script = always(Cut()), always(VERSION)
    api = wire.api(wire.first.url, wire.second.url)
    for _ in range(3):
        assert await api.version() == "8.4.21"
    assert (len(wire.first.asked), len(wire.second.asked)) == (2, 3)


async def test_a_change_goes_to_the_next_endpoint_only_if_nothing_was_sent(wire: Wire) -> None:
    wire.second.script = always(Answer(UPID))
    assert await wire.api(closed_port(), wire.second.url).create_vm("pve1", 120, {}) == UPID
    wire.first.script = always(Cut())
    with pytest.raises(OutcomeUnknown, match="may have happened"):
        await wire.api(wire.first.url, wire.second.url).create_vm("pve1", 121, {})
    assert len(wire.first.asked) == 1
    assert len(wire.second.asked) == 1


async def test_a_destroy_never_goes_to_an_endpoint_whose_quorum_nobody_saw(wire: Wire) -> None:
    wire.second.script = always(Answer(UPID))
    with pytest.raises(Unreachable, match="Connection refused"):
        await wire.api(closed_port(), wire.second.url).destroy_vm("pve1", 120)
    assert wire.second.asked == []


async def test_a_read_whose_answer_was_lost_is_asked_again_and_elsewhere(wire: Wire) -> None:
    wire.first.script, wire.second.script = always(Cut()), always(VERSION)
    assert await wire.api(wire.first.url, wire.second.url).version() == "8.4.21"
    assert (len(wire.first.asked), len(wire.second.asked)) == (2, 1)


async def test_when_nobody_answers_every_endpoint_is_named(wire: Wire) -> None:
    one, two = closed_port(), closed_port()
    with pytest.raises(Unreachable, match=f"{one}: Connection refused; {two}: Connection refused"):
        await wire.api(one, two).version()
    assert wire.told == [("GET", "/version", "unreachable")]


def holding(node: Node) -> Script:
    def script(asked: Asked) -> Answer | Cut:
        node.hold.wait(30)
        return Cut()

    return script


async def test_silence_leaves_a_change_open_and_a_read_undone(wire: Wire) -> None:
    wire.first.script = holding(wire.first)
    api = wire.api(read_s=0.2)
    with pytest.raises(OutcomeUnknown, match="no answer within the time-out"):
        await api.create_vm("pve1", 120, {})
    with pytest.raises(Unreachable):
        await api.version()
    assert [code for _, _, code in wire.told] == ["lost", "unreachable"]


async def test_a_call_as_a_whole_has_an_end(wire: Wire) -> None:
    wire.first.script = holding(wire.first)
    api = wire.api(operation_s=0.2)
    with pytest.raises(OutcomeUnknown, match=r"no result within 0\.2 s"):
        await api.create_vm("pve1", 120, {})
    assert wire.told == [("POST", "/nodes/{node}/qemu", "timeout")]


async def test_a_dead_node_behind_a_living_endpoint_opens_no_circuit(wire: Wire) -> None:
    wire.first.script = always(Answer(status=595, reason="Connection refused", body=b""))
    api = wire.api(threshold=2)
    for _ in range(5):
        with pytest.raises(Unreachable) as caught:
            await api.vm_config("pve3", 120)
        assert caught.value.reason == "NodeUnreachable"


async def test_a_cluster_that_does_not_answer_opens_the_circuit(wire: Wire) -> None:
    api = wire.api(closed_port(), threshold=2)
    for _ in range(2):
        with pytest.raises(Unreachable, match="Connection refused"):
            await api.version()
    with pytest.raises(Unreachable, match="asked once in"):
        await api.version()


async def test_a_circuit_that_nobody_uses_any_more_is_not_open(wire: Wire) -> None:
    api = wire.api(closed_port(), threshold=2)
    for _ in range(2):
        with pytest.raises(Unreachable):
            await api.version()
    assert wire.circuits == [True]
    await api.close()
    for _ in range(2):
        with pytest.raises(Unreachable):
            await api.version()
    assert wire.circuits == [True, False]


async def test_changes_go_over_connections_of_their_own(wire: Wire) -> None:
    wire.first.script = lambda asked: VERSION if asked.verb == "GET" else Answer(UPID)
    api = wire.api()
    for _ in range(3):
        await api.version()
    assert wire.first.connections == 1
    for _ in range(2):
        await api.create_vm("pve1", 120, {})
    assert wire.first.connections == 3
    assert wire.first.asked[-1].headers["Connection"] == "close"


async def test_a_closed_adapter_answers_with_an_error(wire: Wire) -> None:
    api = wire.api()
    await api.close()
    with pytest.raises(Unreachable, match="closed"):
        await api.version()


# -- secrets -----------------------------------------------------------------------------------


async def test_no_secret_reaches_a_log_or_an_error(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = ("hunter2", "5ec2e7-token", "s1gnature")
    errors: list[str] = []
    wire.first.script = lambda asked: Answer(UPID) if asked.verb != "GET" else Answer({"size": 1})
    for urls in ((wire.first.url,), (closed_port(),)):
        api = wire.api(*urls)
        for call in (
            api.create_vm("pve1", 120, {"cipassword": "hunter2"}),
            api.query_url_metadata("pve1", "https://depot.example/i?sig=s1gnature"),
        ):
            try:
                await call
            except Unreachable as error:
                errors.append("".join(traceback.format_exception(error)))
    assert len(errors) == 2
    assert [secret for secret in secrets if secret in caplog.text + "".join(errors)] == []
