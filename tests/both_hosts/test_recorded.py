"""Both hosts record the loaded models by name and hash, and can read the records back."""

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.recorded import Loaded, called, described
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.headless import jobs
from lib_ctrlgen.headless.outputs import infotext as headless_infotext
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.models.memory import Automatic, Fixed
from lib_ctrlgen.request.names import split_hash
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from tests.support.fake_webui import FakeWebUI, Processing, served

PICTURE = encode_image(Image.new("RGB", (8, 8), "red"))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FakeWebUI]:
    folder = tmp_path / "models" / "ControlNet" / "sub"
    folder.mkdir(parents=True)
    (folder / "Edges.safetensors").write_bytes(b"edges")
    with served(FakeWebUI(), tmp_path) as webui:
        yield webui


class Nothing:
    """A control that only shows a picture."""

    def control_map(self, width: int, height: int) -> Image.Image:
        return Image.new("RGB", (width, height))

    def residuals(self, call: Any) -> Any:
        raise NotImplementedError


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch, script: Any) -> None:
    """Units are loaded as far as their names; each puts a thousand bytes into the store."""

    def load_units(units: Any, target: Target) -> tuple[ActiveUnit, ...]:
        store = target.store
        store.cached("weights", lambda: torch.zeros(1000, dtype=torch.uint8))
        return tuple(
            ActiveUnit(
                index=i,
                spec=unit,
                control=Nothing(),
                loaded={
                    "model": store.files.label(store.resolve(unit.model)),
                    "image_encoder": "vit [01234567]",
                },
            )
            for i, unit in enumerate(units)
            if unit.enabled
        )

    monkeypatch.setattr("lib_ctrlgen.controls.prepare.load_units", load_units)


