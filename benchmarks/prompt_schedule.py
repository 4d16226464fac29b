"""What a scheduled prompt costs, against one prompt edit per step.

Ours: each text goes through the text encoder once, and its weights act on what comes out. The
other side encodes the ordinary prompt of every step, as `(x:w0,w1)` expansions into prompt editing
do. SD1.5's text encoder at full size with random weights; the small one of the same kind with
`--quick`. Both sides are interleaved, and their conditioning is compared at every step.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import torch
from _harness import Result, at_most, effort, finish, paired, parser
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from lib_ctrlgen.headless.checkpoints.text_encoder import CLIP, PUBLISHED, TextEncoder, read_tokenizer
from lib_ctrlgen.headless.sampling.prompt_encoder import PromptEncoder
from lib_ctrlgen.models.bundled import tiny_folder
from lib_ctrlgen.prompts.scheduled import Prompt, parse_prompt

STEPS = 20
PROMPTS = (
    "(blurry:1@0 hold, 1.4@0.5), [low quality]",
    "a street at night, (neon sign:1.4@0, 1@0.5, 0.6@1), (fog:0.2>1.3), ((rain:1.5>1) deep:1.1)",
)
SMALL = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}


@dataclass(frozen=True)
class Sides:
    """Both ways to the conditioning of every step."""

    prompts: tuple[Prompt, ...]
    encoder: PromptEncoder

    def fresh(self) -> PromptEncoder:
        """An encoder that has seen nothing."""
        return PromptEncoder(text_encoders=self.encoder.text_encoders)

    def texts(self, step: int) -> list[str]:
        """The ordinary prompts of a step."""
        return [prompt.at(step / STEPS) for prompt in self.prompts]

    def ours(self) -> tuple[list[Tensor], int]:
        """Every step's conditioning, and how often the text encoder ran."""
        encoder = self.fresh()
        made = [text.states for step in range(STEPS) for text in encoder.encode(self.texts(step))]
        return made, encoder.calls

    def edits(self) -> tuple[list[Tensor], int]:
        """The same, each step's prompts encoded anew."""
        encoders = [self.fresh() for _ in range(STEPS)]
        made = [text.states for step in range(STEPS) for text in encoders[step].encode(self.texts(step))]
        return made, sum(encoder.calls for encoder in encoders)


def text_encoder(*, small: bool) -> CLIPTextModel:
    """CLIP's text text_encoder with random weights; its last layer norm has a bias, as trained ones have."""
    torch.manual_seed(0)
    model = CLIPTextModel(CLIPTextConfig(**{**PUBLISHED[CLIP]} | (SMALL if small else {}))).eval()
    for name, bias in model.named_parameters():
        if name.endswith("final_layer_norm.bias"):
            torch.nn.init.normal_(bias, 0.1, 0.1)
    return model.requires_grad_(False)


def main(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit code."""
    tokenizer = read_tokenizer(tiny_folder() / "text")
    clip = TextEncoder(
        tokenizer=tokenizer,
        encoder=text_encoder(small=options.quick or options.smoke),
        pad=tokenizer.pad_token_id,
    )
    encoder = PromptEncoder(text_encoders=(clip,))
    sides = Sides(tuple(map(parse_prompt, PROMPTS)), encoder)
    (ours, calls), (edits, edit_calls) = sides.ours(), sides.edits()
    timing = paired(sides.ours, sides.edits, pairs=effort(options, smoke=1, quick=3, full=9))
    figures = {
        "encodes_per_text": calls / len(PROMPTS),
        "encodes_per_text_edits": edit_calls / len(PROMPTS),
        "largest_difference": max(float((a - b).abs().max()) for a, b in zip(ours, edits, strict=True)),
        "time_ratio": timing.ratio,
    }
    limits = {"encodes_per_text": at_most(1), "largest_difference": at_most(1e-6), "time_ratio": at_most(0.5)}
    return finish(Result("prompt_schedule", figures, limits, {"time_ratio": timing.error}), options)


if __name__ == "__main__":
    sys.exit(main(parser(__doc__ or "").parse_args()))
