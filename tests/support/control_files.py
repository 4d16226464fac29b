"""Random tiny networks, and control files in the published layouts."""

import functools
import json
import random
import re
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, T2IAdapter, UNet2DConditionModel
from diffusers.models.embeddings import ImageProjection, IPAdapterPlusImageProjection
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.unet.call import CallInputs, Position, Rows, UNetCall, UNetShape
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet

CONTEXT = 64
UNET: dict[str, Any] = {
    "block_out_channels": (32, 64, 96, 96),
    "cross_attention_dim": CONTEXT,
    "attention_head_dim": 4,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}


def random_weights(module: nn.Module, seed: int = 0) -> Any:
    """Fill a module with small random weights, zero convolutions included."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.08
    return module.eval().requires_grad_(False)


def unet(**config: Any) -> Any:
    return random_weights(UNet2DConditionModel(**{**UNET, **config}))


def shape(**config: Any) -> UNetShape:
    """The shape of `unet(**config)`; computed once for each configuration."""
    return _shape(tuple(sorted(config.items())))


@functools.cache
def _shape(config: tuple[tuple[str, Any], ...]) -> UNetShape:
    return DiffusersUNet(UNet2DConditionModel(**{**UNET, **dict(config)})).shape


@functools.cache
def controlnet_tensors(seed: int = 1) -> dict[str, Tensor]:
    """The tensors of `controlnet(seed)`, to be written into files; no caller changes them."""
    return dict(controlnet(seed).state_dict())


def controlnet(seed: int = 1, **config: Any) -> Any:
    return random_weights(ControlNetModel.from_unet(UNet2DConditionModel(**{**UNET, **config})), seed)


T2I: dict[str, dict[str, Any]] = {
    "full": {"adapter_type": "full_adapter", "channels": [32, 64, 96, 96], "num_res_blocks": 2},
    "light": {"adapter_type": "light_adapter", "channels": [32, 64, 96], "num_res_blocks": 4},
    "xl": {
        "adapter_type": "full_adapter_xl",
        "channels": [32, 64, 128, 128],
        "num_res_blocks": 2,
        "downscale_factor": 16,
    },
}


def t2i_adapter(kind: str = "full", seed: int = 1, **config: Any) -> Any:
    """A T2I-Adapter for `unet`; `xl` is for one with three levels, the first without text."""
    return random_weights(T2IAdapter(**{**T2I[kind], **config}), seed)


def to_original(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A diffusers T2I-Adapter under TencentARC's names."""
    full = "adapter.conv_in.weight" in tensors
    return {original_name(key, full=full): value for key, value in tensors.items()}


def original_name(key: str, *, full: bool) -> str:
    parts = key.split(".")[1:]
    if "resnets" in parts and full:
        return f"body.{2 * int(parts[1]) + int(parts[3])}." + ".".join(parts[4:])
    if "in_conv" in parts and full:
        return f"body.{2 * int(parts[1])}." + ".".join(parts[2:])
    return ".".join("body" if part == "resnets" else part for part in parts)


def call(rows: int = 2, height: int = 8, width: int = 8, context: int = CONTEXT) -> UNetCall:
    generator = torch.Generator().manual_seed(rows * height * width)
    inputs = CallInputs(
        x=torch.randn(rows, 4, height, width, generator=generator),
        timestep=torch.full((rows,), 7),
        context=torch.randn(rows, 5, context, generator=generator),
    )
    cond = tuple(row % 2 == 1 for row in range(rows))
    return UNetCall(inputs=inputs, position=Position(0, 4, Rows(cond, tuple(range(rows)))))


def picture(width: int = 64, height: int = 64, seed: int = 0) -> Image.Image:
    """A smooth random picture."""
    noise = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 255
    small = Image.fromarray(noise.permute(1, 2, 0).to(torch.uint8).numpy())
    return small.resize((width, height), Image.Resampling.BICUBIC)


def drawn_url(size: int = 64) -> str:
    """A picture with outlines: a light square on a dark ground."""
    drawn = Image.new("RGB", (size, size), (20, 20, 60))
    drawn.paste((230, 210, 90), (size // 4, size // 4, 3 * size // 4, 3 * size // 4))
    return encode_image(drawn)


def blocks_url(size: int = 64, seed: int = 0) -> str:
    """A picture of random colours in blocks of a quarter of its side: one that has edges."""
    noise = torch.rand(4, 4, 3, generator=torch.Generator().manual_seed(seed)) * 255
    return encode_image(
        Image.fromarray(noise.to(torch.uint8).numpy()).resize((size, size), Image.Resampling.NEAREST)
    )


def data_url(width: int = 64, height: int = 64, seed: int = 0) -> str:
    return encode_image(picture(width, height, seed))


def to_ldm(tensors: dict[str, Tensor], layers: int = 2) -> dict[str, Tensor]:
    """A diffusers ControlNet under its ldm names."""
    return {key if key.startswith(UNION) else ldm_name(key, layers): value for key, value in tensors.items()}


RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
PLAIN = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "controlnet_mid_block": "middle_block_out.0",
    "controlnet_cond_embedding.conv_in": "input_hint_block.0",
    "controlnet_cond_embedding.conv_out": "input_hint_block.14",
}


UNION = ("task_embedding", "transformer_layes.", "spatial_ch_projs.", "control_add_embedding.")


def ldm_name(key: str, layers: int) -> str:
    name, _, leaf = key.rpartition(".")
    if name in PLAIN:
        return f"{PLAIN[name]}.{leaf}"
    if match := re.fullmatch(r"controlnet_down_blocks\.(\d+)", name):
        return f"zero_convs.{match[1]}.0.{leaf}"
    if match := re.fullmatch(r"controlnet_cond_embedding\.blocks\.(\d+)", name):
        return f"input_hint_block.{2 * int(match[1]) + 2}.{leaf}"
    if match := re.fullmatch(r"down_blocks\.(\d+)\.downsamplers\.0\.conv", name):
        return f"input_blocks.{(layers + 1) * (int(match[1]) + 1)}.0.op.{leaf}"
    if match := re.fullmatch(r"down_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.*)", key):
        number = (layers + 1) * int(match[1]) + int(match[3]) + 1
        return f"input_blocks.{number}.{_inside(match[2], match[4])}"
    match = re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.*)", key)
    assert match, key
    number = 2 * int(match[2]) + (match[1] == "attentions")
    return f"middle_block.{number}.{_inside(match[1], match[3]).partition('.')[2]}"


