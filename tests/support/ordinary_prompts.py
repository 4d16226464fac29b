"""Prompts as people write them, built from patterns.

Each pattern is a habit of published prompts and negative prompts, or another extension's syntax, that holds
colons, signs and numbers. None is a schedule.
"""

import random
from collections.abc import Iterator

# What may stand anywhere, also in brackets, in an AND part and at the end of a prompt.
ANYWHERE: dict[str, tuple[str, ...]] = {
    "photography": (
        "50mm f:1.8", "f/2.8 @ 85mm", "50mm f:1.8 @ ISO 100 portrait", "nikon, 50mm f:1.8 in fog",
        "ISO:400 1/200s", "shot at f:1.4 @ 1/200s", "ratio 16:9", "ratio 16:9, 2 girls in kimono",
        "scale 1:10 model train", "aspect 3:2 in frame", "exposure 1/125 @ f8", "EV:+1.3 in snow", "4:3",
        "clock at 12:30", "12:30 PM @ the old station", "1:1 macro", "35mm>50mm lens swap", "24-70mm @ 2.8",
        "iso: 100 in 2..3 stops", "at 10:15..10:45 in town",
    ),
    "faces": (":3", ":>", ">:3", "=3", ":D", ";3", "^_^", ">_<", ":o", ":=", "x3", "0_0", ":-3", ":p", "@_@",
              ">:3 < :3", "(:3)", "(>:3)", "(=3:1.2)", "(:d:1.1)", "<3", ":<", "o:", "\\m/", "|_|", "=_=",
              ":/"),
    "tags": (
        "1girl", "2boys", "fate/stay night", "re:zero", "re:dive", "ciel (tsukihime)", r"saber \(fate\)",
        "(artist:someone)", "artist:name", "nier:automata", "score_9", "rating:safe", "rating:s in tags",
        "year 2023", "copyright:original", "no.6", "steins;gate", "k-on!", "3:", "spot color", ":/ (face)",
        "character:a=b", "(masterpiece:1.3)", "((best quality))", "[low contrast]", "(a:b)", "lvl:99",
    ),
    "references": ("John 3:16", "Psalm 23:1-6", "Genesis 1:1, 2:4", "Matthew 5:3..12 in a book",
                   "act 2: scene 3", "chapter 7: 4 kings", "page 3: 5 > text"),
    "addresses": (
        "someone@example.org", "mailto:me@10.example", "user1@2host.example", "http://example.org:8080",
        "http://example.org:8080/?a=1&b=2", "https://10.0.0.1:7860/a@2x.png", "ssh://git@example.org:22/x",
        "localhost:7860", "(see http://example.org:80)", "sign: call 555-0100", "@handle", "logo @2x",
        "#tag: 3",
    ),
    "networks": (
        "<lora:style:0.8>", "<lora:some_detail:1>", "<hypernet:x:0.5>", "<lora:a:1:lbw=IN02@0.4>",
        "<lyco:b:te=0.5:unet=1>", "<lora:c:0>0 cats", "<lora:x:0.6:start=0.2:stop=0.8>",
    ),
    "dynamic prompts": ("__animal__", "{red|blue} hat", "{2$$a|b|c}", "{0.5::a|0.5::b}", "${c=!{red|blue}}",
                        "__colour:2=x__", "{1-2$$ and $$a|b}", "(__hair__:1.1)"),
    "prompt editing": (
        "[cat:dog:0.4]", "[a:b:0.4]", "[cat|dog]", "[:fog:10]", "[fog::0.5]", "[a [b:c:0.3]:[d:e:3]:0.6]",
        "[(a:1.2):(b:0.8):0.5]", "[[a|b]:c:2]", "([a:b:0.4]:1.2)", "[a:b:0.3, 0.7]",
    ),
    "prompt fusion": ("[a:b:0.2,0.8:mean]", "[a:b:,:bezier]", "(a:1.5,0.5:4,10)",
                      "[night, day, dusk:0.2, 0.6:catmull]",
                      "$x = (a:1.2)", "(b:$w)"),
    "regional prompter": ("a cat ADDCOL a dog", "sky ADDROW sea", "base ADDBASE left ADDCOL right",
                          "BREAK", "face<e>eyes 2:1;1,1", "1:2;1,2,1"),
    "ratios and weights": ("(cat:1.2)", "(cat: 0.9 )", "(a (b:1.1):0.8)", "(cat:.5)", "(12:30)", "(x:-1)",
                           "(:1.2)", "mix 2:1", "(a, b, c:1.4)", "((x:1.1):1.1)"),
    "negatives": ("(worst quality:1.4)", "(bad hands:1.2), [text]", "lowres, jpeg:1", "blurry:2 in parts",
                  "watermark:0.5, logo", "6 fingers: 5 > normal hand"),
    "escapes": (r"\(a:1@0\)", r"(x\:1>2)", r"\[a:b\]", r"a \: 3 > 2"),
    "other scripts": ("\u732b\uff1a3", "ratio \uff11\uff16:\uff19", "чай 5:00", "café: 2 @ home", "💡:3"),
    "code": ("x = 3: y", "if a: b", "dict{a: 1}", "key=3", "size=512", "a>b", "A -> B: 2", "1>2",
             "v1.5@beta"),
}  # fmt: skip
# What would be a ramp, a keyframe, a window or a name at the end of a bracket or of an AND part, and is text
# outside of these.
ALONE: dict[str, tuple[str, ...]] = {
    "arithmetic": ("math lesson: 3 > 2", "lesson: 2 > 1 > 0", "proof: 3>2", "sum: 1 + 2 = 3", "so: 5 @ 3",
                   "note:x=3", "tip: 10 @ 2, 4 @ 3", "ages: 1 in 2..5", "oil painting :0.2@0, 1@0.6",
                   "rule: 3 > 2 is true"),
    "sad faces": ("sad :( girl", ">:( angry", "crying ;( 3: 2", ":'( tears", "=( bored"),
}  # fmt: skip
WRAPS = ("{}", "({})", "({}:1.2)", "(({}))", "[{}]", "{{{}|x}}", "(a, {} , b:0.8)", "[{}:x:0.4]")
PLAIN_WORDS = (
    "a cat",
    "forest in the rain",
    "oil painting",
    "best quality",
    "a girl in a red dress",
    "night",
)


