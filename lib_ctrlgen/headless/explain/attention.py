"""`explain attention`: where each word of a prompt acts, and where an IP-Adapter does.

Ye et al. 2023, IP-Adapter, section 3.2: the adapter's attention is added to that of the text.
"""

from __future__ import annotations

from PIL import Image
from torch import Tensor

from lib_ctrlgen.controls.protocols import AttentionControl
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.sampling.chunks import chunks_of
from lib_ctrlgen.plots.chart import heat_table
from lib_ctrlgen.plots.figure import Block, Tile, card, heading, note, tile_rows
from lib_ctrlgen.prompts.blended import split_and
from lib_ctrlgen.request.spec import GenerationRequest

from .attention_maps import AttentionMaps
from .figures import Explained, rounded
from .lacking import require
from .pictures import over_picture, picture_url, unit_picture
from .work import Work, observed, prepared

SIDE = 96.0
MOST_WORDS, MOST_TOKENS = 12, 4
IN_A_ROW = 7
PARTS = {"input": "down", "middle": "mid", "output": "up"}


def make(engine: Engine, request: GenerationRequest) -> Explained:
    """The figure for an ordinary prompt and, if the job has them, its IP-Adapters. Raises RequestError."""
    require(request.blend is None, "attention", "$.blend", "a job without a blend")
    with prepared(engine, request) as work:
        words = words_of(work)
        maps = AttentionMaps(size=(request.height // 8, request.width // 8))
        final = work.decoded(observed(work, maps)[:1])[0]
        reference = [each for each in work.units if isinstance(each.control, AttentionControl)]
        shown = [unit_picture(each.spec.image, each.image_at) for each in reference if each.spec.image]
    read = maps.words / maps.count
    numbers = {
        "words": {f"{text} {places[0]}": float(read[list(places)].sum(0).mean()) for text, places in words},
        "start_token": float(read[0].mean()),
        "behind_the_words": float(read[last_place(words) + 1 :].sum(0).mean()),
        "adapter_against_text": by_transformer(maps),
    }
    blocks = [
        heading("Where the words of the prompt are read"),
        tile_rows(grid(word_tiles(final, read, words)), SIDE),
        note("red: much attention to the word, over the finished picture; each map has its own scale"),
    ]
    if maps.tokens:
        blocks += adapter_blocks(final, shown[:1], maps)
    return Explained(svg=card("cross attention", blocks), numbers=rounded(numbers))


def words_of(work: Work) -> list[tuple[str, tuple[int, ...]]]:
    """The words of the prompt's first chunk, each with the places of its tokens. Raises RequestError."""
    prompts = work.batch.prompts[0]
    text = prompts.positive[0].at(0.0, prompts.named)
    require(len(split_and(text)) == 1, "attention", "$.prompt", "a prompt without AND")
    tokenizer = work.networks.tokenizer
    ids = chunks_of(text, tokenizer)[0].ids
    tokens: list[str] = tokenizer.convert_ids_to_tokens(list(ids[1 : ids.index(tokenizer.eos_token_id)]))
    found: list[tuple[str, tuple[int, ...]]] = []
    first = 0
    for place, token in enumerate(tokens):
        if token.endswith("</w>"):
            word = "".join(tokens[first : place + 1]).replace("</w>", "")
            found.append((word, tuple(range(first + 1, place + 2))))
            first = place + 1
    require(bool(found), "attention", "$.prompt", "a prompt")
    return found


def last_place(words: list[tuple[str, tuple[int, ...]]]) -> int:
    """The place of the last token of the prompt's words."""
    return words[-1][1][-1]


def word_tiles(final: Image.Image, read: Tensor, words: list[tuple[str, tuple[int, ...]]]) -> list[Tile]:
    """The finished picture, and where each of the first words is read."""
    tiles = [Tile(url=picture_url(final), caption="the picture")]
    for text, places in words[:MOST_WORDS]:
        tiles.append(Tile(url=over_picture(read[list(places)].sum(0), final), caption=text))
    return tiles


def grid(tiles: list[Tile]) -> list[tuple[str, list[Tile]]]:
    """Tiles in rows of seven."""
    return [("", tiles[k : k + IN_A_ROW]) for k in range(0, len(tiles), IN_A_ROW)]


def adapter_blocks(final: Image.Image, shown: list[Image.Image], maps: AttentionMaps) -> list[Block]:
    """Where the reference picture acts: all of it, its first tokens, and how much by layer and call."""
    tiles = [Tile(url=picture_url(each), caption="reference") for each in shown]
    tiles.append(Tile(url=over_picture(maps.added, final), caption="all it adds"))
    for found in list(maps.tokens.values())[:1]:
        for number, token in enumerate(found[:MOST_TOKENS]):
            tiles.append(Tile(url=over_picture(token, final), caption=f"token {number}"))
    layers = by_transformer(maps)
    return [
        heading("Where the reference picture acts, and where each of its tokens is read"),
        tile_rows([("", tiles)], SIDE),
        heading("How large the reference's part is, relative to that of the text"),
        heat_table(list(layers.values()), list(layers), "U-Net call", width=620),
    ]


def by_transformer(maps: AttentionMaps) -> dict[str, list[float]]:
    """The share of the reference in each call, by transformer in running order: the mean of its layers."""
    found: dict[str, list[float]] = {}
    for number, part in sorted(set(maps.places)):
        own = [k for k, place in enumerate(maps.places) if place == (number, part)]
        found[f"{PARTS[part]} {number}"] = [sum(row[k] for k in own) / len(own) for row in maps.shares]
    return found
