"""The client of a server for a team: what a lost connection, a wrong token and another server lead to."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lib_ctrlgen.client import (
    LoginError,
    NotAServerError,
    RefusedError,
    Server,
    ServerError,
    UnreachableError,
)
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.request.server_answers import KEY_HEADER
from tests.support.scripted_server import (
    Act,
    answers,
    hangs_up_before_the_answer,
    hangs_up_in_the_answer,
    in_turn,
    routed,
    scripted,
)

JOB: dict[str, Any] = {
    "id": "a1", "user": "anna", "kind": "run", "state": "done", "stopping": False, "title": "", "done": 0,
    "total": 0, "created": 1.0, "started": 1.0, "ended": 2.0, "attempts": 1, "error": None, "pictures": 1,
    "settings": {}, "files": ["00000-5.png"],
}  # fmt: skip
BUSY = answers({"detail": {"path": "", "message": "starts"}}, 503)


def quick(url: str, token: str = "secret") -> Server:
    server = Server(url, token)
    server.connection = replace(server.connection, pause=lambda _seconds: None)
    return server


def test_a_job_whose_answer_is_lost_is_sent_again_with_its_key() -> None:
    act = in_turn(hangs_up_before_the_answer, hangs_up_in_the_answer, BUSY, answers(JOB, 201))
    with scripted(act) as (url, server):
        job = quick(url).run({"prompt": "a", "units": [{"image": Path(__file__)}]})
    assert job.id == "a1"
    assert len({each.headers[KEY_HEADER.lower()] for each in server.received}) == 1
    assert {each.headers["authorization"] for each in server.received} == {"Bearer secret"}
    assert len(server.received) == 4
    assert server.received[-1].json["units"][0]["image"].startswith("data:")


@pytest.mark.parametrize(
    ("act", "error", "words", "times"),
    [
        (answers({"detail": {"path": "$.steps", "message": "no"}}, 422), RefusedError, "$.steps: no", 1),
        (answers({"detail": {"path": "", "message": "no"}}, 401), LoginError, "not valid", 1),
        (answers({"detail": {"path": "", "message": "3 of your jobs"}}, 429), ServerError, "3 of your", 3),
        (answers({"detail": "Not Found"}, 404), NotAServerError, "answers 404", 1),
        (answers(b"<html>", kind="text/html"), NotAServerError, "else than JSON", 1),
        (answers({"detail": {"path": "", "message": "broken"}}, 500), ServerError, "500: broken", 1),
    ],
)
def test_what_would_be_the_same_again_is_told_at_once(
    act: Act, error: type[Exception], words: str, times: int
) -> None:
    with scripted(act) as (url, server):
        with pytest.raises(error, match=None) as caught:
            quick(url).run({"prompt": "a"})
        assert words in str(caught.value)
        assert len(server.received) == times
        assert "secret" not in str(caught.value)


def test_an_address_without_a_server_is_told_at_once_and_a_restart_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with scripted(answers(JOB)) as (url, _):
        pass  # nobody listens there now
    with pytest.raises(UnreachableError):
        quick(url).run({"prompt": "a"})
    steps = in_turn(hangs_up_before_the_answer, BUSY, answers({**JOB, "state": "running"}), answers(JOB))
    with scripted(steps) as (url, _):
        states: list[str] = []
        quick(url).job("a1").follow(lambda job: states.append(job.state))
        assert states == ["running", "done"]
    monkeypatch.setattr("lib_ctrlgen.client.server.PATIENCE", 0.0)
    with scripted(BUSY) as (url, _), pytest.raises(ServerError, match="starts"):
        quick(url).job("a1").follow()


def test_files_are_fetched_once_and_only_into_the_folder(tmp_path: Path) -> None:
    png = in_turn(hangs_up_in_the_answer, answers(b"a picture", kind="image/png"))
    with scripted(routed(a1=answers(JOB), **{"00000_5.png": png})) as (url, server):
        job = quick(url).job("a1")
        assert job.fetch(tmp_path) == job.fetch(tmp_path) == [tmp_path / "00000-5.png"]
    assert (tmp_path / "00000-5.png").read_bytes() == b"a picture"
    assert [each.path for each in server.received].count("/jobs/a1/files/00000-5.png") == 2
    with scripted(answers({**JOB, "files": ["../a"]})) as (url, _), pytest.raises(HostError, match="outside"):
        quick(url).job("a1").fetch(tmp_path)


def test_pictures_of_a_story_are_sent_with_it(tmp_path: Path) -> None:
    (tmp_path / "run.png").write_bytes(b"a picture")
    pose = {"name": "Run", "controls": [{"kind": "edges", "picture": tmp_path / "run.png"}]}
    with scripted(answers({**JOB, "kind": "story"}, 201)) as (url, server):
        quick(url).story({"model": "/models/big.safetensors", "poses": [pose]}, "my key")
    (received,) = server.received
    assert (received.path, received.headers[KEY_HEADER.lower()]) == ("/stories", "my key")
    assert received.json["model"] == "big"
    assert received.json["poses"][0]["controls"][0]["picture"].startswith("data:image/png;base64,")
    assert pose["controls"][0]["picture"] == tmp_path / "run.png"  # type: ignore[index]
