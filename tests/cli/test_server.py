"""`--server` of run, tune and story: jobs on a server for a team, with fast fake engines."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from lib_ctrlgen.cli import main as cli
from lib_ctrlgen.serve.limits import Limits
from lib_ctrlgen.serve.local_worker import LocalWorker
from lib_ctrlgen.serve.service import Service
from tests.support.command_line import Captured, fails, visible
from tests.support.serve_fakes import BUILD
from tests.support.serve_jobs import png, story_of, wait_for

pytest.importorskip("fastapi", minversion="0.115", reason="test of the server: install the extra `serve`")
from tests.support.serve_http import served
from tests.support.serve_team import Team

JOB = {"prompt": "a star", "width": 64, "height": 64, "steps": 2, "seed": 5}


@pytest.fixture
def team(tmp_path: Path) -> Iterator[tuple[Team, str]]:
    options = {"log": str(tmp_path / "log.txt")}
    service = Service(tmp_path / "data", [LocalWorker("worker", options, BUILD)], Limits())
    service.start()
    team = Team(service, tmp_path)
    with served(team.http.app) as url:
        yield team, url
    service.stop(0)


@pytest.fixture
def command(team: tuple[Team, str], tmp_path: Path) -> Callable[..., list[str]]:
    """The arguments of a command for a file with some content."""
    token = tmp_path / "token"
    token.write_text(f"{team[0].tokens['anna']}\n")
    token.chmod(0o600)

    def arguments(name: str, content: dict[str, Any], *more: str) -> list[str]:
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(content), "utf-8")
        where = ["--out", str(tmp_path / "out"), "--server", team[1], "--token-file", str(token)]
        return [name, str(file), *where, *more]

    return arguments


def test_a_story_is_made_there_and_its_sheets_are_here(
    team: tuple[Team, str], command: Callable[..., list[str]], tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "board").mkdir()
    (tmp_path / "board" / "a.png").write_bytes(png(side=32))
    style = {"name": "Dusk", "board": "board", "model": "ctrlgen-tiny-ip"}
    assert cli.main(command("story", story_of(styles=[style]))) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out' / 'index.html'}\n"
    assert visible(tmp_path / "out") == ["assets", "index.html", "job.json"]
    asset = tmp_path / "out" / "assets" / "mia--dusk--hill"
    assert visible(asset) == ["pictures", "recipe.yaml", "result.png"]
    (job,) = team[0].service.store.listed()
    assert (job.user, job.kind) == ("anna", "story")
    assert job.settings["styles"][0]["pictures"][0]["picture"].startswith("sha256:")
    assert not [path for path in (tmp_path / "out").iterdir() if "ctrlgen" in path.name]


def test_pictures_get_the_next_numbers_and_set_is_sent(
    team: tuple[Team, str], command: Callable[..., list[str]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "00003-1.png").write_bytes(png())
    (tmp_path / "star.png").write_bytes(png())
    unit = {"model": "ctrlgen-tiny-edges", "image": "star.png"}
    assert cli.main(command("run", {**JOB, "units": [unit]}, "--set", "seed=9")) == 0
    assert visible(out) == ["00000.png", "00003-1.png", "00004-job.json", "00004-map-0-edges.png"]
    assert Image.open(out / "00000.png").getpixel((0, 0)) == (9, 0, 0)
    assert json.loads((out / "00004-job.json").read_text())["units"][0]["image"].startswith("sha256:")
    assert cli.main(command("tune", {**JOB, "tune": {"x": {"path": "steps", "values": "2, 3"}}})) == 0
    assert team[0].service.store.listed()[0].settings["tune"]["x"]["values"] == "2, 3"


@contextmanager
def interrupted(*_: Any) -> Iterator[Callable[[int, int], None]]:
    """In the place of the progress bar: Ctrl-C when the job runs."""

    def show(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    yield show


def test_ctrl_c_cancels_the_job_or_leaves_it_and_the_same_command_goes_on(
    team: tuple[Team, str],
    command: Callable[..., list[str]],
    tmp_path: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = team[0].service
    slow = {**JOB, "prompt": "slow"}
    with monkeypatch.context() as patch:
        patch.setattr("lib_ctrlgen.cli.server.bar", interrupted)
        assert cli.main(command("run", slow)) == 130
        assert "is cancelled" in capsys.readouterr().err
        (first,) = service.store.listed()
        wait_for(lambda: service.store.require(first.id).state == "cancelled")
        assert cli.main(command("run", slow, "--detach")) == 130
        assert "the same command fetches its files" in capsys.readouterr().err
        assert cli.main(command("run", slow)) == 130  # the same job again, now cancelled
    second, _ = service.store.listed()
    assert len(service.store.listed()) == 2
    wait_for(lambda: service.store.require(second.id).state == "cancelled")
    assert "goes on with the job that was sent before" in capsys.readouterr().err
    assert visible(tmp_path / "out") == []
    assert cli.main(command("run", JOB)) == 0
    assert len(service.store.listed()) == 3


@pytest.mark.parametrize(
    ("content", "more", "words"),
    [
        ({**JOB, "prompt": "fail"}, [], "$.prompt: the engine does not want to"),
        ({**JOB, "model": "nothing"}, [], "$.model: no model named 'nothing'"),
        (JOB, ["--threads", "2"], "--threads has no meaning with --server"),
        (JOB, ["--token-file", "/etc/hostname"], "/etc/hostname is open to other users"),
        (JOB, ["--server", "http://127.0.0.1:1"], "no connection"),
    ],
)
def test_what_goes_wrong_is_one_line(
    content: dict[str, Any],
    more: list[str],
    words: str,
    command: Callable[..., list[str]],
    tmp_path: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lib_ctrlgen.client.connection.PAUSES", ())
    assert words in fails(command("run", content, *more), capsys)


def test_a_token_is_needed_and_never_an_argument(job: Path, capsys: Captured, monkeypatch: Any) -> None:
    monkeypatch.delenv("CTRLGEN_TOKEN", raising=False)
    assert "set CTRLGEN_TOKEN" in fails(["run", str(job), "--server", "http://127.0.0.1:1"], capsys)
    monkeypatch.setenv("CTRLGEN_TOKEN", "two words")
    assert "one token" in fails(["run", str(job), "--server", "http://127.0.0.1:1"], capsys)
    assert "go with --server" in fails(["run", str(job), "--detach"], capsys)
