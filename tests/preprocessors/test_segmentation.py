"""Segmentation with small networks of transformers, in folders as they are published."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.bundled import tiny_folder
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import preprocessor
from lib_ctrlgen.preprocessors.segmentation import class_colours

STAGES = ["stage1", "stage2", "stage3", "stage4"]
CLASSES = 5
SKY, FLOOR = [6, 230, 230], [80, 50, 50]  # in ADE20K's colours


def oneformer() -> Any:
    """A small OneFormer with random weights."""
    swin = transformers.SwinConfig(
        image_size=64,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        window_size=2,
        out_features=STAGES,
    )
    config = transformers.OneFormerConfig(
        backbone_config=swin,
        num_queries=6,
        hidden_dim=32,
        mask_dim=32,
        conv_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        task_seq_len=8,
        num_labels=CLASSES,
    )
    return transformers.OneFormerForUniversalSegmentation(config).eval()


def upernet() -> Any:
    """A small UperNet with random weights."""
    encoder = transformers.ConvNextConfig(
        hidden_sizes=[4, 6, 8, 10], depths=[1, 1, 1, 1], out_features=STAGES
    )
    config = transformers.UperNetConfig(
        backbone_config=encoder,
        hidden_size=8,
        auxiliary_channels=8,
        auxiliary_in_channels=8,
        num_labels=CLASSES,
        pool_scales=[1, 2],
    )
    return transformers.UperNetForSemanticSegmentation(config).eval()


def written(network: Any, folder: Path) -> Path:
    """Write the network with the bundled model's tokenizer; the weights are a pickle, as in old folders."""
    folder.mkdir(parents=True)
    network.config.save_pretrained(folder)
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(tiny_folder() / "text" / name, folder)
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks see pictures with a short side of 64 pixels."""
    monkeypatch.setattr("lib_ctrlgen.preprocessors.segmentation.Segmentation.sides", (64, 128))
    monkeypatch.setattr("lib_ctrlgen.preprocessors.segmentation.SegmentationUperNet.sides", (64, 128))


def halves() -> Image.Image:
    image = Image.new("RGB", (64, 64), "white")
    image.paste("black", (0, 32, 64, 64))
    return image


@pytest.mark.usefixtures("small")
def test_each_class_has_its_colour(tmp_path: Path) -> None:
    network = upernet()
    with torch.no_grad():
        network.decode_head.classifier.weight.zero_()
        network.decode_head.classifier.bias.copy_(torch.tensor([0.0, 0, 1, 0, 0]))
    folder = written(network, tmp_path / "openmmlab" / "upernet-convnext-small")
    store = ModelStore([tmp_path], 1 << 30)
    made = preprocessor("segmentation").with_store(store)
    assert np.asarray(made(halves().resize((70, 50)))).tolist() == np.full((50, 70, 3), SKY).tolist()
    assert np.asarray(made(halves())).tolist() == np.full((64, 64, 3), SKY).tolist()
    assert made.offloaded(away=True)(halves()).tobytes() == made(halves()).tobytes()
    assert store.reads == 1
    tensors = network.state_dict()
    del tensors["decode_head.classifier.bias"]
    torch.save(tensors, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"missing decode_head\.classifier\.bias"):
        preprocessor("segmentation").with_store(ModelStore([tmp_path], 1 << 30))(halves())


@pytest.mark.usefixtures("small")
def test_oneformer_takes_the_likeliest_class_of_all_queries(tmp_path: Path) -> None:
    network = oneformer()
    with torch.no_grad():
        for value in network.parameters():
            value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(value.numel())) * 0.2)
    written(network, tmp_path / "oneformer_ade20k_swin_large")
    found = np.asarray(preprocessor("oneformer_ade20k").with_store(ModelStore([tmp_path], 1 << 30))(halves()))
    x = torch.from_numpy(np.array(halves())).permute(2, 0, 1)[None] / 255
    x = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    tokenizer = transformers.CLIPTokenizer.from_pretrained(str(tmp_path / "oneformer_ade20k_swin_large"))
    ids = tokenizer("the task is semantic", padding="max_length", max_length=8, truncation=True)
    task = torch.tensor([ids["input_ids"]]) * torch.tensor([ids["attention_mask"]])
    with torch.no_grad():
        output = network(pixel_values=x.float(), task_inputs=task)
    scores = torch.zeros(CLASSES, *output.masks_queries_logits.shape[2:])
    for query in range(6):
        chances = torch.softmax(output.class_queries_logits[0, query], 0)[:CLASSES]
        scores += chances[:, None, None] * torch.sigmoid(output.masks_queries_logits[0, query])
    wanted = torch.nn.functional.interpolate(scores[None], (64, 64), mode="bilinear")[0].argmax(0).numpy()
    assert (found == class_colours("ade20k")[wanted]).all(2).mean() > 0.99


def test_the_colours_of_the_classes() -> None:
    ade, coco = class_colours("ade20k"), class_colours("coco")
    assert (len(ade), len(coco)) == (150, 133)
    assert (ade[2].tolist(), ade[3].tolist(), coco[0].tolist()) == (SKY, FLOOR, [220, 20, 60])
