"""The tab of trainings and its routes on the fake host: fields, cost, start, progress, what may be read."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.training import TrainingSpec
from tests.support.fake_gradio import Component
from tests.support.fake_libraries import HTTPException
from tests.support.fake_webui import CHECKPOINTS, FakeWebUI, fresh
from tests.support.openapi import answer_schema, problems
from tests.support.training_host import awaited
from tests.support.training_process import write_program

ROOT = "/ctrlgen/v1/train"


@pytest.fixture
def tab(host: FakeWebUI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The built tab in a WebUI with a checkpoint and a folder of pictures, and a process that is quick."""
    host.flags.embeddings_dir, host.flags.lora_dir = str(tmp_path / "embeddings"), str(tmp_path / "Lora")
    checkpoint = tmp_path / "base.safetensors"
    checkpoint.write_bytes(b"weights")
    for name, info in CHECKPOINTS.items():
        monkeypatch.setattr(info, "filename", str(checkpoint), raising=False)
        assert info.name == name
    mug = tmp_path / "ctrlgen-training-pictures" / "mug"
    mug.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(mug / "view.png")
    made = fresh("training.tab").build_tab()
    from lib_ctrlgen.webui.training import packages, trainings

    monkeypatch.setattr(trainings, "PACKAGE", write_program(tmp_path / "program"))
    monkeypatch.setattr(packages, "are_missing", lambda: False)
    return made


def values(tab: Any, **given: Any) -> list[Any]:
    from lib_ctrlgen.webui.training.tab_fields import SENT

    filled = {"name": "mug", "base": "ctrlgen-tiny", "pictures": "mug", "steps": 2, **given}
    return [filled.get(name, tab.parts[name].value) for name in SENT]


def kind_named(kind: str) -> str:
    from lib_ctrlgen.webui.training.tab_fields import KINDS

    return next(label for label, each in KINDS.items() if each == kind)


def test_a_look_at_a_training_is_not_queued(tab: Any) -> None:
    events = [event for part in tab.parts.values() for event in part.events]
    queued = [options["queue"] for fn, options in events if getattr(fn, "__name__", "") == "looked"]
    assert queued == [False] * 6


def test_every_field_has_a_label_and_an_explanation(tab: Any) -> None:
    from lib_ctrlgen.webui.training.tab_fields import LABELS, TIPS

    assert LABELS.keys() == TIPS.keys()
    assert all(tab.parts[name].label == label for name, label in LABELS.items())
    assert all(tab.parts[name].elem_id == f"ctrlgen_train_{name}" for name in TIPS)


def test_each_kind_shows_and_sends_its_own_fields(tab: Any) -> None:
    from lib_ctrlgen.webui.training.tab_events import KIND_FIELDS, shown_fields
    from lib_ctrlgen.webui.training.tab_fields import payload_of

    own = {
        "lora": {"rank"},
        "dreambooth": {"rank", "token", "prior_prompt"},
        "textual-inversion": {"initial", "vectors"},
        "ip-adapter": {"rank", "adapter", "part", "prior_prompt"},
    }
    every = set().union(*own.values())
    for kind, fields in own.items():
        updates = dict(zip(KIND_FIELDS, shown_fields(kind_named(kind)), strict=True))
        assert {name for name in every if updates[name]["visible"]} == fields
        given = {"token": "sks", "initial": "a dog", "adapter": "adapter", "prior_prompt": "a dog"}
        sent = payload_of(values(tab, kind=kind_named(kind), **given))
        assert {name for name in every if name in sent} == fields
        assert sent.keys() <= {*TrainingSpec.__struct_fields__, "name", "install", "unload"}
        assert "lr" not in sent, "the usual one of the kind"
    assert payload_of(values(tab, kind=kind_named("dreambooth"), token="sks"))["prior"] == 0.0


def test_more_options_are_yaml(tab: Any) -> None:
    from lib_ctrlgen.webui.training.tab_fields import payload_of

    assert payload_of(values(tab, more="flip: true\nmin_snr: 3.0"))["flip"] is True
    cut = payload_of(values(tab, backdrop="auto"))
    assert (cut["backdrop"], cut["background"]) == ("auto", "random")
    given = payload_of(values(tab, backdrop="#ffffff", more='background: "#00ff00"'))
    assert (given["backdrop"], given["background"]) == ("#ffffff", "#00ff00")
    assert "background" not in payload_of(values(tab, backdrop="auto", kind=kind_named("ip-adapter")))
    for wrong in ("flip", "a: [", "- 1"):
        with pytest.raises(RequestError):
            payload_of(values(tab, more=wrong))


