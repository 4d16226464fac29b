"""What a client makes of every way in which a call can fail, and what it never sends twice."""

import base64
import pickle
import shutil
import socket
import ssl
import subprocess
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lib_ctrlgen.client import (
    AnswerTimeoutError,
    ConnectionLostError,
    LoginError,
    NotAWebUIError,
    NotInstalledError,
    RefusedError,
    ServerError,
    Timeouts,
    UnreachableError,
    WebUI,
    WebUIError,
)
from lib_ctrlgen.client.connection import Address, Connection
from lib_ctrlgen.errors import RequestError
from tests.support.scripted_server import (
    Act,
    answers,
    hangs_up_at_once,
    hangs_up_before_the_answer,
    hangs_up_in_the_answer,
    hangs_up_in_the_body,
    never_answers,
    scripted,
)

PATH = "/ctrlgen/v1/plan"
BODY = {"image": "A" * (1 << 22)}  # more than the sockets' buffers hold
OK = answers({"fine": True})


def quick(url: str, pauses: list[float] | None = None, **options: Any) -> Connection:
    waited = [] if pauses is None else pauses
    return replace(Connection.to(url, **options), pause=waited.append)


@pytest.mark.parametrize(
    "act", [hangs_up_at_once, hangs_up_in_the_body, hangs_up_before_the_answer, hangs_up_in_the_answer]
)
def test_what_may_have_been_received_is_not_sent_again(act: Act) -> None:
    with scripted(act, OK) as (url, server):
        with pytest.raises(ConnectionLostError, match="may have been carried out"):
            quick(url).json("POST", PATH, BODY)
        assert server.connections == 1


def test_an_answer_that_does_not_come_in_time_is_not_asked_for_again() -> None:
    with scripted(never_answers, OK) as (url, server):
        with pytest.raises(AnswerTimeoutError, match="may still be carried out"):
            quick(url, timeout=0.1).json("POST", PATH, {"steps": 1})
        assert server.connections == len(server.received) == 1


def test_a_server_that_begins_to_listen_later_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with ExitStack() as stack:
        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 2:
                stack.enter_context(scripted(OK, port=port))

        connection = replace(Connection.to(f"127.0.0.1:{port}"), pause=pause)
        assert connection.json("POST", PATH, {}) == {"fine": True}
    assert pauses == [0.5, 2.0]
    with pytest.raises(UnreachableError, match="no connection"):
        quick(f"127.0.0.1:{port}").json("POST", PATH, {})


@pytest.mark.parametrize(("status", "headers", "pause"), [(503, {}, 0.5), (429, {"Retry_After": "7"}, 7.0)])
def test_a_busy_server_is_asked_again_after_a_while(status: int, headers: Any, pause: float) -> None:
    pauses: list[float] = []
    with scripted(answers({}, status, **headers), OK) as (url, server):
        assert quick(url, pauses).json("POST", PATH, {"steps": 1}) == {"fine": True}
        assert [each.json for each in server.received] == [{"steps": 1}] * 2
    assert pauses == [pause]


def test_a_server_that_stays_busy_or_wants_too_long_a_pause_is_an_error() -> None:
    with scripted(answers({"detail": "overloaded"}, 503)) as (url, server):
        with pytest.raises(ServerError, match="503: overloaded") as caught:
            quick(url).json("GET", PATH)
        assert (caught.value.http_status, server.connections) == (503, 3)
    with scripted(answers({}, 429, Retry_After="3600"), OK) as (url, server):
        with pytest.raises(ServerError):
            quick(url).json("GET", PATH)
        assert server.connections == 1


WEBUIS = {"error": "HTTPException", "detail": "", "body": "", "errors": "CUDA out of memory"}
STATE = {"progress": 0, "state": {}}


@pytest.mark.parametrize(
    ("act", "kind", "words"),
    [
        (answers({"detail": "Incorrect username or password"}, 401), LoginError, "--api-auth"),
        (answers(WEBUIS, 500), ServerError, "500: CUDA out of memory"),
        (answers(b"<h1>Bad gateway</h1>", 502, "text/html"), ServerError, "502: Said"),
        (answers(b"<!doctype html><p>log in", kind="text/html"), NotAWebUIError, "text/html instead of JSON"),
        (answers({}, 308, Location="https://other/"), NotAWebUIError, "sends to https://other/"),
        (answers(b"none", 404, "text/plain"), NotAWebUIError, "--api"),
        (answers({"detail": "always on script CtrlGen not found"}, 422), NotInstalledError, "no CtrlGen"),
    ],
)
def test_answers_that_are_none(act: Act, kind: type[WebUIError], words: str) -> None:
    with scripted(act) as (url, _), pytest.raises(kind, match=words) as caught:
        quick(url).json("POST", PATH, {})
    assert caught.value.url == url


