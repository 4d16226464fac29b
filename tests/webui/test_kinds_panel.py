"""Choosing what a picture is for, its undo, the strength, and the advice, on fake components."""

import io
import json
from base64 import b64encode
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import save_file

from lib_ctrlgen.forms.blend_fields import BLEND_FIELDS, CONCEPT_FIELDS
from lib_ctrlgen.forms.tooltips import PANEL_TOOLTIPS, kind_tooltips, unit_tooltips
from lib_ctrlgen.forms.unit_fields import WHOLE_FIELDS, unit_fields
from tests.support import control_files as files
from tests.support.fake_gradio import Component
from tests.support.fake_webui import FakeWebUI, fresh
from tests.support.ip_adapter_units import write
from tests.support.shown_params import every_html, shown_params
from tests.support.unit_values import all_params

START = "ctrlgen_txt2img_unit0_"
CANNY = '{"canny_low_threshold": 50}'
BEFORE = (False, "None", "none", 0.3, "1>0", 0.1, 0.9, CANNY, 100)


@pytest.fixture
def panel(host: FakeWebUI, tmp_path: Path) -> Any:
    """A panel with an edges network, an adapter (`adapter`) and a network whose name says nothing."""
    host.flags.ctrlgen_models_path = [str(tmp_path)]
    write(tmp_path, "plain")
    for name in ("canny_small", "network"):
        save_file(files.controlnet().state_dict(), tmp_path / f"{name}.safetensors")
    return fresh("panel.panel").build_panel("txt2img")


def made(name: str) -> Any:
    return next(c for c in Component.made if c.elem_id == f"{START}{name}")


def event(name: str, place: int = 0) -> Any:
    return made(name).events[place][0]


def values(updates: list[Any]) -> list[Any]:
    return [each.get("value") if isinstance(each, dict) else each for each in updates]


