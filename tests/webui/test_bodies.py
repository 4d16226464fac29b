"""A part of a REST body meant for CtrlGen is never silently ignored, and other parts are left alone."""

import asyncio
import copy
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_ctrlgen.errors import ModelError, RequestError
from lib_ctrlgen.webui.bodies import check_body, check_infotext, check_repeated
from tests.support.fake_webui import FakeWebUI, fresh

UNITS = {"units": [{"model": "edges", "image": "aGVsbG8="}]}
GOOD = {"args": [UNITS]}
SETTING = {"override_settings": {"ctrlgen_model_folders": "/"}}
TUNER = {"script_name": "CtrlGen X/Y tuner"}


def error_of(check: Callable[..., None], *args: Any) -> RequestError | None:
    """The RequestError that a check raises, or None where it raises nothing."""
    try:
        check(*args)
    except RequestError as error:
        return error
    return None


def scripts(entry: Any, title: str = "CtrlGen", **others: Any) -> dict[str, Any]:
    return {"prompt": "a", "alwayson_scripts": {title: entry, **others}}


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "CtrlGen", "alwayson_scripts": {}},
        {"alwayson_scripts": None},
        scripts(GOOD),
        scripts(GOOD, "CTRLGEN", ControlNet={"CtrlGen": 1, "args": [{"ctrlgen": 2}]}),
        scripts({}),
        scripts({"args": []}),
        scripts({"args": [None]}),
        scripts({"args": [json.dumps(UNITS), None, ""]}),
        scripts({"args": ["", *range(9)]}),
        {**TUNER, "script_args": [{"x": {"path": "Steps", "values": "1, 2"}}]},
        {"script_name": "other", "script_args": [{"CtrlGen": 1}]},
        {"override_settings": {"ctrlgen_append_maps": False, "sd_vae": "x"}},
        {"script_name": "other", "script_args": [UNITS]},
        {"script_name": None, "script_args": [1, {"model": "x"}]},
        {"alwayson_scripts": {"ControlNet": {"args": UNITS["units"]}}, "model": "x", "image": ""},
        [], None, "CtrlGen",
    ],
    ids=str,
)  # fmt: skip
def test_what_the_webui_reads_passes(body: Any) -> None:
    before = copy.deepcopy(body)
    check_body(body, 10, ["ctrlgen_append_maps"])
    assert body == before


@pytest.mark.parametrize(
    ("body", "path", "said"),
    [
        (scripts(UNITS), ".alwayson_scripts.CtrlGen.units", '{"args": [{"units": [...]}]}'),
        (scripts({**GOOD, "unit": 1}), ".alwayson_scripts.CtrlGen.unit", 'reads only "args"'),
        (scripts({"args": UNITS}, "ctrlgen"), ".alwayson_scripts.ctrlgen.args", "got an object"),
        (scripts({"args": None}), ".alwayson_scripts.CtrlGen.args", "got null"),
        (scripts({"args": "x"}), ".alwayson_scripts.CtrlGen.args", "got a text"),
        (scripts({"args": 5}), ".alwayson_scripts.CtrlGen.args", "got a number"),
        (scripts(None), ".alwayson_scripts.CtrlGen", "got null"),
        (scripts([UNITS]), ".alwayson_scripts.CtrlGen", "got a list"),
        (scripts({"args": [UNITS, UNITS]}), ".alwayson_scripts.CtrlGen.args[1]", "nothing after it"),
        (scripts({"args": [UNITS, None, True]}), ".alwayson_scripts.CtrlGen.args[2]", "nothing after it"),
        (scripts({"args": [""] * 11}), ".alwayson_scripts.CtrlGen.args[10]", "10 values, got 11"),
        (scripts(GOOD, CTRLGEN=GOOD), ".alwayson_scripts.CTRLGEN", "send one of them"),
        ({"CtrlGen": GOOD}, ".CtrlGen", "does not read this here"),
        ({"alwayson_script": {"CtrlGen": GOOD}}, ".alwayson_script.CtrlGen", "does not read this here"),
        ({"units": UNITS["units"]}, ".units[0]", "does not read a unit here"),
        ({"script_args": [UNITS]}, ".script_args[0].units[0]", "does not read a unit here"),
        ({"script_name": None, "script_args": [{"CtrlGen": GOOD}]}, ".script_args[0].CtrlGen", "not read"),
        ({"a": [{"ctrlgen": 1}]}, ".a[0].ctrlgen", "does not read this here"),
        ({"alwayson_scripts": [{"CtrlGen": GOOD}]}, ".alwayson_scripts", "expected an object"),
        ({**TUNER}, ".script_args", "got none"),
        ({**TUNER, "script_args": []}, ".script_args", "got an empty list"),
        ({**TUNER, "script_args": {"x": 1}}, ".script_args", "got an object"),
        ({**TUNER, "script_args": [{"x": 1}, {"y": 1}]}, ".script_args[1]", "all axes go into it"),
        (SETTING, ".override_settings.ctrlgen_model_folders", "ctrlgen_append_maps"),
        ({"override_settings": {"ctrlgen_x": 1}}, ".override_settings.ctrlgen_x", "ctrlgen_append_maps"),
    ],
    ids=lambda value: json.dumps(value)[:50],
)  # fmt: skip
def test_what_it_would_ignore_is_refused(body: Any, path: str, said: str) -> None:
    with pytest.raises(RequestError) as raised:
        check_body(body, 10, ["ctrlgen_append_maps"], "$.request")
    assert raised.value.path == f"$.request{path}"
    assert said in raised.value.message


KEYS = ["args", "units", "CtrlGen", "x"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=6,
)  # fmt: skip


