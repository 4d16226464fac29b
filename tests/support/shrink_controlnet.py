"""Lets a copy of sd-webui-controlnet 1.1.455 load networks of the tiny models' sizes.

`python -m tests.support.shrink_controlnet WEBUI/extensions/sd-webui-controlnet` changes the copy once: it
knows the sizes of SD1.5, SDXL and ViT-H alone. It then also encodes pictures by the mean of the VAE, not by
a random sample, so that they can be repeated, and finds the tiny image encoder where it looks for ViT-H.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

MARK = "# tiny sizes"
SIZES = f"""        {MARK}
        width = int(state_dict["time_embed.0.weight"].shape[1])
        if width == 64:
            config.update(model_channels=64, channel_mult=[1, 1, 1, 1], num_heads=4)
        if width == 32:
            attention = unet.input_blocks[4][1].transformer_blocks[0].attn2
            config.update(
                model_channels=32,
                num_head_channels=16,
                context_dim=int(attention.to_k.weight.shape[1]),
                adm_in_channels=int(state_dict["label_emb.0.0.weight"].shape[1]),
            )

"""
ADAPTER = "channels=[channel, channel*2, channel*4, channel*4],"
MEAN = """class MeanOf:
    @staticmethod
    def encoding(model, found):
        return model.get_first_stage_encoding(found.mode() if hasattr(found, "mode") else found)


"""


def change(path: Path, pairs: dict[str, str]) -> None:
    """Replace texts in a file, each of which must be there."""
    text = path.read_text("utf-8")
    for old, new in pairs.items():
        if old not in text:
            raise SystemExit(f"{path} has no {old!r}: is this sd-webui-controlnet 1.1.455?")
        text = text.replace(old, new)
    path.write_text(text, "utf-8")


def shrink(folder: Path) -> None:
    """Change the extension in a folder, unless it is changed already."""
    guess = folder / "scripts" / "controlnet_model_guess.py"
    if MARK in guess.read_text("utf-8"):
        return
    before = "        if 'difference' in state_dict and unet is not None:"
    change(guess, {before: SIZES + before, ADAPTER: f"channels=[64] * 4 if channel == 64 else {ADAPTER[9:]}"})
    encoding = "p.sd_model.get_first_stage_encoding(\n"
    change(
        folder / "scripts" / "hook.py",
        {"class TorchCache:": f"{MEAN}class TorchCache:", encoding: "MeanOf.encoding(p.sd_model,\n"},
    )
    tower = folder.parents[1] / "models" / "clip_vision" / "ctrlgen-tiny-vision"
    config = json.loads((tower / "config.json").read_text("utf-8"))
    size = config["image_size"]
    change(
        folder / "annotator" / "clipvision" / "__init__.py",
        {
            "class ClipVisionDetector": f"config_clip_h.update({config!r})\n\n\nclass ClipVisionDetector",
            "(224, 224)": f"({size}, {size})",
            "crop_size=224": f"crop_size={size}",
            "size=224": f"size={size}",
        },
    )
    weights = folder / "annotator" / "downloads" / "clip_vision"
    weights.mkdir(parents=True, exist_ok=True)
    tensors = load_file(tower / "model.safetensors")
    torch.save({key: value.float() for key, value in tensors.items()}, weights / "clip_h.pth")


if __name__ == "__main__":
    shrink(Path(sys.argv[1]).resolve())
