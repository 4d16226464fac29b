"""The panel shows the fields that the family of the chosen model uses, and hides and empties the others."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from lib_ctrlgen.forms.blend_fields import blend_values
from lib_ctrlgen.forms.infotext import describe
from lib_ctrlgen.forms.param_fields import family_fields
from lib_ctrlgen.forms.param_values import PARAM_VALUES
from lib_ctrlgen.forms.unit_fields import panel_values, read_request, unit_fields
from lib_ctrlgen.request.catalogue import CONTROLS, Entry
from lib_ctrlgen.request.params import Param
from lib_ctrlgen.request.spec import ControlRequest
from tests.support import control_files as files
from tests.support.fake_gradio import Component
from tests.support.fake_webui import FakeWebUI, fresh
from tests.support.ip_adapter_units import write
from tests.support.shown_params import ShownParam, family_updates, names_shown, shown_params
from tests.support.unit_values import all_params, unit_values, with_params

START = "ctrlgen_txt2img_unit0_"
# What the panel shows beside model, weights and guidance, which every family has. The parts whose fields
# depend on the family have the name of a part of the panel: pictures, mask_area, reference_area.
GIVEN = {"pictures", "batch_area"}
MAP = GIVEN | {
    "preprocessor",
    "modes",
    "control_mode",
    "resize_mode",
    "mask_area",
    "masks_area",
    "layer_weights",
}
STORED = {"cost", "low_vram", "storage"}
NETWORK = MAP | STORED | {"reuse"}
PICTURED = (MAP | STORED) - {"preprocessor", "control_mode"}
ADAPTED = PICTURED | {"reference_area"}
FACES = {"uploads", "face_tools", "face_choice", "face", "face_area"}
LAYERED = {
    "weight_type",
    "composition_weight",
    "style_boost",
    "composition_boost",
    "layers",
    "embeds_scaling",
}
DETAILS = {"crop", "sharpening", "tiles", "enhance_tiles", "enhance_ratio", "negative_noise"}
ENCODER = {"image_encoder", "more"}
MAIN = {"family_params", "more"}
SHOWN: dict[str, set[str]] = {
    "control_lora": NETWORK | {"transparent", "more"},
    "controlnet": NETWORK | {"transparent", "more"},
    "controlnet_union": NETWORK | {"union_type", "family_params"},
    "instant_id": NETWORK | FACES | MAIN
    | {"face_image", "face_image_area", "face_adapter", "adapter_weight"},
    "lllite": MAP | STORED,
    "ip_adapter": ADAPTED | ENCODER | MAIN | LAYERED | DETAILS | {"negative_noise_strength"},
    "ip_adapter_face": ADAPTED | ENCODER | MAIN | LAYERED | FACES
    | {"variant", "faceid_v2_weight", "lora_weight"},
    "pulid": ADAPTED | MAIN | LAYERED | FACES | {"preset", "zero_tokens"},
    "gligen": (PICTURED - GIVEN) | ENCODER | {"boxes", "boxes_row", "boxes_area"},
    "t2i_adapter": MAP | STORED,
    "t2i_style": PICTURED | ENCODER,
    "reference": (MAP - {"preprocessor"}) | MAIN | {"cost", "reuse", "method", "style_fidelity"}
    | {"adain_fidelity", "attention_weight", "adain_weight"},
    "style_aligned": (PICTURED - STORED - GIVEN) | {"more", "share_group_norm", "shared_score_scale"}
    | {"shared_score_shift", "only_self_level"},
    "revision": {*GIVEN, *STORED, *MAIN, "image_encoder", "noise_augmentation", "ignore_prompt"},
}  # fmt: skip
OUTER = {"pose", "references", "reference_weights", "combine", "composition_image", "negative_image"} | {
    "image", "images", "use_init_image", "mask", "masks", "mask_strength", "mask_feather", "inpaint_crop"
}  # fmt: skip


@pytest.fixture
def panel(host: FakeWebUI) -> Any:
    return fresh("panel.panel").build_panel("txt2img")


def short(name: str) -> str:
    """The name of a parameter's field without the family's."""
    area = name.endswith("_area") and name.removesuffix("_area") in family_fields()
    found = family_fields().get(name.removesuffix("_area") if area else name)
    return name if found is None else f"{found[1].name}{'_area' if area else ''}"


def names_of(updates: dict[str, dict[str, Any]]) -> set[str]:
    """What a family shows: parts, fields, and parameters in a part that is shown."""
    shown = {short(name) for name, update in updates.items() if update.get("visible")}
    for html, area in {"family_params": "family_params", "more_params": "more"}.items():
        names = names_shown(updates[html]["value"])
        assert bool(names) == (area in shown)
        assert shown.isdisjoint(map(short, names))
        shown |= set(map(short, names))
    return shown


@pytest.mark.parametrize("family", [entry.name for entry in CONTROLS])
def test_a_family_shows_its_own_fields_and_nothing_else(panel: Any, family: str) -> None:
    updates = family_updates(family)
    shown = names_of(updates)
    assert shown == SHOWN[family]
    assert updates.pop(PARAM_VALUES).get("value", "") == ""
    defaults = unit_fields()
    areas = {"pictures": {"image", "images"}, "mask_area": {"mask"}, "reference_area": {"references"}}
    for name, update in updates.items():
        if name in defaults and name not in OUTER:
            assert ("value" in update) == (not update["visible"]), name
        if "value" in update and name not in {"family_params", "more_params"}:
            assert update["value"] == defaults[name], name
    for area, fields in areas.items():
        for name in fields & updates.keys():
            assert ("value" in updates[name]) == (area not in shown), name


@pytest.mark.parametrize("family", [entry.name for entry in CONTROLS])
def test_advanced_parameters_are_below_more(panel: Any, family: str) -> None:
    updates = family_updates(family)
    own = {name: param for name, param in all_params().items() if name in family_fields()}
    own = {name: param for name, param in own.items() if family in family_fields()[name][0]}
    for area, advanced in (("family_params", False), ("more_params", True)):
        wanted = [name for name, param in own.items() if param.advanced is advanced]
        assert [each.name for each in shown_params(updates[area]["value"])] == wanted


@pytest.mark.parametrize("family", [entry.name for entry in CONTROLS])
def test_parameters_of_other_families_are_emptied(panel: Any, family: str) -> None:
    """The preprocessor's stay, and so do the family's own."""
    changed = {name: other(param) for name, param in all_params().items()}
    kept = {
        name: value
        for name, value in changed.items()
        if name not in family_fields() or family in family_fields()[name][0]
    }
    updates = family_updates(family, json.dumps(changed))
    assert json.loads(updates[PARAM_VALUES]["value"]) == kept
    for area in ("family_params", "more_params"):
        for field in shown_params(updates[area]["value"]):
            assert value_of(field, all_params()[field.name]) == kept[field.name], field.name


def value_of(field: ShownParam, param: Param) -> Any:
    """The value that the inputs of a parameter's field show."""
    if param.kind == "choice":
        return field.chosen[0]
    if param.kind == "bool":
        return "checked" in field.inputs[0]
    shown = {each["value"] for each in field.inputs}
    (value,) = shown
    return value if param.kind == "text" else float(str(value))


