"""Job files in YAML and JSON, their schema, and changes by `--set`."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.job_schema import job_schema
from lib_ctrlgen.headless.job_text import parse_yaml, read_mapping, yaml_text
from lib_ctrlgen.headless.jobs import JobFile, apply_changes, read_job, read_tune_job
from lib_ctrlgen.preprocessors import preprocessors
from lib_ctrlgen.request.catalogue import preprocessor_names
from lib_ctrlgen.request.field_docs import parts_of
from lib_ctrlgen.request.sampler_names import sampler_names
from lib_ctrlgen.request.spec import ControlRequest, json_schema
from tests.support import control_files as files

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
TEXTS = (
    "prompt",
    "negative_prompt",
    "model",
    "sampler",
    "units.0.model",
    "units.0.image",
    "blend.concepts.1.prompt",
    "tune.x.path",
)
JOB: dict[str, Any] = {
    "units": [{"model": "a"}],
    "blend": {"concepts": [{"prompt": "a"}, {"prompt": "b"}]},
    "tune": {"x": {"path": "steps", "values": "1, 2"}},
}


def at(content: Any, path: str) -> Any:
    for name in path.split("."):
        content = content[int(name)] if isinstance(content, list) else content[name]
    return content


@settings(max_examples=60)
@given(st.text(), st.sampled_from(TEXTS))
@example("a red circle #1 on blue", "prompt")
@example("photo: a cat", "prompt")
@example("[a:b:0.5]", "prompt")
@example('"quoted"', "prompt")
@example("null", "prompt")
@example("a=b", "negative_prompt")
def test_a_text_field_takes_any_text_to_the_letter(text: str, path: str) -> None:
    assert at(apply_changes(JOB, [f"{path}={text}"]), path) == text


@settings(max_examples=30)
@given(st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_numbers_where_a_field_takes_them(number: float) -> None:
    for path in ("steps", "units.0.weight", "units.0.params.x"):
        assert at(apply_changes(JOB, [f"{path}={number}"]), path) == number


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("units.0.weight", "1@0, 0.6@0.4, 0@1", "1@0, 0.6@0.4, 0@1"),
        ("units.0.weight", "1: x #2", "1: x #2"),
        ("units.0.weight", "true", "true"),
        ("units.0.hires", "null", None),
        ("units.0.enabled", "false", False),
        ("units.0.low_vram", "true", True),
        ("units.0.params.union_type", "tile #1", "tile #1"),
        ("units.0.params.union_type", "true", True),
        ("units.0.layer_weights", "[1, 0.5]", [1, 0.5]),
        ("units.0.images", "*.png", "*.png"),
        ("units.0.images", "[a.png, b.png]", ["a.png", "b.png"]),
        ("units", "[{model: b}]", [{"model": "b"}]),
        ("prompt_weights.glow", "1>0.5", "1>0.5"),
        ("tune.x.values", "red #1, blue", "red #1, blue"),
        ("tune.x.values", '"1@0, 0@1", 0.5', '"1@0, 0@1", 0.5'),
        ("tune.x.values", "[1, 2]", [1, 2]),
        ("seed", "010", 10),
        ("steps", "0x10", 16),
        ("cfg_scale", "1e1", 10.0),
    ],
)
def test_other_fields_take_what_fits(path: str, text: str, value: Any) -> None:
    changed = at(apply_changes({**JOB, "prompt_weights": {}}, [f"{path}={text}"]), path)
    assert changed == value
    assert type(changed) is type(value)


@settings(max_examples=60)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**60), 2**60)
        | st.floats(allow_nan=False)
        | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    )
)
def test_yaml_that_was_written_is_read_back(content: Any) -> None:
    assert parse_yaml(yaml_text({"content": content}), "") == {"content": content}


def test_a_text_that_only_yaml_1_2_reads_as_a_number_stays_a_text() -> None:
    content = {"prompt": "1e5", "0E0": None}
    assert parse_yaml(yaml_text(content), "") == content


@pytest.mark.parametrize("text", ["12:30", "1:20:30", "2024-01-01", "0o17", "1_000", "0b1"])
def test_what_looks_like_a_time_is_a_text(text: str) -> None:
    assert parse_yaml(text, "") == text


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfprompt: a\r\nsteps: 3\r\n",
        b'{\n\t"prompt": "a",\n\t"steps": 3\n}',
        b'{"prompt": "a", "steps": 3,} # a comment',
        b"prompt: a\rsteps: 3\r",
    ],
)
def test_the_same_job_in_other_writings(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "job.txt").write_bytes(content)
    assert read_mapping(tmp_path / "job.txt") == {"prompt": "a", "steps": 3}


def test_json_keeps_letters_beyond_the_first_plane(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(json.dumps({"prompt": "a \U0001f600"}))
    assert read_job(tmp_path / "job.json").request.prompt == "a \U0001f600"


def test_the_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    files.picture(8, 8).save(tmp_path / "a.png")
    (tmp_path / "net.safetensors").write_bytes(b"")
    units = [{"model": "~/net.safetensors", "image": "~/a.png"}, {"model": "a", "images": "~/*.png"}]
    path = tmp_path / "deep" / "job.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"units": units}))
    job = read_job(path)
    assert job.roots == (tmp_path.resolve(),)
    assert job.request.units[0].model == str((tmp_path / "net.safetensors").resolve())
    assert job.request.units[0].image == job.request.units[1].images[0]


def test_a_parameter_with_a_picture_may_name_a_file(tmp_path: Path) -> None:
    files.picture(8, 8).save(tmp_path / "face.png")
    (tmp_path / "job.yaml").write_text("units: [{model: a, params: {face_image: face.png, face: largest}}]")
    params = read_job(tmp_path / "job.yaml").request.units[0].params
    assert str(params["face_image"]).startswith("data:image/png;base64,")
    assert params["face"] == "largest"


def test_a_name_that_begins_with_a_tilde_is_no_home(tmp_path: Path) -> None:
    files.picture(8, 8).save(tmp_path / "~$draft.png")
    (tmp_path / "job.yaml").write_text("units: [{model: a, image: ~$draft.png}]")
    assert read_job(tmp_path / "job.yaml").request.units[0].image.startswith("data:image/png;base64,")


def validator() -> Any:
    return pytest.importorskip("jsonschema").Draft202012Validator(job_schema())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_schema_accepts_every_example(path: Path) -> None:
    content = read_mapping(path)
    assert validator().is_valid(content)
    assert (read_tune_job if "tune" in content else read_job)(path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"wieght": 1},
        {"units": [{"model": "a", "preprocessor": "cany"}]},
        {"units": [{"model": "a", "control_mode": "x"}]},
        {"sampler": "Oiler"},
        {"tune": {"x": {"path": "steps"}}},
        {"tune": {"auto": {"budget": 0, "ranges": []}}},
        {"blend": {"mode": "x", "concepts": [{}, {}]}},
        {"steps": 0},
    ],
)
def test_the_schema_refuses_what_a_job_may_not_say(wrong: dict[str, Any]) -> None:
    assert list(validator().iter_errors(wrong))


@pytest.mark.parametrize("schema", [job_schema(), json_schema(ControlRequest)], ids=["job", "request"])
def test_every_field_is_described(schema: dict[str, Any]) -> None:
    bare = [
        f"{part}.{name}"
        for part, definition in schema["$defs"].items()
        for name, field in definition["properties"].items()
        if not field.get("description")
    ]
    assert bare == []
    assert all("\n" not in definition["description"] for definition in schema["$defs"].values())


def test_the_schema_lists_the_names_that_there_are() -> None:
    definitions = job_schema()["$defs"]
    assert definitions.keys() == {part.__name__ for part in parts_of(JobFile)}
    assert definitions["JobFile"]["properties"]["sampler"]["enum"] == list(sampler_names())
    names = [each.name for each in preprocessors()]
    assert list(preprocessor_names()) == names
    assert definitions["ControlUnit"]["properties"]["preprocessor"]["anyOf"][0] == {"enum": names}


def test_a_key_that_stands_twice_in_a_merge_is_no_error() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}"
    assert parse_yaml(text, "")["b"] == {"x": 3, "y": 2}
    with pytest.raises(RequestError, match=r"job:2:11: not YAML: the key 'x' occurs twice"):
        parse_yaml("a: 1\nb: {x: 1, x: 2}", "job")
