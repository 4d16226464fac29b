"""Lists the texts of the panel, the tuner, the settings and the scripts, and updates localizations/.

`python tools/ui_texts.py` adds missing texts to each language with an empty translation and removes those
that are not used any more; with `--check` it changes nothing, and exits with 1 if a language is not complete.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a program, without the package installed

from lib_ctrlgen.forms.kinds import KINDS  # noqa: E402
from lib_ctrlgen.forms.param_fields import family_fields  # noqa: E402
from lib_ctrlgen.forms.preprocessor_fields import param_fields  # noqa: E402
from tests.support.fake_gradio import Component  # noqa: E402
from tests.support.fake_webui import FakeWebUI, fresh, served  # noqa: E402
from tests.support.text_sources import html_texts, is_words, python_texts, script_texts, template  # noqa: E402

FOLDER = ROOT / "localizations"
LANGUAGES = ("zh_CN", "ja_JP", "de_DE")
PANELS = ("panel/*.py", "tuner/*.py", "training/tab*.py")
MESSAGES = ("lib_ctrlgen/forms/advice.py", *(f"lib_ctrlgen/webui/{name}" for name in PANELS))
TABS = ("txt2img", "img2img")


def texts() -> list[str]:
    """Every text that is shown, once, sorted; `{}` stands for what is filled in."""
    with TemporaryDirectory() as folder:
        shown = set(built_texts(Path(folder)))
    names: set[str] = set()
    for file in sorted((ROOT / "javascript").rglob("*.js")):
        names |= set(script_texts(file.read_text("utf-8")))
    shown |= names
    for pattern in MESSAGES:
        for file in sorted(ROOT.glob(pattern)):
            shown |= set(python_texts(file.read_text("utf-8")))
    return sorted(text for text in shown if is_words(text) or text in names)


def built_texts(folder: Path) -> Iterator[str]:
    """The texts of the built panels, of the tuner's fields and of the settings, on the fake host."""
    with served(FakeWebUI(), folder) as host:
        Component.made = []
        for tab in TABS:
            fresh("panel.panel").build_panel(tab)
        tuner = fresh("tuner.script").TunerScript()
        tuner.elem_id = str
        tuner.ui(is_img2img=False)
        fresh("training.tab").build_tab()
        for component in Component.made:
            yield from component_texts(component.value, component.options)
        yield from (kind.label for kind in KINDS.values())  # with other models than there are here
        yield from param_texts()
        fresh("settings").register_settings()
        for option in host.opts.data_labels.values():
            yield from setting_texts(option)


def param_texts() -> Iterator[str]:
    """The texts of the fields of parameters, which are no components: the server sends them."""
    for _, param in (*param_fields().values(), *family_fields().values()):
        yield param.label.partition(": ")[0]
        yield param.info or param.label
        yield from choice_texts(param.choices)


def component_texts(value: Any, options: Mapping[str, Any]) -> Iterator[str]:
    """The texts of a component: its label, explanation, placeholder and choices, or its title."""
    if options.get("label") == "request" or "ctrlgen-hidden" in str(options.get("elem_classes", "")):
        return
    for name in ("label", "info", "placeholder"):
        yield template(str(options.get(name) or ""))
    yield from choice_texts(options.get("choices"))
    is_title = isinstance(value, str) and "label" not in options and options.get("choices") is None
    if is_title:
        yield from html_texts(value)


def choice_texts(choices: Any) -> Iterator[str]:
    """The titles of choices; names such as `canny` are left out."""
    for choice in choices or ():
        title = choice[0] if isinstance(choice, tuple) else str(choice)
        if title != title.lower():
            yield template(title)


def setting_texts(option: Any) -> Iterator[str]:
    """The label of a setting and its explanation, which the WebUI shows in brackets."""
    yield from html_texts(option.label)
    if option.explanation:
        yield f"({option.explanation})"
    yield from choice_texts(option.component_args.get("choices"))


def read(language: str) -> dict[str, str]:
    """The translations of a language by their text."""
    file = FOLDER / f"{language}.json"
    return json.loads(file.read_text("utf-8")) if file.exists() else {}


def differences(language: str, shown: list[str]) -> list[str]:
    """What a language lacks, and what it has for nothing."""
    known = read(language)
    missing = [f"{language}: no translation of {text!r}" for text in shown if not known.get(text)]
    places = [
        f"{language}: other places in the translation of {text!r}"
        for text, words in known.items()
        if words and not filled(words) <= set(range(text.count("{}")))
    ]
    return [
        *missing,
        *places,
        *(f"{language}: no such text {text!r}" for text in sorted({*known} - {*shown})),
    ]


def filled(words: str) -> set[int]:
    """The places that a translation fills: {} or {0}, {1}, ... in any order."""
    pieces = [piece.split("}")[0] for piece in words.split("{")[1:] if "}" in piece]
    return {
        int(piece) if piece else place for place, piece in enumerate(pieces) if piece == "" or piece.isdigit()
    }


def write(language: str, shown: list[str], given: Mapping[str, str]) -> None:
    """Write a language's file: all texts, with the translations that there are."""
    known = {**read(language), **given}
    FOLDER.mkdir(exist_ok=True)
    content = json.dumps({text: known.get(text, "") for text in shown}, ensure_ascii=False, indent=1)
    (FOLDER / f"{language}.json").write_text(content + "\n", "utf-8")


def main() -> int:
    """Update the languages, or check them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if not complete")
    parser.add_argument("--list", action="store_true", help="print the texts, and change nothing")
    given, shown = parser.parse_args(), texts()
    if given.list:
        sys.stdout.write("\n".join(shown) + "\n")
        return 0
    if not given.check:
        for language in LANGUAGES:
            write(language, shown, {})
    wrong = [line for language in LANGUAGES for line in differences(language, shown)]
    sys.stderr.writelines(f"{line}\n" for line in wrong)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
