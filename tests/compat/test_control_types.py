"""The lists that sd-webui-controlnet answers with."""

import json

import pytest

from lib_ctrlgen.compat.control_types import control_types, module_answer, select
from lib_ctrlgen.compat.module_list import module_named, require_here
from lib_ctrlgen.errors import RequestError

MODELS = [
    "control_sd15_canny [fef5e48e]",
    "control_v11p_sd15_canny [d14c016b]",
    "diffusers_xl_canny_full [2b69fca4]",
    "ip-adapter_sd15 [6a3f6166]",
    "t2iadapter_sketch [aa0acb3b]",
    "xinsir_union [00000000]",
]


def test_a_control_type_has_the_models_whose_names_fit() -> None:
    found = control_types(MODELS)
    assert list(found)[:3] == ["All", "Canny", "Depth"]
    assert len(found) == 21
    assert found["All"]["model_list"] == ["None", *MODELS]
    assert found["All"]["default_option"] == "none"
    canny = found["Canny"]
    assert canny["module_list"] == ["none", "canny", "invert (from white bg & black line)"]
    assert canny["model_list"] == ["None", *MODELS[:3], MODELS[5]]
    assert (canny["default_option"], canny["default_model"]) == ("canny", MODELS[1])
    assert found["Scribble"]["model_list"] == ["None", MODELS[4], MODELS[5]]
    assert found["IP-Adapter"]["default_model"] == MODELS[3]
    assert select("Revision", ["None", *MODELS])["default_model"] == "None"


def test_the_list_of_preprocessors_has_the_sliders_of_each() -> None:
    names, by_label = module_answer(labels=False), module_answer(labels=True)
    assert names["module_list"][:3] == ["none", "ip-adapter-auto", "tile_resample"]
    assert by_label["module_list"][3] == "softedge_pidinet"
    assert list(names["module_detail"]) == names["module_list"]
    mlsd = names["module_detail"]["mlsd"]["sliders"]
    assert [each["name"] for each in mlsd] == [
        "Resolution",
        "MLSD Value Threshold",
        "MLSD Distance Threshold",
    ]
    assert mlsd[2] == {
        "name": "MLSD Distance Threshold",
        "value": 0.1,
        "min": 0.01,
        "max": 20.0,
        "step": 0.01,
    }
    assert names["module_detail"]["invert"] == {"model_free": False, "sliders": []}
    assert names["module_detail"]["reference_only"]["model_free"] is True
    json.dumps([names, by_label], allow_nan=False)


def test_a_preprocessor_that_ctrlgen_lacks_is_refused_with_what_to_do() -> None:
    with pytest.raises(RequestError, match="depth_anything_v2"):
        require_here(module_named("depth_hand_refiner", "$"), "$")
    for name in ("canny", "ip-adapter_clip_sd15", "reference_only", "none"):
        require_here(module_named(name, "$"), "$")