def entry(p: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(p.extra_generation_params["CtrlGen"])
    return found


@pytest.mark.usefixtures("loads")
def test_the_infotext_names_the_file_and_its_hash_and_comes_back(host: FakeWebUI, script: Any) -> None:
    p = Processing(host)
    units = [{"model": "x", "enabled": False}, {"model": "edg", "image": PICTURE}]
    script.process(p, {"units": units})
    (unit,) = entry(p)["units"]
    name, digest = split_hash(unit["model"])
    assert (name, len(digest)) == ("sub/Edges", 10)
    assert unit["params"] == {"image_encoder": "vit [01234567]"}

    field = sys.modules["lib_ctrlgen.webui.panel.infotext"].PastedField(0, "model")
    assert field({"CtrlGen": json.dumps(entry(p))})["value"] == "sub/Edges"
    again = Processing(host)
    script.process(again, {"units": [unit | {"image": PICTURE}]})
    assert entry(again)["units"] == entry(p)["units"]


@pytest.mark.parametrize(
    ("recorded", "shown"),
    [
        ("sub/Edges", "sub/Edges"),  # infotexts of the last version
        ("edges", "sub/Edges"),
        ("Edges [00000000]", "Edges [00000000]"),  # another file: nothing stands in for it
        ("gone", "gone"),
        ("None", "None"),
        (7, 7),
    ],
)
def test_a_pasted_model_is_the_listed_one_or_stays_as_it_was(
    host: FakeWebUI, script: Any, recorded: Any, shown: Any
) -> None:
    field = sys.modules["lib_ctrlgen.webui.panel.infotext"].PastedField(0, "model")
    assert field({"CtrlGen": json.dumps({"units": [{"model": recorded}]})})["value"] == shown


def test_a_pasted_blend_has_its_listed_model(host: FakeWebUI, script: Any) -> None:
    module = sys.modules["lib_ctrlgen.webui.panel.infotext"]
    blend = {"model": "edges", "concepts": []}
    shown = module.PastedBlend(module.BLEND_MODEL)({"CtrlGen": json.dumps({"blend": blend})})
    assert shown["value"] == "sub/Edges"


@pytest.mark.usefixtures("loads")
def test_the_page_says_when_the_models_do_not_fit(host: FakeWebUI, script: Any) -> None:
    comments: list[str] = []
    for gigabytes, count in ((0, 1), (1, 0)):
        host.flags.ctrlgen_cache_gb = gigabytes
        comments.clear()
        p = Processing(host, comment=comments.append)
        script.process(p, {"units": [{"model": "edges", "image": PICTURE}]})
        assert entry(p)
        assert len(comments) == count
        assert all("--ctrlgen-cache-gb" in text for text in comments)


@pytest.mark.parametrize(
    ("flag", "setting", "old", "gigabytes"),
    [
        (None, None, None, None),
        (None, 0, 4.0, None),  # the former default, which every config.json holds
        (None, 0, 9.0, 9.0),
        (None, 6, 9.0, 6.0),
        (2.5, 6, 9.0, 2.5),
        (0.0, 6, None, 0.0),
    ],
)
def test_the_flag_goes_before_the_setting_before_automatic(
    host: FakeWebUI, script: Any, flag: Any, setting: Any, old: Any, gigabytes: float | None
) -> None:
    host.flags.ctrlgen_cache_gb = flag
    given = {"ctrlgen_models_gb": setting, "ctrlgen_cache_gb": old}
    host.opts.data |= {name: value for name, value in given.items() if value is not None}
    budget = sys.modules["lib_ctrlgen.webui.settings"].model_store().budget
    assert isinstance(budget, Automatic if gigabytes is None else Fixed)
    if gigabytes is not None:
        assert budget.least == int(gigabytes * 2**30)


def test_hashes_are_listed_when_asked_for(host: FakeWebUI, script: Any) -> None:
    api = import_module("lib_ctrlgen.webui.api")
    assert "hashed" not in api.models()
    assert split_hash(*api.models(hashes=True)["hashed"])[0] == "sub/Edges"


def test_a_headless_picture_names_checkpoint_units_and_blend() -> None:
    blend = {"model": "ip", "concepts": [{"prompt": "a", "image": PICTURE}, {"prompt": "b"}]}
    units = [{"model": "x", "enabled": False}, {"model": "edg", "image": PICTURE}]
    request = parse_request({"model": "/m/tiny.ckpt", "units": units, "blend": blend}, GenerationRequest)
    spec = request.units[1]
    control: Any = Nothing()
    loaded = Loaded.of(
        [
            ActiveUnit(index=1, spec=spec, control=control, loaded={"model": "edges [01234567]"}),
            ActiveUnit(index="concept 0", spec=spec, control=control, loaded={"model": "ip-a [76543210]"}),
        ],
        "tiny [89abcdef]",
    )
    recorded = described(loaded.recorded(request), "sha")
    assert recorded["model"] == "/m/tiny.ckpt [89abcdef]"
    assert recorded["units"][1]["model"] == "edges [01234567]"
    assert recorded["blend"]["model"] == "ip-a [76543210]"
    assert loaded.listed() == {
        "model": "tiny [89abcdef]",
        "blend.model": "ip-a [76543210]",
        "units[1].model": "edges [01234567]",
    }
    assert loaded.recorded(loaded.recorded(request)) == loaded.recorded(request)
    assert "Model: tiny, Model hash: 89abcdef," in headless_infotext(loaded.recorded(request), 1)
    assert "Model: tiny, Version" in headless_infotext(request, 1)


@given(st.text(), st.text(min_size=1), st.from_regex(r"[0-9a-f]{8,10}", fullmatch=True))
def test_a_label_is_recorded_with_its_hash(given_: str, name: str, digest: str) -> None:
    assert split_hash(called(given_, f"{name} [{digest}]"))[1] in (digest, "")
    assert called(given_, "") == given_


def test_a_jobs_model_may_have_a_hash_behind_its_path(tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes(b"1")
    job = tmp_path / "job.yaml"
    job.write_text("model: mine.safetensors [01234567]\n")
    read = jobs.read_job(job)
    assert read.request.model == f"{tmp_path / 'mine.safetensors'} [01234567]"
    assert read.roots == (tmp_path,)