def test_the_cost_is_said_before_a_training_starts(tab: Any, host: FakeWebUI, tmp_path: Path) -> None:
    from lib_ctrlgen.webui.training import tab_events as events

    page = SimpleNamespace(name="lora", refresh=lambda: host.log.append("refreshed"))
    host.network_pages.append(page)
    assert tab.parts["start"].options["interactive"] is False
    html, start, was = events.checked(None, *values(tab))
    assert "It takes about 1 GB." in html
    assert start["interactive"] is True
    note, _ = events.started(was, None, *values(tab, steps=3))
    assert "The fields have changed since the check" in note
    note, chosen = events.started(was, None, *values(tab))
    assert "The training mug was started." in note
    assert chosen["value"] == "mug"

    def finished() -> Any:
        found = events.looked("mug", [])
        return found if "It has finished." in found[0] else None

    html, pictures, seen, listed, stop, resume, remove = awaited(finished)
    assert 'data-live="0"' in html
    assert "Write &lt;lora:mug:1&gt; in a prompt to use it." in html
    assert f"{ROOT.strip('/')}/mug/files/report.html" in html
    assert (listed["value"], pictures, seen) == ("mug", {"__type__": "generic_update"}, [])
    assert [each["interactive"] for each in (stop, resume, remove)] == [False, False, True]
    assert (tmp_path / "Lora" / "mug.safetensors").is_file()
    assert "refreshed" in host.log
    awaited(lambda: host.log.count("refreshed") == 2)  # by the end of the process, and by the first look
    events.looked("mug", [])
    assert host.log.count("refreshed") == 2
    assert events.removed("mug") == ""
    assert "No training has been started" in events.looked("mug", [])[0]
    assert "Choose a training first." in events.stopped("mug")


def test_a_refusal_keeps_the_button_off(tab: Any) -> None:
    from lib_ctrlgen.webui.training import tab_events as events

    html, start, was = events.checked(None, *values(tab, captions="refuse"))
    assert "needs 9.0 GB" in html
    assert (start["interactive"], was) == (False, "")
    said = events.checked(None, *values(tab, pictures="no such"))[0]
    assert "Folder with pictures: there is no folder" in said


def test_previews_are_sent_once_and_with_their_steps(tab: Any, tmp_path: Path) -> None:
    from lib_ctrlgen.webui.training import tab_events as events
    from lib_ctrlgen.webui.training.folder import Record, TrainingFolder

    folder = tmp_path / "ctrlgen-training" / "mug"
    previews = folder / "mug.training" / "previews"
    previews.mkdir(parents=True)
    TrainingFolder(folder).keep(Record(kind="lora"))
    for step in (0, 200):
        Image.new("RGB", (512, 256)).save(previews / f"{step:06}-0.png")
    (previews / "000400-0.png").write_bytes(b"half")
    pictures, seen = events.looked("", [])[1:3]
    assert [(image.size, text) for image, text in pictures] == [
        ((256, 128), "Step 200"),
        ((256, 128), "Step 0"),
    ]
    assert events.looked("mug", seen)[1] == {"__type__": "generic_update"}


def test_an_error_advises_what_the_tab_has(tab: Any, tmp_path: Path) -> None:
    from lib_ctrlgen.request.training_state import RESTART_ADVICE
    from lib_ctrlgen.webui.training import tab_events as events
    from lib_ctrlgen.webui.training.folder import Record, TrainingFolder

    folder = TrainingFolder(tmp_path / "ctrlgen-training" / "mug")
    folder.run.mkdir(parents=True)
    folder.keep(Record(kind="lora"))
    error = f"$.pictures: other pictures: {RESTART_ADVICE}"
    state = {"status": "failed", "kind": "lora", "out": "", "process": 0, "error": error}
    (folder.run / "state.json").write_text(json.dumps(state))
    assert "other pictures: remove the training and start it again" in events.looked("mug", [])[0]


def test_the_page_may_read_any_folder_and_rest_only_the_allowed_ones(
    tab: Any, host: FakeWebUI, tmp_path: Path
) -> None:
    del tab
    from lib_ctrlgen.webui.training.host import WebUIHost

    other, allowed = tmp_path / "elsewhere", tmp_path / "allowed"
    for folder in (other, allowed / "mug"):
        folder.mkdir(parents=True)
    (allowed / "link").symlink_to(other)
    host.opts.data["ctrlgen_training_pictures"] = str(allowed)
    rest, page = (WebUIHost().places(anywhere=anywhere) for anywhere in (False, True))
    assert rest.pictures("mug", "$.pictures") == tmp_path / "ctrlgen-training-pictures" / "mug"
    assert rest.pictures(str(allowed / "mug"), "$.pictures") == allowed / "mug"
    for outside in (
        str(other),
        "../elsewhere",
        str(allowed / "link"),
        str(allowed / ".." / "elsewhere"),
        "none",
    ):
        with pytest.raises(RequestError, match=r"^\$\.masks: there is no folder"):
            rest.pictures(outside, "$.masks")
    assert page.pictures(str(other), "$.pictures") == other
    host.flags.hide_ui_dir_config = True
    with pytest.raises(RequestError):
        WebUIHost().places(anywhere=True).pictures(str(other), "$.pictures")
    for name in ("/etc/passwd", "ctrlgen-tin"):
        with pytest.raises(RequestError, match=r"^\$\.base: there is no checkpoint"):
            page.checkpoint(name)


