"""The names and labels of sd-webui-controlnet in requests."""

import pytest

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.preprocessors import preprocessor
from lib_ctrlgen.request.catalogue import LABELS, MISSING_PREPROCESSORS, preprocessor_names
from lib_ctrlgen.request.spec import parse_request


@pytest.mark.parametrize("name", MISSING_PREPROCESSORS)
def test_what_there_is_not_says_what_to_take(name: str) -> None:
    with pytest.raises(RequestError, match=r"\$\.units\[0\]\.preprocessor: there is no .*: use '") as raised:
        parse_request({"units": [{"model": "a", "image": "b", "preprocessor": name}]})
    assert raised.value.message.split("use '")[1].rstrip("'") in preprocessor_names()
    with pytest.raises(RequestError, match="there is no preprocessor"):
        preprocessor(name)


@pytest.mark.parametrize("label", LABELS)
def test_the_labels_of_sd_webui_controlnet_are_names_too(label: str) -> None:
    name = LABELS[label]
    if name in MISSING_PREPROCESSORS:
        with pytest.raises(RequestError, match="there is no preprocessor"):
            preprocessor(label)
        return
    (unit,) = parse_request({"units": [{"model": "a", "image": "b", "preprocessor": label}]}).units
    assert unit.preprocessor == preprocessor(label).name == name