@given(JSON, st.sampled_from(["CtrlGen", "ctrlGEN"]))
def test_whatever_is_said_is_passed_on_by_the_webui_or_refused(said: Any, title: str) -> None:
    """The host's own reading of what passes (api.py, init_script_args) leaves nothing out."""
    try:
        check_body({"alwayson_scripts": {title: said}}, 10)
    except RequestError:
        return
    args = said.get("args", [])
    assert set(said) <= {"args"}
    assert isinstance(args, list)
    assert len(args) <= 10


@given(JSON)
def test_a_body_that_does_not_speak_of_ctrlgen_passes(said: Any) -> None:
    body = json.loads(
        json.dumps({"prompt": said, "alwayson_scripts": {"Other": said}}).replace("CtrlGen", "x")
    )
    check_body(body, 10)
    check_repeated(json.dumps(body).encode())


@pytest.mark.parametrize(
    "text",
    ['{"alwayson_scripts": {"CtrlGen": {}, "CtrlGen": {}}}', '{"a": {"CtrlGen": 1}, "a": {}}'],
)
def test_a_key_that_stands_twice_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="twice"):
        check_repeated(text.encode())


@pytest.mark.parametrize("body", [b'{"prompt": "a", "prompt": "b"}', b"no JSON"])
def test_a_repeated_key_outside_of_ctrlgens_entries_is_accepted(body: bytes) -> None:
    assert error_of(check_repeated, body) is None


HASHED = {"image": "sha:0123456789ab"}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"units": [{"model": "edges", **HASHED}]}, "pictures"),
        ({"units": [{"model": "edges", "image_from": "init"}]}, "pictures"),
        ({"blend": {"concepts": [{"prompt": "a"}, {"prompt": "b", "mask": "sha:0"}]}}, "pictures"),
        ({"blend": {"concepts": [{"prompt": "a"}, {"prompt": "b"}]}, "cfg_scale": "7>1"}, ""),
        ({}, ""),
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"units": [1]}', "damaged"),
    ],
    ids=str,
)
def test_an_infotext_does_not_lose_its_pictures(host: FakeWebUI, entry: Any, said: str) -> None:
    """The WebUI fills the panel's values from `infotext`, and an infotext holds no pictures."""
    rest = fresh("rest")
    quoted = json.dumps(entry if isinstance(entry, str) else json.dumps(entry))
    body = {"infotext": f"a cat\nSteps: 2, Seed: 1, CtrlGen: {quoted}, Version: 1"}
    if said:
        with pytest.raises(RequestError, match=said) as raised:
            asyncio.run(rest.require_readable(Sent(json.dumps(body))))
        assert raised.value.path == "$.infotext"
    else:
        asyncio.run(rest.require_readable(Sent(json.dumps(body))))
    asyncio.run(rest.require_readable(Sent(json.dumps(body | scripts(GOOD)))))


@given(JSON)
def test_any_entry_of_an_infotext_is_read_or_refused(said: Any) -> None:
    error = error_of(check_infotext, {}, json.dumps(said))
    assert error is None or error.path == "$.infotext"


class App:
    """FastAPI with one of the WebUI's routes and another one; each has a login already."""

    def __init__(self) -> None:
        self.handlers: dict[Any, Any] = {}
        self.middleware_stack: Any = "built"
        paths = ("/sdapi/v1/txt2img", "/sdapi/v1/img2img", "/sdapi/v1/options")
        self.routes = [
            SimpleNamespace(path=path, dependant=SimpleNamespace(dependencies=["login"])) for path in paths
        ]
        self.routes.append(SimpleNamespace(path="/file"))

    def add_exception_handler(self, kind: Any, handler: Any) -> None:
        self.handlers[kind] = handler


class Sent:
    """A request whose body was read already."""

    def __init__(self, text: str) -> None:
        self.text = text

    async def json(self) -> Any:
        return json.loads(self.text)

    async def body(self) -> bytes:
        return self.text.encode()


def test_the_two_routes_are_checked_after_the_login(host: FakeWebUI) -> None:
    rest, app = fresh("rest"), App()
    rest.guard_api(None, app)
    assert [len(route.dependant.dependencies) for route in app.routes[:3]] == [2, 2, 1]
    login, check = app.routes[0].dependant.dependencies
    assert login == "login"
    assert check is rest.require_readable
    assert app.middleware_stack is None


@pytest.mark.parametrize("entry", [UNITS, {"args": UNITS}, {"args": [""] * 11}])
def test_a_body_is_refused_at_the_route(host: FakeWebUI, entry: Any) -> None:
    fresh("settings").register_settings()
    rest = fresh("rest")
    with pytest.raises(RequestError):
        asyncio.run(rest.require_readable(Sent(json.dumps(scripts(entry)))))
    asyncio.run(rest.require_readable(Sent(json.dumps(scripts(GOOD)))))
    asyncio.run(rest.require_readable(Sent("no JSON")))
    with pytest.raises(RequestError):
        asyncio.run(rest.require_readable(Sent(json.dumps(SETTING))))


@pytest.mark.parametrize("error", [RequestError("$.units[0]", "a\nb"), ModelError("no\nmodel")])
def test_an_error_is_one_line_in_the_log_and_the_webuis_own_answer(host: FakeWebUI, error: Any) -> None:
    rest, app = fresh("rest"), App()
    rest.guard_api(None, app)
    ((kind, handler),) = app.handlers.items()
    assert isinstance(error, kind)
    answer = asyncio.run(handler(None, error))
    assert answer.status_code == 422
    assert answer.content["detail"] == error.detail
    assert answer.content["error"] == type(error).__name__
    (line,) = host.log
    assert "\n" not in line