def test_a_route_that_is_missing_beside_the_webuis_own_is_ctrlgen_missing() -> None:
    with scripted(answers({"detail": "Not Found"}, 404), answers(STATE)) as (url, server):
        with pytest.raises(NotInstalledError, match="install it"):
            quick(url).json("GET", PATH)
        assert server.received[1].path == "/sdapi/v1/progress?skip_current_image=true"


@pytest.mark.parametrize(
    ("detail", "status", "path", "words"),
    [
        ({"path": "$.units[0].model", "message": "no model"}, 422, "$.units[0].model", "no model"),
        ([{"loc": ["body", "init_images", 2], "msg": "not a text"}], 422, "$.init_images[2]", "not a text"),
        ("Sampler not found", 400, "", "Sampler not found"),
        ("the job chair is running", 409, "", "the job chair is running"),
        ("no job named 'chair'", 404, "", "no job named 'chair'"),
    ],
)
def test_a_refusal_says_where_and_why(detail: Any, status: int, path: str, words: str) -> None:
    with scripted(answers({"detail": detail}, status)) as (url, _), pytest.raises(RefusedError) as caught:
        quick(url).json("POST", PATH, {})
    assert (caught.value.path, caught.value.message, caught.value.http_status) == (path, words, status)


def test_a_login_is_sent_and_never_shown() -> None:
    with scripted(OK) as (url, server):
        sent = quick(url.replace("//", "//m%C3%A9:pass%40word@"))
        sent.json("GET", PATH)
        quick(url, auth=("other", "s3cret")).json("GET", PATH)
        sent.again().json("GET", PATH)
    logins = [base64.b64decode(each.headers["authorization"][6:]).decode() for each in server.received]
    assert logins == ["mé:pass@word", "other:s3cret", "mé:pass@word"]
    assert "pass" not in repr((sent, WebUI(url, auth=("other", "s3cret")).connection, sent.address))


def test_addresses_have_paths_ports_and_schemes() -> None:
    assert Address.of("host:7860").url == "http://host:7860"
    assert Address.of("https://example.org/webui/").url == "https://example.org/webui"
    assert Address.of("http://[::1]:7860").loopback
    assert not Address.of("http://localhost.example.org").loopback
    with scripted(OK) as (url, server):
        quick(url + "/sub/path/").json("GET", PATH)
        assert server.received[0].path == "/sub/path" + PATH
    for wrong in ("ftp://host", "http://", "host:s3c/ret@host", "http://host/?a=1"):
        with pytest.raises(RequestError, match=r"127\.0\.0\.1:7860") as caught:
            Address.of(wrong)
        assert "s3c" not in str(caught.value)


def test_proxies_of_the_environment_are_used_for_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with scripted(OK) as (proxy, server), scripted(OK) as (url, own):
        monkeypatch.setenv("http_proxy", proxy)
        quick("http://webui.example.org").json("GET", PATH)
        assert server.received[0].path == "http://webui.example.org" + PATH
        quick(url).json("GET", PATH)
        assert (len(server.received), len(own.received)) == (1, 1)


def test_tls_with_a_certificate_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openssl = shutil.which("openssl") or pytest.skip("openssl makes this test's certificate")
    made = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "certificate.pem")]
    subprocess.run([openssl, *made.split(), *files], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    with scripted(OK, tls=tls) as (url, server):
        with pytest.raises(UnreachableError, match="certificate"):
            quick(url).json("POST", PATH, {})
        assert server.received == []
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "certificate.pem"))
        assert quick(url + "/behind").json("POST", PATH, {}) == {"fine": True}
        assert server.received[0].path == "/behind" + PATH


@pytest.mark.parametrize(
    "error", [LoginError("http://a", "no"), ServerError("http://a", 503, "busy"), RefusedError("$.x", "no")]
)
def test_errors_travel_between_processes(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_one_number_is_all_timeouts_and_json_is_checked_before_it_is_sent() -> None:
    assert Timeouts.of(3) == Timeouts(connect=3, answer=3, generation=3)
    with scripted(OK) as (url, server):
        with pytest.raises(RequestError, match="JSON"):
            quick(url).json("POST", PATH, {"weight": float("nan")})
        assert server.connections == 0
