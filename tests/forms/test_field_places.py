"""Every field of the request has a place in the panel, and every field of the panel is one."""

from typing import Any

import pytest

from lib_ctrlgen.forms.blend_fields import BLEND_FIELDS, CONCEPT_FIELDS
from lib_ctrlgen.forms.field_places import CONCEPT_LABELS, PanelValues, label_of_field, place_of
from lib_ctrlgen.forms.param_fields import family_fields
from lib_ctrlgen.forms.param_values import PARAM_VALUES
from lib_ctrlgen.forms.preprocessor_fields import param_fields
from lib_ctrlgen.forms.recipe_places import RECIPE_CHOSEN, RECIPE_LABELS
from lib_ctrlgen.forms.unit_fields import WHOLE_FIELDS, unit_fields
from lib_ctrlgen.request.blend import Blend, Concept
from lib_ctrlgen.request.reference import Reference
from lib_ctrlgen.request.spec import ControlRequest, ControlUnit, GenerationRequest
from tests.support.fake_gradio import Component
from tests.support.fake_webui import FakeWebUI, fresh
from tests.support.shown_params import every_html, shown_params
from tests.support.unit_values import all_params

# Fields of a request that the panel does not have: only converted requests of sd-webui-controlnet have them.
WITHOUT = {"semantics"}
# Fields whose label in the panel goes on from an earlier field's, so that it would not be understood alone.
OTHER_LABELS = {"images", "masks"}


def request_paths() -> list[str]:
    """A path for every field of the request's types."""
    unit = [f"$.units[0].{name}" for name in ControlUnit.__struct_fields__ if name not in WITHOUT]
    unit += [f"$.units[0].references[1].{name}" for name in Reference.__struct_fields__]
    params = [*param_fields().values(), *family_fields().values()]
    unit += [f"$.units[0].params.{name}" for name in ("resolution", *(param.name for _, param in params))]
    blend = [f"$.blend.{name}" for name in Blend.__struct_fields__]
    blend += [f"$.blend.concepts[0].{name}" for name in Concept.__struct_fields__]
    whole = {*ControlRequest.__struct_fields__, *GenerationRequest.__struct_fields__}
    return [*unit, *blend, *(f"$.{name}" for name in whole)]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The labels of the panel's components, and of the parameters that it can show, by element id."""
    from tests.support.fake_webui import served

    with served(FakeWebUI(), tmp_path_factory.mktemp("webui")):
        components = fresh("panel.panel").build_panel("txt2img").components
        tuner = fresh("tuner.script").TunerScript()
        tuner.elem_id = lambda name: f"script_txt2img_ctrlgen_xy_tuner_{name}"
        tuner.ui(is_img2img=False)
        made = {c.elem_id: c.label or c.value for c in Component.made if c.elem_id}
        params = {each.id: each.label for html in every_html() for each in shown_params(html)}
    assert not made.keys() & params.keys()
    return made | {c.elem_id: c.label for c in components} | params


@pytest.mark.parametrize("path", sorted(request_paths()))
def test_every_field_of_a_request_has_its_elements_in_the_panel(built: dict[str, Any], path: str) -> None:
    place = place_of(path)
    assert place.label
    own = [each.replace("{tab}", "txt2img") for each in place.elements if each.startswith("ctrlgen_")]
    assert not [each for each in own if each not in built]
    assert own != ["ctrlgen_txt2img_unit0_panel"], "a field, not the whole unit"
    assert (place.unit == 0) == path.startswith("$.units[0]")


def test_every_field_of_the_panel_is_the_place_of_something() -> None:
    given: list[tuple[str, PanelValues | None]] = [(path, None) for path in request_paths()]
    for owner, param in param_fields().values():
        given.append((f"$.units[0].params.{param.name}", PanelValues({0: {"preprocessor": owner}})))
    places = {element for path, values in given for element in place_of(path, values).elements}
    fields = unit_fields().keys() | all_params().keys()
    wanted = {f"unit0_{name}" for name in fields} | {f"concept0_{name}" for name in CONCEPT_FIELDS}
    wanted |= {f"blend_{name}" for name in BLEND_FIELDS} | set(WHOLE_FIELDS)
    missing = {name for name in wanted if f"ctrlgen_{{tab}}_{name}" not in places}
    # the place of a concept as a whole, and what nobody sees
    assert missing == {"concept0_used", f"unit0_{PARAM_VALUES}"}
    assert place_of("$.blend.concepts[0]").elements == ("ctrlgen_{tab}_concept0_used",)


