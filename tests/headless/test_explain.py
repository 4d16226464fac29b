"""The figures of `ctrlgen explain`: their numbers, computed in another way, and the U-Net afterwards."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.explain import attention, averages, blends, copying, latents, loop, noise, stacking
from lib_ctrlgen.headless.explain.attention_maps import AttentionMaps, probabilities
from lib_ctrlgen.headless.explain.table import figure_named
from lib_ctrlgen.headless.explain.unit_residuals import UnitResiduals
from lib_ctrlgen.headless.explain.work import Bench, Observer, Work, observed, prepared
from lib_ctrlgen.headless.sampling.decode import pictures
from lib_ctrlgen.images.files import decode_base64
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.unet.port import Hooks
from lib_ctrlgen.unet.residuals import Residuals
from tests.support import control_files as files
from tests.support import headless_models as models
from tests.support.tiny_engine import CPU, EDGES, LOOK, hooks_of, pixels, request

DEPTH = {"model": "ctrlgen-tiny-depth", "weight": 1.5}
TALL = {"width": 64, "height": 128}
CONCEPTS = {"concepts": [{"prompt": "a red star"}, {"prompt": "a blue ring"}]}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    models.write_model(folder)
    return Engine([folder], 1 << 28, place=CPU, threads=1)


@pytest.fixture
def unet(engine: Engine) -> Iterator[nn.Module]:
    """The U-Net, which has the same hooks after the test."""
    network: nn.Module = engine.load("ctrlgen-tiny").unet
    before = hooks_of(network)
    yield network
    assert hooks_of(network) == before


def spied(work: Work, observer: Observer) -> tuple[Tensor, list[Residuals]]:
    """The latents of a sampling, and the residuals with which the U-Net itself was called."""
    got: list[Residuals] = []
    forward = work.networks.unet.forward

    def call(*args: Any, **kwargs: Any) -> Any:
        mid = kwargs.get("mid_block_additional_residual")
        if mid is not None:
            got.append(Residuals(tuple(kwargs["down_block_additional_residuals"]), mid))
        return forward(*args, **kwargs)

    work.networks.unet.forward = call
    try:
        return observed(work, observer), got
    finally:
        del work.networks.unet.forward


@pytest.mark.parametrize("mode", ["balanced", "prompt", "control"])
def test_the_residuals_of_the_units_are_what_the_unet_gets(
    engine: Engine, unet: nn.Module, mode: str
) -> None:
    calls = UnitResiduals()
    edges = {**EDGES, "weight": "2>0.5", "control_mode": mode}
    with prepared(engine, request(edges, {**DEPTH, "guidance_start": 0.5}, **TALL)) as work:
        _, got = spied(work, calls)
    assert [sorted(parts) for parts in calls.added] == [[0], [0, 1]]
    for parts, whole in zip(calls.added, got, strict=True):
        for layer, other in enumerate(whole.layers):
            found = sum(part.layers[layer] for part in parts.values())
            torch.testing.assert_close(found, other)
    assert [len(row) for row in calls.skips] == [len(got[0].layers)] * 2
    assert all(size > 0 for row in calls.skips for size in row)
    if mode == "control":
        assert not calls.added[0][0].mid[0].any(), "no unconditional row"
    assert calls.cond(0, 1) is None


def test_skips_are_the_tensors_that_residuals_are_added_to(engine: Engine, unet: nn.Module) -> None:
    calls, seen = UnitResiduals(), []
    with prepared(engine, request(EDGES, steps=1)) as work:
        block = work.networks.unet.down_blocks[0]
        with block.register_forward_hook(lambda _module, _args, output: seen.append(output[1])):
            observed(work, calls)
    sizes = [float(each.square().mean().sqrt()) for each in seen[0]]
    np.testing.assert_allclose(calls.skips[0][1 : 1 + len(sizes)], sizes, rtol=1e-5)


@pytest.mark.parametrize("units", [(), (EDGES, LOOK)])
def test_observers_change_nothing(engine: Engine, unet: nn.Module, units: tuple[dict[str, Any], ...]) -> None:
    asked = request(*units, **TALL)
    plain = engine.generate(asked).images[0]
    for observer in (UnitResiduals(), AttentionMaps(size=(16, 8)), Observer()):
        with prepared(engine, asked) as work:
            picture = pictures(work.networks.vae, observed(work, observer))[0]
        assert np.abs(pixels(picture) - pixels(plain)).max() == 0


def test_hooks_are_removed_after_an_error(engine: Engine, unet: nn.Module) -> None:
    class Broken(AttentionMaps):
        def after(self, hooks: Hooks, bench: Bench) -> None:
            super().after(hooks, bench)
            assert hooks_of(unet) > 0
            raise KeyboardInterrupt

    with prepared(engine, request(EDGES, LOOK)) as work, pytest.raises(KeyboardInterrupt):
        observed(work, Broken(size=(8, 8)))
    assert hooks_of(unet) == 0


def test_attention_of_one_head_is_torchs(unet: nn.Module) -> None:
    query, keys = torch.randn(1, 9, 8), torch.randn(1, 5, 8)
    ones = functional.scaled_dot_product_attention(query, keys, torch.eye(5)[None])
    torch.testing.assert_close(probabilities(query, keys, 1), ones)
    halves = [probabilities(query[..., part], keys[..., part], 1) for part in (slice(0, 4), slice(4, 8))]
    torch.testing.assert_close(probabilities(query, keys, 2), (halves[0] + halves[1]) / 2)


def test_each_place_shares_its_attention_among_all_tokens(engine: Engine, unet: nn.Module) -> None:
    maps = AttentionMaps(size=(16, 8))
    with prepared(engine, request(LOOK, **TALL)) as work:
        words = attention.words_of(work)
        observed(work, maps)
    assert words == [("a", (1,)), ("red", (2, 3, 4)), ("star", (5, 6, 7, 8))]
    assert maps.words.shape == (77, 16, 8)
    whole = torch.ones(16, 8)
    torch.testing.assert_close((maps.words / maps.count).sum(0), whole)
    torch.testing.assert_close(maps.tokens[0].sum(0) / maps.count, whole)


def test_what_an_adapter_adds_grows_with_its_weight(engine: Engine, unet: nn.Module) -> None:
    shares = []
    for weight in (0.5, 1.0, 2.0):
        maps = AttentionMaps(size=(8, 8))
        with prepared(engine, request({**LOOK, "weight": weight}, steps=1)) as work:
            observed(work, maps)
        shares.append(maps.shares[0][0])  # the first layer, whose query no unit has changed
    np.testing.assert_allclose(shares, shares[1] * np.array([0.5, 1, 2]), rtol=1e-3)


def test_without_an_adapter_nothing_is_added_to_attention(engine: Engine, unet: nn.Module) -> None:
    maps = AttentionMaps(size=(8, 8))
    with prepared(engine, request(EDGES)) as work:
        observed(work, maps)
    assert not maps.added.any()
    assert not maps.tokens
    assert {share for row in maps.shares for share in row} == {0.0}


def test_the_loop_ends_at_the_picture(engine: Engine, unet: nn.Module) -> None:
    asked = request(sampler="Euler", scheduler="Karras", steps=3, cfg_scale=3)
    with prepared(engine, asked) as work:
        calls = loop.Predictions(noise=work.noise)
        final = observed(work, calls)
    torch.testing.assert_close(calls.guided[-1], final, rtol=1e-3, atol=1e-3)
    sigmas = noise.SCHEDULES["Karras"](3, noise.NoiseLevels.of(work.noise.alphas_cumprod))
    np.testing.assert_allclose(calls.sigmas, sigmas[:3], rtol=1e-3)
    numbers = loop.make(engine, asked).numbers
    assert numbers["layout_left"][-1] < 1e-2
    assert numbers["layout_left"][-1] < numbers["layout_left"][0]


def test_distances_tell_layout_from_detail() -> None:
    final = torch.randn(1, 4, 8, 8)
    shifted = final + functional.interpolate(torch.randn(1, 4, 2, 2), size=(8, 8))
    layout, detail = loop.distances(shifted, final)
    assert layout > 0.1
    assert detail == pytest.approx(0, abs=1e-5)
    assert loop.distances(final, final) == (0, 0)


def test_noise_levels_are_those_of_the_configuration(engine: Engine) -> None:
    numbers = noise.make(engine, request(steps=4)).numbers
    roots = np.linspace(models.CONFIG["linear_start"] ** 0.5, models.CONFIG["linear_end"] ** 0.5, 1000)
    abar = np.cumprod(1 - roots**2)
    assert numbers["lowest_sigma"] == pytest.approx(((1 - abar[0]) / abar[0]) ** 0.5, rel=1e-3)
    assert numbers["highest_sigma"] == pytest.approx(((1 - abar[-1]) / abar[-1]) ** 0.5, rel=1e-3)
    assert {len(row) for row in numbers["sigmas"].values()} == {5}
    assert numbers["steps_above_sigma_1"]["Karras"] == sum(each > 1 for each in numbers["sigmas"]["Karras"])


def test_a_latent_has_a_48th_of_the_numbers(engine: Engine) -> None:
    asked = request({**EDGES, "image": files.data_url()}, {**LOOK, "image": files.drawn_url()}, **TALL)
    numbers = latents.make(engine, asked).numbers
    assert (numbers["picture"], numbers["latent"], numbers["fewer_numbers"]) == ([3, 128, 64], [4, 16, 8], 48)
    with prepared(engine, asked) as work:
        code = latents.encoded(work, Image.new("RGB", (64, 128), "red"))
        pair = [np.asarray(each, float) / 255 for each in (files.picture(64, 128), work.decoded(code)[0])]
    one, other = (Image.fromarray((255 * each).astype(np.uint8)) for each in pair)
    assert latents.error(one, other) == pytest.approx(np.abs(pair[0] - pair[1]).mean(), abs=1e-2)


def test_two_residuals_agree_or_fight() -> None:
    one = Residuals((torch.randn(1, 8, 4, 4),), torch.randn(1, 8, 2, 2))
    other = one.scaled([-2.0, 3.0])
    np.testing.assert_allclose(stacking.cosines(one, other), [-1, 1], atol=1e-5)
    np.testing.assert_allclose(stacking.kept(one, other), [1 / 3, 1], atol=1e-5)


def test_averages_and_blends_start_from_the_prompts_alone(engine: Engine, unet: nn.Module) -> None:
    asked = parse_request({**PLAIN, "prompt": "", "blend": CONCEPTS}, GenerationRequest)
    alone = engine.generate(request(seed=3)).images[0]
    row = averages.averaged(engine, asked, asked.blend)
    assert np.abs(pixels(row["prompt A"]) - pixels(alone)).max() <= 1
    middle = (pixels(row["prompt A"]) + pixels(row["prompt B"])) / 2
    assert np.abs(pixels(row["pixels"]) - middle).max() <= 1
    assert averages.compared(row)["latents"] >= 0
    made = engine.generate(GenerationRequest(**{**_fields(asked), "blend": blends.shown(asked.blend)["A"]}))
    assert np.abs(pixels(made.images[0]) - pixels(alone)).max() <= 1


PLAIN = {"prompt": "a red star", "width": 64, "height": 64, "steps": 2, "sampler": "Euler", "seed": 3}


def _fields(asked: GenerationRequest) -> dict[str, Any]:
    return {name: getattr(asked, name) for name in asked.__struct_fields__}


def test_copying_starts_from_the_picture_without_the_unit(engine: Engine) -> None:
    asked = request(EDGES)
    free = engine.generate(request()).images[0]
    made = engine.generate(copying.weighed(asked, 0.0)).images[0]
    assert np.abs(pixels(made) - pixels(free)).max() == 0
    drawn = Image.open(BytesIO(decode_base64(files.drawn_url(), "$"))).resize((64, 64))
    unit = {**EDGES, "preprocessor": "canny", "image": files.drawn_url()}
    scores = copying.measured(engine, request(unit), {0.0: [free, made], 1.0: [drawn]})
    assert scores["adherence to the unit's map"][0] < scores["adherence to the unit's map"][1]


@pytest.mark.parametrize(
    ("name", "fields", "path"),
    [
        ("latents", {"units": [EDGES]}, "$.units"),
        ("averages", {}, "$.blend"),
        ("blends", {}, "$.blend"),
        ("residuals", {"units": [LOOK]}, "$.units"),
        ("stacking", {"units": [EDGES, LOOK]}, "$.units"),
        ("schedules", {}, "$.units"),
        ("copying", {}, "$.units"),
        ("attention", {"prompt": "a AND b"}, "$.prompt"),
        ("attention", {"prompt": ""}, "$.prompt"),
        ("attention", {"prompt": "", "blend": CONCEPTS}, "$.blend"),
    ],
)
def test_a_job_without_what_a_figure_needs_is_refused(
    engine: Engine, name: str, fields: dict[str, Any], path: str
) -> None:
    fields = dict(fields)
    asked = request(*fields.pop("units", ()), **fields)
    with pytest.raises(RequestError, match=f"`explain {name}` needs") as caught:
        figure_named(name).make()(engine, asked)
    assert caught.value.path == path


def test_a_name_that_is_almost_right() -> None:
    with pytest.raises(RequestError, match="no figure is named 'residual'; nearest: residuals"):
        figure_named("residual")
