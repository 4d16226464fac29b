"""A whole training of an IP-Adapter: pairs of views, backgrounds, judging the exported file, resuming."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib_ctrlgen.errors import StoppedError
from lib_ctrlgen.models.tensor_files import read_metadata, read_tensors
from lib_ctrlgen.request.training import TrainingSpec
from lib_ctrlgen.request.training_state import TrainingState, ask_to_stop
from lib_ctrlgen.train.evaluation import plain_prompt
from lib_ctrlgen.train.prepare import prepare
from lib_ctrlgen.train.run import folder_of, train
from tests.support import training


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random model, four views with masks, and three pictures of other things."""
    found = training.new_root(tmp_path_factory.mktemp("training"))
    training.write_pictures(found / "others", 3, caption="a thing {number}")
    (found / "masks").mkdir()
    for number in range(4):
        mask = np.zeros((training.SIDE, training.SIDE), np.uint8)
        mask[16:48, 16:48] = 255
        Image.fromarray(mask).save(found / "masks" / f"view{number}.png")
        training.picture(90 + number).save(found / "others" / f"view{number % 3}.png")
    return found


def spec_of(root: Path, name: str = "trained", **fields: object) -> TrainingSpec:
    given = {
        "kind": "ip-adapter",
        "adapter": "ctrlgen-tiny-ip",
        "masks": str(root / "masks"),
        "prior_pictures": str(root / "others"),
        "out": str(root / "out" / f"{name}.safetensors"),
        "license": "CC0",
    }
    return training.spec(root, **given | fields)


@pytest.mark.usefixtures("not_estimated")
def test_the_reference_is_another_view_with_another_background(root: Path) -> None:
    """Never the view that is predicted; and what is predicted has the background of its caption."""
    prepared = prepare(spec_of(root, "pairs", batch=2), training.engine(root), root / "pairs")
    loop, held = prepared.loop()
    own, prior = (batches for batches, _ in loop.sources)
    features = [{version.reference for version in view.versions} for view in own.views]
    latents = [[version.mean for version in view.versions] for view in own.views]
    assert all(len(each) > 1 for each in features)
    assert all(torch.equal(each[0], other) for each in latents for other in each)
    for step in range(30):
        batch = own.draw(step, 0)
        assert batch.references is not None
        for caption, reference in zip(batch.captions, batch.references, strict=True):
            shown = [view.caption for view in own.views if is_of(reference, view.versions)]
            assert len(shown) == 1
            assert caption in ("", *{view.caption for view in own.views} - set(shown))
    assert held is not None
    assert prior.prior
    assert not any(is_of(own.draw(0, 0).references[0], view.versions) for view in prior.views)  # type: ignore[index]


def is_of(reference: torch.Tensor, versions: tuple[object, ...]) -> bool:
    return any(torch.equal(reference, version.reference) for version in versions)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("few_levels")
def test_it_trains_judges_the_file_and_goes_on_where_it_was(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop after two steps and a second start give the file of an uninterrupted training."""
    spec, engine = spec_of(root), training.engine(root)
    processors = engine.load("ctrlgen-tiny").unet.attn_processors
    done = train(spec, engine)
    training.leave_out_estimate(monkeypatch)
    assert engine.load("ctrlgen-tiny").unet.attn_processors.keys() == processors.keys()
    assert not any(each.requires_grad for each in engine.load("ctrlgen-tiny").unet.parameters())
    metadata = read_metadata(done.out)
    assert metadata["license"] == "CC0"
    assert metadata["hidden_state"] == "image_embeds"
    assert len(json.loads(metadata["pictures"])) == 3
    assert all(each.likeness is not None for each in done.measured)
    previews = [folder_of(spec) / name for each in done.measured for name in each.previews]
    assert previews
    for path in previews:
        with Image.open(path) as preview:
            assert preview.size == (training.SIDE, training.SIDE)
    again = spec_of(root, "again")

    def stop(state: TrainingState) -> None:
        if state.step == 2:
            ask_to_stop(folder_of(again))

    with pytest.raises(StoppedError):
        train(again, training.engine(root), stop)
    resumed = train(again, training.engine(root))
    first, second = read_tensors(done.out), read_tensors(resumed.out)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_token_is_no_word_for_clip() -> None:
    spec = TrainingSpec(
        kind="dreambooth",
        base="b",
        pictures="p",
        out="o.safetensors",
        token="sks",
        prior_prompt="a photo of a dog",
    )
    assert plain_prompt("sks on a beach", spec) == "a dog on a beach"
    assert plain_prompt("a (sks:1.2), two sksers", spec) == "a (a dog:1.2), two sksers"
    assert plain_prompt("a photo of sks dog, sks dogs", spec) == "a photo of a dog, a dog dogs"