def texts(kinds: dict[str, tuple[str, ...]]) -> list[str]:
    """All patterns of these kinds."""
    return [text for group in kinds.values() for text in group]


def safe_in_brackets(text: str) -> bool:
    """Whether a pattern in a bracket is still text: no ramp and no `name=number` behind its colon."""
    return all(sign not in text.rpartition(":")[2] for sign in (">", "=", "@", ".."))


def ordinary_prompts(count: int, seed: int = 0) -> Iterator[str]:
    """`count` prompts of one to twelve patterns and words, in the WebUI's manners."""
    draw = random.Random(seed)
    anywhere = texts(ANYWHERE)
    bracketed = [text for text in anywhere if safe_in_brackets(text)]
    for _ in range(count):
        parts = [_pattern(draw, anywhere, bracketed) for _ in range(draw.randint(1, 12))]
        if draw.random() < 0.3:
            parts.append(draw.choice(texts(ALONE)))
            yield draw.choice((", ", " ", ",\n")).join(parts)
        else:
            yield draw.choice((", ", " ", ",\n", " AND a fog :0.5 AND ")).join(parts)


def _pattern(draw: random.Random, anywhere: list[str], bracketed: list[str]) -> str:
    if draw.random() < 0.4:
        return draw.choice(PLAIN_WORDS)
    wrap = draw.choice(WRAPS) if draw.random() < 0.4 else WRAPS[0]
    return wrap.format(draw.choice(anywhere if wrap == WRAPS[0] else bracketed))