def _inside(part: str, rest: str) -> str:
    if part == "attentions":
        return f"1.{rest}"
    name, _, leaf = rest.partition(".")
    return f"0.{RESNET[name]}.{leaf}"


def save_vision(folder: Path, hidden: int = 48, projection: int = 40, seed: int = 3) -> Any:
    """A vision tower as a transformers folder in the old format; returns the network."""
    config = {
        "hidden_size": hidden,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 8,
        "projection_dim": projection,
    }
    network = random_weights(CLIPVisionModelWithProjection(CLIPVisionConfig(**config)), seed)
    folder.mkdir(parents=True)
    tensors = {k: v.contiguous() for k, v in network.state_dict().items() if "position_ids" not in k}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "clip_vision_model", **config}))
    return network


def plain_projection(width: int = 40) -> tuple[Any, dict[str, Tensor]]:
    """diffusers' module, and its tensors under the names of an IP-Adapter file."""
    module = random_weights(ImageProjection(width, CONTEXT, 4), 4)
    return module, {k.replace("image_embeds.", "proj."): v for k, v in module.state_dict().items()}


def plus_projection(width: int = 48) -> tuple[Any, dict[str, Tensor]]:
    """The resampler of plus, and its tensors under the names of the official files."""
    module = random_weights(IPAdapterPlusImageProjection(width, CONTEXT, 128, heads=2, num_queries=6), 5)
    tensors: dict[str, Tensor] = {}
    for key, value in module.state_dict().items():
        name = key
        for old, new in (
            ("ln0.", "0.norm1."),
            ("ln1.", "0.norm2."),
            ("attn.to_out.0.", "0.to_out."),
            ("attn.to_", "0.to_"),
            ("ff.0.", "1.0."),
            ("ff.1.net.0.proj.", "1.1."),
            ("ff.1.net.2.", "1.3."),
        ):
            name = name.replace(old, new)
        if name.endswith("to_v.weight"):
            continue
        if name.endswith("to_k.weight"):
            value = torch.cat((value, module.state_dict()[key.replace("to_k", "to_v")]))  # noqa: PLW2901
            name = name.replace("to_k", "to_kv")
        tensors[name] = value
    return module, tensors


def adapter_layers(widths: tuple[int, ...], context: int = CONTEXT) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(6)
    return {
        f"ip_adapter.{2 * i + 1}.to_{part}_ip.weight": torch.randn(width, context, generator=generator) / 8
        for i, width in enumerate(widths)
        for part in "kv"
    }


def save_adapter(path: Path, projection: dict[str, Tensor], widths: tuple[int, ...]) -> dict[str, Tensor]:
    """An IP-Adapter file: flat safetensors, or the nested pickle of a .bin."""
    layers = adapter_layers(widths)
    image = {f"image_proj.{key}": value.contiguous() for key, value in projection.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".bin":
        nested = {key.removeprefix("ip_adapter."): value for key, value in layers.items()}
        torch.save({"image_proj": dict(projection), "ip_adapter": nested}, path)
    else:
        save_file({**image, **layers}, path)
    return layers


STYLE_LAYERS, STYLE_WIDTH = 3, 48


def style_adapter_shapes(width: int, context: int, tokens: int) -> dict[str, tuple[int, ...]]:
    """The keys and shapes of a T2I style adapter's published file."""
    found: dict[str, tuple[int, ...]] = {
        "style_embedding": (1, tokens, width),
        "proj": (width, context),
    }
    for norm in ("ln_pre", "ln_post"):
        found |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    for layer in (f"transformer_layes.{i}" for i in range(STYLE_LAYERS)):
        found |= {
            f"{layer}.attn.in_proj_weight": (3 * width, width),
            f"{layer}.attn.in_proj_bias": (3 * width,),
        }
        for name, out, inputs in (
            ("attn.out_proj", width, width),
            ("mlp.c_fc", 4 * width, width),
            ("mlp.c_proj", width, 4 * width),
        ):
            found |= {f"{layer}.{name}.weight": (out, inputs), f"{layer}.{name}.bias": (out,)}
        for norm in ("ln_1", "ln_2"):
            found |= {f"{layer}.{norm}.weight": (width,), f"{layer}.{norm}.bias": (width,)}
    return found


def damaged(tensors: dict[str, Tensor], chance: random.Random) -> dict[str, Tensor]:
    """Some tensors left out, named otherwise, or of other shapes."""
    found = dict(tensors)
    for key in chance.sample(sorted(tensors), min(len(tensors), chance.choice([1, 3, 40]))):
        value = found.pop(key)
        what = chance.randrange(5)
        if what == 0:
            found[key] = value.flatten()[: chance.randrange(3)].clone()
        elif what == 1:
            found[key] = torch.zeros([chance.randrange(3) for _ in range(chance.randrange(5))])
        elif what == 2:
            found[key.replace("0", "999999999", 1) if "0" in key else f"{key}_"] = value
        elif what == 3:
            found["difference"] = value
    return found