def test_while_no_family_is_known_nothing_is_emptied(panel: Any) -> None:
    given = json.dumps({"ip_adapter_tiles": 4, "canny_low_threshold": 50})
    updates = family_updates("", given)
    assert names_of(updates) == NETWORK
    emptied = {name for name, update in updates.items() if "value" in update}
    assert emptied == {"family_params", "more_params"}


def test_the_family_is_that_of_the_chosen_file(host: FakeWebUI, tmp_path: Path) -> None:
    host.flags.ctrlgen_models_path = [str(tmp_path)]
    write(tmp_path, "plain")
    save_file(files.controlnet().state_dict(), tmp_path / "edges.safetensors")
    fresh("panel.panel").build_panel("txt2img")
    model = next(c for c in Component.made if c.elem_id == f"{START}model")
    reveal, options = model.events[0]
    ids = [str(c.elem_id).removeprefix(START) for c in options["outputs"]]
    for name, fields in {"adapter": (True, False), "edges": (False, True), "None": (False, True)}.items():
        updates = dict(zip(ids, reveal(name, ""), strict=True))
        assert (updates["reference_area"]["visible"], updates["preprocessor"]["visible"]) == fields


def other(param: Param) -> Any:
    """A value of a parameter that is not its default."""
    if param.kind == "choice":
        return param.choices[-1]
    if param.kind in {"bool", "text"}:
        return not param.default if param.kind == "bool" else "another"
    return param.maximum if param.default != param.maximum else param.minimum


@pytest.mark.parametrize("entry", CONTROLS, ids=lambda entry: entry.name)
def test_an_infotext_restores_every_parameter_of_a_family(entry: Entry) -> None:
    own = {
        name: other(param)
        for name, (families, param) in family_fields().items()
        if entry.name in families and not param.uploaded
    }
    values = unit_values(enabled=True, model=entry.without_model or "model", **own)
    assert json.loads(values[PARAM_VALUES] or "{}") == own
    unit = read_request(["", "", "", "", *blend_values(None), *values.values()]).units[0]
    assert set(unit.params) == set(map(short, own))
    shown = with_params(panel_values(json.loads(describe(ControlRequest(units=(unit,))))["units"][0]))
    assert {name: shown[name] for name in own} == own
    assert (shown["model"], shown["params"]) == (values["model"], "")


def test_every_parameter_of_a_family_has_a_short_label_and_a_sentence() -> None:
    for param in {param for entry in CONTROLS for param in entry.params}:
        assert len(param.label) <= 40, param.label
        assert param.info or param.label.startswith(("Strength of", "Ignore")), param.name
        assert len(param.info) <= 100, param.info
