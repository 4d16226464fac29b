"""`ctrlgen send` posts a job to a WebUI and writes its pictures; `ctrlgen payload` prints what it posts."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from lib_ctrlgen.cli import main as cli
from tests.support.busy_webui import BusyWebUI
from tests.support.command_line import ROOT, Captured, fails, visible
from tests.support.scripted_server import answers, routed, scripted
from tests.support.webui_answers import generation

SCRIPTS = "alwayson_scripts"


@pytest.fixture(autouse=True)
def no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CTRLGEN_WEBUI_AUTH", raising=False)


def test_pictures_previews_and_infotexts_are_written(job: Path, tmp_path: Path, capsys: Captured) -> None:
    busy, out = BusyWebUI(questions=3), tmp_path / "out"
    with scripted(busy.act) as (url, server):
        arguments = ["send", str(job), "--webui", url, "--out", str(out), "--set", "seed=5", "--previews"]
        assert cli.main([*arguments, "--auth", "me:s3cret"]) == 0
    captured = capsys.readouterr()
    names = ["00000-0.png", "00000-map-0.png", "00000-result.json", "preview-00007.png"]
    assert [Path(line).name for line in captured.out.splitlines()] == names
    assert visible(out) == names
    assert "In queue: 1/2" in captured.err
    assert "s3cret" not in captured.out + captured.err
    assert server.received[0].headers["authorization"].startswith("Basic ")
    with Image.open(out / names[0]) as picture:
        assert picture.info["parameters"] == "a red wall\nSteps: 1, Seed: 0"
    assert json.loads((out / names[2]).read_text())["seeds"] == [0]
    (body,) = busy.bodies
    assert (body["seed"], body["width"], body["sampler_name"]) == (5, 64, "Euler")
    assert body["override_settings"] == {}
    units = body[SCRIPTS]["CtrlGen"]["args"][0]["units"]
    assert units[0]["image"].startswith("data:image/png;base64,")
    assert (units[0]["weight"], units[1]["guidance_end"]) == ("1@0, 0@1", 0.5)


def test_files_of_other_formats_become_pngs_with_their_infotext(job: Path, tmp_path: Path) -> None:
    act = routed(txt2img=answers(generation("red", kind="JPEG")))
    with scripted(act) as (url, _):
        assert cli.main(["send", str(job), "--webui", url, "--out", str(tmp_path / "out")]) == 0
    with Image.open(tmp_path / "out" / "00000-0.png") as picture:
        assert (picture.format, picture.info["parameters"][:10]) == ("PNG", "a red wall")


@pytest.mark.parametrize(
    ("status", "detail", "words"),
    [
        (422, {"path": "$.units[0].model", "message": "no model named 'x'"}, "$.units[0].model: no model"),
        (401, "Incorrect username or password", "needs a login"),
        (500, "out of memory", "500: out of memory"),
    ],
)
def test_an_error_is_one_line(
    job: Path, tmp_path: Path, capsys: Captured, status: int, detail: object, words: str
) -> None:
    with scripted(routed(txt2img=answers({"detail": detail}, status))) as (url, _):
        arguments = ["send", str(job), "--webui", url, "--out", str(tmp_path / "out")]
        assert cli.main(arguments) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--set", "units.0.wieght=1"], "$.units[0].wieght: unknown field"),
        (["--set", "model={folder}"], "$.model: a WebUI cannot load a diffusers folder"),
        (["--set", "tune={x: {path: steps, values: '1'}}"], "$.tune: this job is a grid"),
        (["--auth", "nobody"], "USER:PASSWORD"),
        (["--webui", "ftp://host"], "an address such as"),
    ],
)
def test_mistakes_are_found_before_anything_is_sent(
    job: Path, tmp_path: Path, capsys: Captured, changes: list[str], words: str
) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    own = [each.replace("{folder}", str(tmp_path)) for each in changes]
    arguments = ["send", str(job), "--webui", "http://127.0.0.1:1", "--out", str(tmp_path / "out"), *own]
    assert words in fails(arguments, capsys)


def test_the_payload_is_what_is_sent_and_curl_hides_the_login(
    job: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["payload", str(job), "--set", "model=big"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)["override_settings"] == {"sd_model_checkpoint": "big"}
    act = routed(txt2img=answers(generation("red")))
    with scripted(act) as (url, server):
        cli.main(["send", str(job), "--set", "model=big", "--webui", url, "--out", str(tmp_path / "out")])
    sent = next(each.json for each in server.received if each.path.endswith("txt2img"))
    assert sent.pop("force_task_id")
    assert sent == json.loads(printed)
    monkeypatch.setenv("CTRLGEN_WEBUI_AUTH", "me:s3cret")
    capsys.readouterr()
    assert cli.main(["payload", str(job), "--set", "model=big", "--curl", "--webui", "https://a/b/"]) == 0
    command = capsys.readouterr().out
    assert "s3cret" not in command
    first, *body, last = command.splitlines()
    assert '-u "$CTRLGEN_WEBUI_AUTH"' in first
    assert "https://a/b/sdapi/v1/txt2img <<'CTRLGEN_BODY'" in first
    assert (last, json.loads("\n".join(body))) == ("CTRLGEN_BODY", sent)


@pytest.mark.skipif(os.name == "nt", reason="a console's Ctrl-C")
def test_ctrl_c_interrupts_the_generation_in_the_webui(job: Path, tmp_path: Path) -> None:
    busy = BusyWebUI(never_ends=True)
    with scripted(busy.act) as (url, _):
        command = [sys.executable, "-m", "lib_ctrlgen", "send", str(job), "--webui", url]
        process = subprocess.Popen(
            [*command, "--out", str(tmp_path / "out")], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        end = time.monotonic() + 60
        while busy.asked < 2 and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert "interrupted" in process.communicate()[1]
    assert busy.interrupts >= 1
