"""Finds texts for people in HTML, in scripts and in Python's source. `{}` stands for what is filled in."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser

PLACE = re.compile(r"\{(?!prompt\})[^{}]*\}")  # {prompt} is what a user writes in a concept
NUMBERED = re.compile(r"^(Unit|Concept|Box|Person|Animal) \d+")
OF_UNIT = re.compile(r"\bof unit \d+")
WORD = re.compile(r"[A-Za-z]{2,}")
PROSE = re.compile(r"[\w\s.,:;'\"!?()%/+&|@>=\[\]{}*\-\u2013\u2026\u00b7\u2019\u00d7<]+")
CODE = re.compile(
    r"ctrlgen|=>|[a-z]\w*\.\w+\(|^\w+\(|&[a-z]+;|:not|\w=\"|\baria-|^application/|^M |^M\{|\w\["
    r"|\[[a-z]+[\]-]|^\.\w|:(is|checked)|^(img|textarea|input|button), |_\{\}|\{\}_"
    r"|\w\.(pth?|safetensors)$|Arrow(Left|Right)|^[\d.]+@"
)
KEYS = frozenset({"Backspace", "Enter", "Escape", "Ctrl+Y", "Ctrl+Z", "track active", "CtrlGen marks"})
LISTED = re.compile(r"[a-z ]+(,[a-z ]+){4,}")  # names in one string of a script


def template(text: str) -> str:
    """A text with `{}` in the place of numbers that count units and concepts."""
    return OF_UNIT.sub("of unit {}", NUMBERED.sub(r"\1 {}", text.strip()))


def is_words(text: str) -> bool:
    """Whether a text is for people: it begins with a capital letter, or has two words and no code in it."""
    words = WORD.findall(text.replace("{}", " "))
    if not words or text in KEYS or CODE.search(text) or not PROSE.fullmatch(text):
        return False
    if re.match(r"[({]*\}? ?[A-Z][a-z]", text) or re.fullmatch(r"[a-z]{4,} \{\}", text):
        return True
    return len(words) > 1 and " " in text


class Texts(HTMLParser):
    """The texts in a piece of HTML: what stands in it, and what is shown beside the pointer."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        """Keep a text."""
        self.found.append(template(data))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep titles, labels and placeholders, and the texts of `data-texts` and `data-choices`."""
        del tag
        for name, value in attrs:
            if name in ("title", "placeholder", "aria-label"):
                self.found.append(template(value or ""))
            elif name in ("data-texts", "data-choices"):
                self.found += leaves(json.loads(value or "{}"))


def leaves(value: object) -> list[str]:
    """The texts in a JSON value. In a list only the last one is a sentence."""
    if isinstance(value, dict):
        return [text for each in value.values() for text in leaves(each)]
    return leaves(value[-1]) if isinstance(value, list) and value else [str(value)]


def html_texts(source: str) -> list[str]:
    """The texts in a piece of HTML, or the text itself if it has no tags."""
    if "<" not in source:
        return [template(source)]
    parser = Texts()
    parser.feed(source)
    parser.close()
    return [text for text in parser.found if text]


def python_texts(source: str) -> Iterator[str]:
    """The sentences in Python's source that are not docstrings."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    skipped = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented)
               and node.body and isinstance(node.body[0], ast.Expr)}  # fmt: skip
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in skipped or id(node) in inner:
            continue
        text = joined(node)
        for each in html_texts(text) if "<" in text else [text]:
            words = PLACE.sub("{}", each).strip()
            if is_sentence(words):
                yield words


def joined(node: ast.AST) -> str:
    """The text of a constant or of an f-string."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    parts = node.values if isinstance(node, ast.JoinedStr) else []
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)


def is_sentence(text: str) -> bool:
    """Whether a text is a whole sentence."""
    return bool(re.match(r"(\{\} )?[A-Z]", text)) and " " in text and text[-1:] in ".!?:" and is_words(text)


def script_texts(source: str) -> Iterator[str]:
    """The texts in JavaScript: strings and templates, joined where `+` stands between two of them."""
    tokens = list(script_tokens(source))
    whole: str | None = None
    for place, (kind, text) in enumerate(tokens):
        if kind == "text":
            plus = place >= 2 and tokens[place - 1] == ("code", "+") and tokens[place - 2][0] == "text"
            if whole is not None and not plus:
                yield from shown_in(whole)
                whole = None
            whole = (whole or "") + text
    yield from shown_in(whole or "")


def shown_in(text: str) -> Iterator[str]:
    """The texts of a string of a script, which may be HTML."""
    for each in html_texts(text) if re.search(r"<\w", text) else [text]:
        words = re.sub(r"\s+", " ", each).strip()
        names = words.split(",") if LISTED.fullmatch(words) else [words]
        yield from names if len(names) > 1 else filter(is_words, names)


TOKEN = re.compile(
    r"//[^\n]*|/\*.*?\*/|(?<=[(,=:\[!&|?{};\n])\s*/(?![*/])(?:\\.|\[(?:\\.|[^\]\\])*\]|[^/\\\n\[])+/[a-z]*"
    r"|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|`|\s+|.",
    re.DOTALL,
)


def script_tokens(source: str) -> Iterator[tuple[str, str]]:
    """The strings of a script as `text`, every other character as `code`."""
    place = 0
    while place < len(source):
        found = TOKEN.match(source, place)
        piece = found.group() if found else source[place]
        place += len(piece)
        if piece == "`":
            text, inner, place = script_template(source, place)
            yield from inner
            yield "text", text
        elif piece[0] in "\"'" and len(piece) > 1:
            yield "text", unescaped(piece[1:-1])
        elif not piece.isspace() and not piece.startswith(("//", "/*")) and len(piece) == 1:
            yield "code", piece


def script_template(source: str, place: int) -> tuple[str, list[tuple[str, str]], int]:
    """The text of a template that begins before `place`, the tokens inside it, and where it ends."""
    text, inner = "", []
    while source[place] != "`":
        if source.startswith("${", place):
            end = closing(source, place + 2)
            inner += [*script_tokens(source[place + 2 : end]), ("code", ";")]
            text, place = f"{text}{{}}", end + 1
        else:
            size = 2 if source[place] == "\\" else 1
            text, place = text + source[place : place + size], place + size
    return unescaped(text), inner, place + 1


def closing(source: str, place: int) -> int:
    """Where the brace closes that was opened before `place`."""
    depth = 0
    while depth or source[place] != "}":
        if source[place] == "`":
            place = script_template(source, place + 1)[2]
            continue
        depth += {"{": 1, "}": -1}.get(source[place], 0)
        place += 1
    return place


def unescaped(text: str) -> str:
    """A string's characters: of escapes only those that texts have."""
    coded = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found.group(1), 16)), text)
    return coded.replace(r"\n", "\n").replace(r"\"", '"').replace(r"\'", "'").replace("\\", "")
