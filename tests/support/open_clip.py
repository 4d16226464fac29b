"""A text encoder under OpenCLIP's names, as SD2's and SDXL's checkpoints hold it."""

from typing import Any

import torch
from torch import Tensor, nn

OPEN_NAMES = (
    ("encoder.layers.", "transformer.resblocks."),
    ("layer_norm1", "ln_1"),
    ("layer_norm2", "ln_2"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
    ("self_attn.", "attn."),
    ("final_layer_norm", "ln_final"),
    ("embeddings.token_embedding", "token_embedding"),
    ("embeddings.position_embedding.weight", "positional_embedding"),
)


def to_open_clip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A text tower of transformers under OpenCLIP's names."""
    found: dict[str, Tensor] = {}
    joined: dict[str, list[Tensor]] = {}
    for key, value in state.items():
        name = key.removeprefix("text_model.")
        for ours, theirs in OPEN_NAMES:
            name = name.replace(ours, theirs)
        if name == "text_projection.weight":
            found["text_projection"] = value.T
        elif any(f".{part}_proj." in name for part in "qkv"):  # in this order
            stem, leaf = name.rsplit(".", 1)
            joined.setdefault(f"{stem.rsplit('.', 1)[0]}.in_proj_{leaf}", []).append(part_of(name, value))
        elif "position_ids" not in name:
            found[name] = value
    ordered = {key: torch.cat([value for _, value in sorted(parts)]) for key, parts in joined.items()}
    return found | ordered


def part_of(name: str, value: Tensor) -> Any:
    return "qkv".index(name.rsplit(".", 2)[1][0]), value


class OpenClip(nn.Module):
    """OpenCLIP's text transformer, written out with torch's attention."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width = config["hidden_size"]
        self.heads = config["num_attention_heads"]
        self.token_embedding = nn.Embedding(config["vocab_size"], width)
        self.positional_embedding = nn.Parameter(torch.zeros(77, width))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.zeros(width, config["projection_dim"]))
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(
            self.block(width, config["intermediate_size"]) for _ in range(config["num_hidden_layers"])
        )

    def block(self, width: int, inner: int) -> nn.Module:
        found = nn.Module()
        found.ln_1, found.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        found.attn = nn.MultiheadAttention(width, self.heads, batch_first=True)
        found.mlp = nn.Module()
        found.mlp.c_fc, found.mlp.c_proj = nn.Linear(width, inner), nn.Linear(inner, width)
        return found

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The states before the last layer, these normed, and the projected state of the end."""
        x = self.token_embedding(ids) + self.positional_embedding
        mask = torch.full((77, 77), float("-inf")).triu(1)
        states = [x]
        for block in self.transformer.resblocks:
            y = block.ln_1(x)
            x = x + block.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
            x = x + block.mlp.c_proj(nn.functional.gelu(block.mlp.c_fc(block.ln_2(x))))
            states.append(x)
        pooled = self.ln_final(x)[torch.arange(len(x)), ids.argmax(1)] @ self.text_projection
        return states[-2], self.ln_final(states[-2]), pooled
