"""Every text of the panel, the tuner, the settings and the scripts is translated, and nothing else."""

import pytest

from lib_ctrlgen.forms.param_html import params_html
from tests.support.shown_params import shown_params
from tests.support.text_sources import html_texts, is_words, python_texts, script_texts
from tests.support.unit_values import all_params
from tools import ui_texts


@pytest.fixture(scope="module")
def shown() -> list[str]:
    return ui_texts.texts()


@pytest.mark.parametrize("language", ui_texts.LANGUAGES)
def test_a_language_has_every_text_and_no_other(shown: list[str], language: str) -> None:
    assert ui_texts.differences(language, shown) == []


def test_texts_of_all_sources_are_found(shown: list[str]) -> None:
    assert {
        "Enable",
        "Across (X): what varies",
        "Units in the panel",
        "Ramp up",
        "How strongly the unit acts",
    } <= {*shown}
    assert "This unit has a picture but is off." in shown, "a message of Python"
    assert "Unit {} was removed: Undo brings it back." in shown, "a message of a script"


def test_every_label_explanation_and_choice_of_a_parameter_is_found(shown: list[str]) -> None:
    """The server sends them when a preprocessor or a model is chosen: they are no components of the panel."""
    wanted: set[str] = set()
    for name, param in all_params().items():
        (field,) = shown_params(params_html({name: param}, {}, "ctrlgen_"))
        titles = [text for _, text in field.options if text != text.lower()]
        wanted |= {text for text in (field.label, field.title, field.info, *titles) if is_words(text)}
    assert {"Canny low threshold", "Weight type", "Draw hands", "Field of view (degrees)"} <= wanted
    assert len(wanted) > 100
    assert wanted <= {*shown}


def test_a_missing_text_and_a_wrong_place_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui_texts, "read", lambda _language: {"Step {}": "Schritt {1}", "Old": "Alt"})
    told = "\n".join(ui_texts.differences("de_DE", ["New", "Step {}"]))
    assert "no translation of 'New'" in told
    assert "no such text 'Old'" in told
    assert "other places in the translation of 'Step {}'" in told


def test_sources() -> None:
    script = """
    // Not this text.
    const a = "Two words " + "joined", b = `At ${place ? `${x} of` : "Some text"} steps.`;
    const c = /Not this one/.test("input:checked"), d = '<b title="Its title">Bold text</b>';
    """
    assert set(script_texts(script)) == {
        "Two words joined",
        "At {} steps.",
        "Some text",
        "Its title",
        "Bold text",
    }
    assert list(python_texts('"""A docstring."""\ntext = f"The unit {n} is off."\nname = "unit_off"')) == [
        "The unit {} is off."
    ]
    assert html_texts('<p data-choices=\'{"a": ["1", "What it does"]}\'>Unit 3</p>') == [
        "What it does",
        "Unit {}",
    ]