def copy_of(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"


def test_a_kind_sets_the_unit_and_undo_restores_it(panel: Any) -> None:
    chosen = event("kind")("edges", "", *BEFORE)
    fields, (before, undo, strength, presets, _) = chosen[:8], chosen[8:]
    assert values(fields) == [True, "canny_small", "canny", 1, "", 0, 0.8, CANNY]
    assert (undo["visible"], strength["value"], json.loads(presets)[1]) == (True, 50, [1, 0, 0.8])
    *restored, hidden, slider = event("kind_undo")(before)
    assert tuple(values([*restored, slider])) == BEFORE
    assert hidden["visible"] is False


def test_a_kind_of_an_adapter_sets_its_type_of_weight(panel: Any) -> None:
    for kind, wanted in (
        ("style", {"ip_adapter_weight_type": "style transfer"}),
        ("composition", {"ip_adapter_weight_type": "composition"}),
        ("image_prompt", {}),
    ):
        for given in (CANNY, '{"canny_low_threshold": 50, "ip_adapter_weight_type": "ease in"}'):
            fields = values(event("kind")(kind, "", *BEFORE[:-2], given, 100)[:8])
            assert fields[1:3] == ["adapter", "none"]
            assert json.loads(fields[-1]) == {"canny_low_threshold": 50, **wanted}


def test_other_opens_more_and_changes_nothing(panel: Any) -> None:
    *fields, _, _, _, _, more = event("kind")("other", "", *BEFORE)
    assert values(fields) == [None] * 8
    assert more["open"] is True


def test_the_chooser_has_what_the_models_can_do(panel: Any) -> None:
    by_name = [kind for _, kind in made("kind").options["choices"]]
    assert by_name == ["edges", "reference", "style_aligned", "revision", "other"]
    read = [kind for _, kind in event("refresh")("")["choices"]]
    assert read == ["edges", "image_prompt", "style", "composition", *by_name[1:]]


def test_the_strength_needs_no_request(panel: Any) -> None:
    for name in ("strength", "strength_low", "strength_middle", "strength_high"):
        assert all(function is None and options["_js"] for function, options in made(name).events)


def judged(panel: Any, **given: Any) -> dict[str, Any]:
    """What is updated for a unit with these values, by name."""
    unit = {"picture": "photo", "enabled": True, "model": "canny_small", "preprocessor": "canny"}
    read = unit | {"param_values": "", "checkpoint": "", "kind": "edges"} | given
    *_, (answer, options) = made("enabled").events
    names = [str(c.elem_id).removeprefix(START) for c in options["outputs"]]
    return dict(zip(names, answer(*read.values()), strict=False)) | {"all": answer(*read.values())}


def test_advice_has_a_button_that_follows_it(panel: Any) -> None:
    calm = judged(panel)
    assert calm["advice"]["visible"] is False
    assert not any(calm["all"][place]["visible"] for place in (4, 7, 10))
    off = judged(panel, enabled=False, preprocessor="none")
    assert "but is off" in off["advice_switch_on_text"]
    assert off["advice_preprocessor"]["value"] == "Use canny"
    assert event("advice_preprocessor")(off["all"][2])["value"] == "canny"
    assert event("advice_switch_on")(off["all"][2])["value"] is True


def test_the_chosen_kind_follows_the_model(panel: Any) -> None:
    assert "value" not in judged(panel)["kind"]
    assert judged(panel, model="adapter", preprocessor="none")["kind"]["value"] == "image_prompt"
    styled = '{"ip_adapter_weight_type": "style transfer"}'
    found = judged(panel, model="adapter", preprocessor="none", param_values=styled)
    assert found["kind"]["value"] == "style"
    assert judged(panel, model="network")["kind"]["value"] == "other"
    assert "value" not in judged(panel, model="None", kind="")["kind"]
    assert judged(panel, model="None", kind="edges")["kind"]["value"] is None  # it can be chosen again
    assert "value" not in judged(panel, model="None", kind="other")["kind"]


def test_the_copy_of_a_picture_is_looked_at(panel: Any) -> None:
    photo = Image.effect_noise((48, 48), 60)
    coloured = copy_of(Image.merge("RGB", (photo, photo.rotate(90), photo.rotate(180))))
    assert judged(panel, picture=coloured, preprocessor="none")["advice_preprocessor_text"]
    for given in (copy_of(photo), "pose", "map", "data:image/png;base64,AAAA"):
        said = judged(panel, picture=given, preprocessor="none")["advice_preprocessor_text"]
        assert bool(said) == given.endswith("AAAA")  # unreadable here: taken for a photo


def test_a_model_for_another_checkpoint_is_said_at_once(panel: Any, host: FakeWebUI, tmp_path: Path) -> None:
    import torch

    sdxl = {"model.diffusion_model.a.attn2.to_k.weight": torch.zeros(1, 2048)}
    save_file(sdxl, tmp_path / "xl.safetensors")
    checkpoint = SimpleNamespace(filename=str(tmp_path / "xl.safetensors"))
    host.loaded["modules.sd_models"].get_closet_checkpoint_match = {"xl": checkpoint}.get
    assert "the checkpoint is SDXL" in judged(panel, checkpoint="xl")["advice"]["value"]
    assert judged(panel, checkpoint="unknown")["advice"]["visible"] is False


def test_every_field_has_a_tooltip_and_a_short_label(panel: Any) -> None:
    assert unit_fields().keys() <= unit_tooltips().keys()
    concepts = [f"concept0_{name}" for name in CONCEPT_FIELDS]
    named = [*WHOLE_FIELDS, *(f"blend_{name}" for name in BLEND_FIELDS), *concepts]
    assert set(named) <= PANEL_TOOLTIPS.keys()
    texts = [*unit_tooltips().values(), *PANEL_TOOLTIPS.values(), *kind_tooltips().values()]
    assert all(text and len(text) <= 100 for text in texts)
    labels = [c.label for c in Component.made if str(c.elem_id).startswith(START) and c.label]
    fields = [each for html in every_html() for each in shown_params(html)]
    assert {each.name for each in fields} == all_params().keys()
    assert all(0 < len(each.title) <= 100 for each in fields)
    labels += [each.label for each in fields]
    assert [label for label in labels if len(label) > 40 and "confidence" not in label] == []
