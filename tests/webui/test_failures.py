"""Whatever fails in the WebUI, no uncontrolled picture is made, and the page or the client gets the error."""

import traceback
from typing import Any

import pytest

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.unet.call import UNetCall
from lib_ctrlgen.unet.residuals import Residuals
from tests.support.constant_control import PICTURE, REQUEST, Pushes, hooks
from tests.support.fake_webui import FakeWebUI, Processing


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        ({"units": [{"model": "m", "image": PICTURE, "weight": "1@"}]}, "$.units[0].weight"),
        ({"units": [{"model": "m", "imag": PICTURE}]}, "$.units[0].imag"),
        ({"units": [{"model": "no such model", "image": PICTURE}]}, "$.units[0].model"),
        ({"units": [{"model": "m"}]}, "$.units[0].model"),
        ({"units": [{"model": "m", "image": "/etc/passwd.png"}]}, "$.units[0].image"),
        ("nonsense", "$"),
    ],
)
def test_a_bad_request_makes_no_picture(host: FakeWebUI, script: Any, request_: Any, path: str) -> None:
    with pytest.raises(RequestError) as caught:
        host.process_images(script, Processing(host), request_)
    assert caught.value.path == path
    assert vars(caught.value)["status_code"] == 422
    assert host.callbacks.count == 0


def test_a_mistake_on_the_page_is_a_comment_and_one_line(host: FakeWebUI, script: Any) -> None:
    p = Processing(host, is_api=False)
    _, processed = host.process_images(script, p, {"units": [{"model": "m"}]})
    assert processed.images == []
    (line,) = host.log
    (comment,) = p.comments
    assert comment.startswith("CtrlGen: Unit 0, Model: no model named 'm'")
    assert line.startswith("CtrlGen: $.units[0].model: no model named 'm'")
    assert "installed" in line.lower()
    assert p.do_not_save_grid
    with pytest.raises(RequestError):  # where the WebUI goes on all the same
        p.sample()


@pytest.mark.parametrize(
    "fields", [{"is_api": True}, {"script_args": (3,)}, {"txt2img_upscale": True}], ids=str
)
def test_others_than_the_plain_page_get_the_error_itself(
    host: FakeWebUI, script: Any, fields: dict[str, Any]
) -> None:
    p = Processing(host, **{"is_api": False, **fields})
    with pytest.raises(RequestError):
        host.process_images(script, p, {"units": [{"model": "m"}]})
    assert (p.comments, host.log) == ({}, [])


def test_a_failure_in_a_step_is_told_once(host: FakeWebUI, script: Any, control: Pushes) -> None:
    control.value = float("nan")
    with pytest.raises(RequestError) as raised:
        host.process_images(script, Processing(host), REQUEST)
    text = "".join(traceback.format_exception(raised.value))
    assert text.count("Traceback (most recent call last)") == 1


def test_a_failure_in_a_step_on_the_page_is_a_comment_and_one_line(
    host: FakeWebUI, script: Any, control: Pushes
) -> None:
    control.value = float("nan")
    p = Processing(host, is_api=False, n_iter=2)
    _, processed = host.process_images(script, p, REQUEST)
    assert processed.images == []
    (line,) = host.log
    (comment,) = p.comments
    assert comment.startswith("CtrlGen: Unit 0: with 'edges'")
    assert line.startswith("CtrlGen: $.units[0]: with 'edges'")
    assert p.do_not_save_grid
    assert (hooks(host.unet), host.callbacks.count) == (0, 0)
    script.before_process_batch(p)
    assert p.prompts == []  # which ends the batches
    assert len(host.log) == 1
    control.value = 1.0
    p.prompts = [["a"]]
    _, processed = host.process_images(script, p, REQUEST)  # a script may process one `p` again
    assert processed.images[0] == "picture"


def test_a_bug_in_a_step_on_the_page_keeps_its_traceback(
    host: FakeWebUI, script: Any, control: Pushes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "residuals", lambda call: {}["a bug"])
    with pytest.raises(KeyError):
        host.process_images(script, Processing(host, is_api=False), REQUEST)
    assert host.log == []


@pytest.mark.parametrize("fields", [{"script_args": (3,)}, {"txt2img_upscale": True}], ids=str)
def test_a_failure_in_a_step_reaches_who_counts_on_pictures(
    host: FakeWebUI, script: Any, control: Pushes, fields: dict[str, Any]
) -> None:
    control.value = float("nan")
    with pytest.raises(RequestError):
        host.process_images(script, Processing(host, **{"is_api": False, **fields}), REQUEST)
    assert host.log == []


def test_any_failure_while_preparing_makes_no_picture(
    host: FakeWebUI, script: Any, control: Pushes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise MemoryError("no memory left")

    monkeypatch.setattr("lib_ctrlgen.controls.prepare.load_units", broken)
    with pytest.raises(MemoryError, match="no memory left"):
        host.process_images(script, Processing(host), REQUEST)


def test_a_failure_inside_a_step_makes_no_picture(
    host: FakeWebUI, script: Any, control: Pushes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(call: UNetCall) -> Residuals:
        raise ValueError("broken network")

    monkeypatch.setattr(control, "residuals", broken)
    with pytest.raises(ValueError, match="broken network"):
        host.process_images(script, Processing(host), REQUEST)
    assert (hooks(host.unet), host.callbacks.count) == (0, 0)