def test_labels_are_those_of_the_panel(built: dict[str, Any]) -> None:
    """A label that was changed in the panel is changed in forms/field_places.py, too."""
    names = unit_fields().keys() | all_params().keys()
    units = {name: label_of_field(name) for name in names - OTHER_LABELS - {PARAM_VALUES}}
    shown = {f"ctrlgen_txt2img_unit0_{name}": label for name, label in units.items()}
    concepts = {name: label for name, label in CONCEPT_LABELS.items() if name != "painted"}
    shown |= {f"ctrlgen_txt2img_concept0_{name}": label for name, label in concepts.items()}
    paths = {f"blend_{name}": f"$.blend.{name}" for name in BLEND_FIELDS}
    paths |= {name: f"$.{name}" for name in WHOLE_FIELDS}
    shown |= {f"ctrlgen_txt2img_{name}": place_of(path).label for name, path in paths.items()}
    other = {name: (label, built[name]) for name, label in shown.items() if not built[name].startswith(label)}
    assert not other


def test_the_tuners_and_the_recipes_fields_are_places_with_their_labels(built: dict[str, Any]) -> None:
    axes = [f"$.tune.{axis}.{name}" for axis in "xyz" for name in ("path", "values[3]")]
    names = ("seeds", "name", "force", "auto.budget", "auto", "coarse", "recipe", "auto.ranges")
    paths = [*axes, *(f"$.tune.{name}" for name in names), *(f"$.recipe.{name}" for name in RECIPE_LABELS)]
    for path in paths:
        place = place_of(path)
        (element,) = place.elements
        label = built[element.replace("{tab}", "txt2img")]
        assert label.startswith(place.label.rpartition(", ")[2]), path
    assert place_of("$.tune.y.values[2]").label == "Down (Y), Values"
    assert place_of("$.tune").elements == place_of("$.tune.force").elements
    assert {*RECIPE_CHOSEN.values(), "new", "other"} == {*RECIPE_LABELS}


@pytest.mark.parametrize(
    ("path", "unit", "element"),
    [
        ("weight", {}, "weight"),
        ("weight", {"weight": 0.4}, "weight"),
        ("weight", {"weight": 0.4, "weight_schedule": "1>0"}, "weight_schedule"),
        ("image", {}, "image"),
        ("image", {"pose": "{}"}, "pose"),
        ("images[2]", {}, "images"),
        ("params.threshold", {"preprocessor": "threshold"}, "threshold_threshold"),
        ("preprocessor[1].params.low_threshold", {"preprocessor": "invert | canny"}, "canny_low_threshold"),
        ("params.nothing", {}, "params"),
        ("references[0].weight", {}, "reference_weights"),
        ("layer_weights[3]", {}, "layer_weights"),
        ("boxes[1].text", {}, "boxes"),
        ("semantics.resolution", {}, "panel"),
    ],
)
def test_of_several_fields_the_one_that_counts_is_meant(
    path: str, unit: dict[str, Any], element: str
) -> None:
    values = PanelValues(units={3: unit_fields() | unit})
    assert place_of(f"$.units[3].{path}", values).elements[0] == f"ctrlgen_{{tab}}_unit3_{element}"


def test_concepts_are_counted_as_the_panel_does() -> None:
    """A request has only the concepts that are used."""
    panel = ["", "", "", *BLEND_FIELDS.values()]
    for number in range(8):
        panel += (CONCEPT_FIELDS | {"used": number in {1, 4}}).values()
    values = PanelValues.of(panel)
    assert values.concepts == (1, 4)
    place = place_of("$.blend.concepts[1].weight", values)
    assert (place.elements, place.label) == (("ctrlgen_{tab}_concept4_weight",), "Concept 4, Weight")


def test_the_guidance_is_the_panels_field_only_where_it_is_filled() -> None:
    filled = PanelValues(whole={"cfg_scale": "99"})
    assert place_of("$.cfg_scale", filled).elements == ("ctrlgen_{tab}_cfg_scale",)
    assert place_of("$.cfg_scale", PanelValues(whole={"cfg_scale": ""})).elements == ("{tab}_cfg_scale",)
    assert place_of("$.hr_prompt").elements == ("hires_prompt",)
    assert place_of("$").elements == ("ctrlgen_{tab}_panel",)