def test_the_host_unloads_refreshes_and_gives_the_checkpoint_back(
    tab: Any, host: FakeWebUI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del tab
    from lib_ctrlgen.webui.training import host as module
    from lib_ctrlgen.webui.training.folder import Record

    made = module.WebUIHost()
    pages = ("lora", "textual inversion", "checkpoints")
    host.network_pages += [
        SimpleNamespace(name=name, refresh=lambda name=name: host.log.append(name)) for name in pages
    ]
    made.unload()
    for kind in ("dreambooth", "textual-inversion", "ip-adapter"):
        made.ended(Record(kind=kind, unloaded=kind == "dreambooth"))
    assert host.log == ["unloaded", "loaded", "lora", "textual inversion"]
    folders = [made.target(kind).name for kind in ("lora", "dreambooth", "textual-inversion", "ip-adapter")]
    assert folders == ["Lora", "Lora", "embeddings", "ControlNet"]
    assert made.variables()["CUDA_VISIBLE_DEVICES"] == ""
    monkeypatch.setattr(module, "memory_of", lambda _kind: SimpleNamespace(available=3))
    with pytest.raises(RequestError, match=r"^\$\.base: the checkpoint alone has"):
        made.require_memory(tmp_path / "base.safetensors")


def test_the_routes_answer_as_described(tab: Any, tmp_path: Path) -> None:
    del tab
    from lib_ctrlgen.webui.openapi.document import document
    from lib_ctrlgen.webui.training import routes

    def described(answer: Any, path: str, method: str, status: int = 200) -> Any:
        plain = json.loads(json.dumps(answer))
        assert problems(answer_schema(document(), method, ROOT + path, status), plain) == []
        return answer

    body = {"name": "mug", "kind": "lora", "base": "ctrlgen-tiny", "pictures": "mug", "captions": "slow"}
    described(routes.check_training(body | {"captions": ""}), "/check", "post")
    described(routes.post_training(body), "", "post", 202)
    awaited(lambda: routes.get_training("mug")["state"] == "training")
    described(routes.stop_training("mug"), "/{name}/stop", "post")
    awaited(lambda: routes.get_training("mug")["state"] == "stopped")
    described(routes.resume_training("mug"), "/{name}/resume", "post")
    awaited(lambda: routes.get_training("mug")["state"] == "training")
    routes.stop_training("mug")
    awaited(lambda: routes.get_training("mug")["state"] == "stopped")
    described(routes.get_training("mug"), "/{name}", "get")
    described(routes.list_trainings(), "", "get")
    run = tmp_path / "ctrlgen-training" / "mug" / "mug.training"
    assert Path(str(routes.training_file("mug", "state.json"))) == run / "state.json"
    (run / "link.png").symlink_to(tmp_path / "base.safetensors")
    for path in ("checkpoint.pt", "../job.json", "link.png", "/etc/passwd", "..", ""):
        with pytest.raises(HTTPException) as caught:
            routes.training_file("mug", path)
        assert caught.value.status_code == 404
    described(routes.delete_training("mug"), "/{name}", "delete")
    for name in ("mug", "..", "../mug", ""):
        with pytest.raises(HTTPException):
            routes.get_training(name)
    assert list((tmp_path / "ctrlgen-training").iterdir()) == []


def test_packages_are_installed_over_rest_only_where_the_setting_allows_it(
    tab: Any, host: FakeWebUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    del tab
    from lib_ctrlgen.webui.training import packages, routes

    monkeypatch.setattr(packages, "are_missing", lambda: True)
    monkeypatch.setattr(packages, "is_offline", lambda: False)
    monkeypatch.setattr(packages, "install_packages", lambda: host.log.append("installed"))
    body = {"name": "mug", "kind": "lora", "base": "ctrlgen-tiny", "pictures": "mug", "install": True}
    for act in (routes.check_training, routes.post_training):
        with pytest.raises(RequestError, match=r"^\$\.install: is not allowed over REST"):
            act(body)
    host.opts.data["ctrlgen_install_environments"] = True
    routes.check_training(body)
    assert host.log == ["installed"]


def test_the_tab_is_one_of_the_webui(tab: Any, host: FakeWebUI) -> None:
    del tab
    Component.made = []
    fresh("script").register()
    (made,) = (build for build in host.callbacks.lists["ui_tabs"])
    ((_, title, name),) = made()
    assert (title, name) == ("CtrlGen Train", "ctrlgen_train")
