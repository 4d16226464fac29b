"""ControlNet-LLLite compared with copies of the U-Nets whose linear layers compute its formula."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from PIL import Image

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.protocols import InputControl
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.linear_sites import input_sites
from tests.support import lora_files as lora
from tests.support import networks
from tests.support import unet_calls as calls
from tests.support.lllite_reference import BLOCKS, FILES, UNETS, Reference, sites_of
from tests.support.networks import Call, NoiseControl, Script, TokenControl, active, random_call
from tests.support.pictures import mask_image
from tests.support.properties import examples
from tests.support.unet_calls import port_of, run
from tests.support.unet_hosts import structure

pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")
TOLERANCE = 1e-4


def mask_url(seed: int, size: tuple[int, int] = (8, 8)) -> str:
    return encode_image(mask_image(seed, size))


def off(unet: Any, units: Sequence[ActiveUnit], steps: int, script: Sequence[tuple[int, Call]]) -> float:
    """The largest difference of a script of calls in a session and by hand, relative to outputs above 1."""
    reference, worst = Reference(unet), 0.0
    clock = Script(steps, [(step, call.rows) for step, call in script])
    with ControlSession(port_of(unet), units, clock):
        outputs = [run(unet, call) for _, call in script]
    assert float((outputs[0] - run(unet, script[0][1])).abs().max()) > 1e-2
    for (step, call), got in zip(script, outputs, strict=True):
        with torch.no_grad():
            wanted = reference.forward(call, step / steps, units)
        worst = max(worst, float((got - wanted).abs().max() / wanted.abs().max().clamp(min=1)))
    return worst


STACKS: dict[str, list[dict[str, Any]]] = {
    "one": [{"model": "published"}],
    "negative": [{"model": "few", "weight": -0.7}],
    "two, scheduled": [
        {"model": "published", "weight": "1>0.2", "guidance_end": 0.7},
        {"model": "everywhere", "weight": "0.4@0, 1.2@0.6 hold", "guidance_start": 0.3},
    ],
    "modes": [
        {"model": "published", "control_mode": "prompt"},
        {"model": "everywhere", "control_mode": "control", "weight": 0.6},
    ],
    "masks and layers": [
        {"model": "published", "mask": mask_url(1), "layer_weights": [0.2, "1>0", 0.7, 0, 1.1]},
        {"model": "published", "mask": mask_url(2), "mask_strength": "1>0.2", "control_mode": "control"},
        {"model": "few", "weight": 0.5},
    ],
}


@pytest.mark.parametrize("name", STACKS)
def test_it_is_the_formula(folder: Path, unet: Any, name: str) -> None:
    units = lora.loaded(folder, unet, *STACKS[name])
    assert all(isinstance(unit.control, InputControl) for unit in units)
    layouts = ["u0", "c0", "u0 c0 c1", "c0"]
    script = [(step, random_call(rows, step)) for step, rows in enumerate(layouts)]
    assert off(unet, units, 4, script) <= TOLERANCE


def test_other_sizes_in_one_session(folder: Path, unet: Any) -> None:
    """A hires pass is a second size."""
    units = lora.loaded(folder, unet, *STACKS["two, scheduled"])
    script = [
        (step, random_call("c0 u0", step, size)) for step, size in enumerate([(8, 8), (16, 8), (4, 12)])
    ]
    assert off(unet, units, 3, script) <= TOLERANCE


def test_a_latent_that_no_level_divides(folder: Path) -> None:
    unet = calls.sdxl_diffusers()
    units = lora.loaded(folder, unet, {"model": "everywhere"})
    assert off(unet, units, 1, [(0, random_call("c0 u0", 1, (10, 6)))]) <= TOLERANCE


def test_images_of_a_batch_with_numbers_of_their_own(folder: Path, unet: Any) -> None:
    own = [
        {"weight": 0.3},
        {"weight": "1>0", "mask_strength": 0.2},
        {"control_mode": "control"},
        {"weight": 0},
        {"weight": 0.3},
    ]
    units = lora.loaded(folder, unet, *[{"model": "published", "mask": mask_url(3)}] * 2)
    payloads = [[{"model": "published", **cell}, {"model": "published", "weight": 0.4}] for cell in own]
    cells = [parse_request({"units": payload}).units for payload in payloads]
    kinds = " ".join([f"c{i}" for i in range(5)] + [f"u{i}" for i in range(5)])
    call = random_call(kinds, 5)
    same = call.x[:1].expand(10, -1, -1, -1).clone()
    texts, vectors = call.context[:1].repeat(10, 1, 1), call.vector[:1].repeat(10, 1)
    call = networks.call_of(same, call.timestep, texts, vectors, call.rows)
    with ControlSession(port_of(unet), units, Script(4, [(1, call.rows)]), cells) as session:
        got = run(unet, call)
    with torch.no_grad():
        wanted = Reference(unet).forward(call, 0.25, units, cells)
    assert float((got - wanted).abs().max() / wanted.abs().max().clamp(min=1)) <= TOLERANCE
    assert session.rows_computed < session.rows_asked


def noise(unet: Any, seed: int) -> NoiseControl:
    sizes = [(8, 8)] * 3 + [(4, 4)] * 3 + [(2, 2)] * 4
    return NoiseControl(port_of(unet).shape.residual_channels, sizes, seed)


@examples(4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
@given(data=st.data())
def test_the_unet_is_as_it_was_in_any_order(
    folder: Path, store: ModelStore, unet: Any, data: st.DataObject
) -> None:
    """Sessions of LLLite, ControlNet and IP-Adapter units, left in any order, also by an error."""
    call = random_call("u0 c0", 1)
    before, weights, plain = structure(unet), lora.snapshot(unet), run(unet, call)
    sessions = []
    for number in range(data.draw(st.integers(2, 4))):
        spec = {"model": data.draw(st.sampled_from(list(FILES))), "weight": 0.5}
        units = lora.loaded(folder, unet, spec, store=store)
        units += [active(noise(unet, number), 10, weight=0.3), active(TokenControl(number), 11)]
        kept = data.draw(st.lists(st.sampled_from(units), min_size=1, max_size=3, unique_by=id))
        sessions.append(ControlSession(port_of(unet), kept, Script(2, [(0, call.rows)] * 9)))
    # All draws come first: one that ends the example would leave sessions open for the next test.
    order = data.draw(st.permutations(sessions))
    errors = [data.draw(st.sampled_from([None, ValueError()])) for _ in order]
    for session in sessions:
        session.__enter__()
    assert not torch.equal(run(unet, call), plain)
    for session, error in zip(order, errors, strict=True):
        session.__exit__(error and type(error), error, None)
    assert structure(unet) == before
    lora.assert_untouched(unet, weights)
    assert torch.equal(run(unet, call), plain)


def test_an_error_in_a_call_leaves_nothing(folder: Path, unet: Any) -> None:
    units = lora.loaded(folder, unet, {"model": "published"})
    call, before = random_call("c0 u0", 1), structure(unet)
    plain = run(unet, call)
    with ControlSession(port_of(unet), units, Script(1, [(0, call.rows)] * 3)):
        wanted = run(unet, call)
        site = input_sites(unet)[3].module
        handle = site.register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(unet, call)
        handle.remove()
        assert torch.equal(run(unet, call), wanted)
    assert structure(unet) == before
    assert torch.equal(run(unet, call), plain)


def test_units_without_weight_change_no_bit(folder: Path, unet: Any) -> None:
    call = random_call("c0 u0", 1)
    units = lora.loaded(folder, unet, {"model": "few", "weight": 0}, {"model": "few", "guidance_start": 0.5})
    plain = run(unet, call)
    with ControlSession(port_of(unet), units, Script(2, [(0, call.rows)])):
        assert torch.equal(run(unet, call), plain)


def test_moving_to_another_unet(folder: Path) -> None:
    first, second = networks.sgm_unet(0), networks.sgm_unet(1)
    units = lora.loaded(folder, first, {"model": "published"})
    call = random_call("c0 u0", 1)
    with ControlSession(port_of(second), units, Script(1, [(0, call.rows)])):
        wanted = run(second, call)
    plain = run(first, call)
    with ControlSession(port_of(first), units, Script(1, [(0, call.rows)] * 2)) as session:
        session.retarget(port_of(second))
        assert torch.equal(run(second, call), wanted)
        assert torch.equal(run(first, call), plain)


def test_the_map_is_embedded_once_per_picture_size_and_layer(folder: Path, unet: Any) -> None:
    units = parse_request({"units": [{"model": "published", "image": lora.files.data_url()}] * 2}).units
    store = ModelStore([folder], 1 << 30)
    seen: list[tuple[int, ...]] = []
    for _ in range(2):  # generations
        active_units = lora.load_units(units, Target(store=store, shape=port_of(unet).shape, unet=unet))
        control: Any = active_units[0].control
        if not seen:
            for layer in control.model.network.values():
                layer.conditioning1.register_forward_hook(lambda _m, args, _o: seen.append(args[0].shape))
        script = [(step, random_call("c0 u0", step, size)) for step, size in enumerate([(8, 8), (16, 8)] * 2)]
        clock = Script(4, [(step, call.rows) for step, call in script])
        with ControlSession(port_of(unet), active_units, clock):
            for _, call in script:
                run(unet, call)
    assert len(seen) == 2 * len(FILES["published"])


def test_sites_have_the_names_of_ldm(unet: Any) -> None:
    wanted = sites_of(("input", "output", "middle"))
    found = input_sites(unet)
    assert [site.name for site in found] == list(wanted)
    own = 0 if hasattr(unet, "input_blocks") else 1
    for site in found:
        block, _, rest = site.name.partition(".transformer_blocks")
        names = next(row for row in BLOCKS if row[0] == block)
        assert site.module is unet.get_submodule(f"{names[own]}.transformer_blocks{rest}")
        assert (site.block, site.width) == (block, names[3])


def test_layer_weights_are_one_per_transformer(folder: Path, unet: Any) -> None:
    (unit,) = lora.loaded(folder, unet, {"model": "published"})
    assert unit.control.layers == 5  # type: ignore[union-attr]
    with pytest.raises(RequestError, match="expected 5 weights"):
        lora.loaded(folder, unet, {"model": "published", "layer_weights": [1, 1]})


def test_merged_tokens_are_a_host_error(folder: Path, unet: Any) -> None:
    (unit,) = lora.loaded(folder, unet, {"model": "few"})
    control: Any = unit.control
    change = next(iter(control.changes(input_sites(unet), (8, 8)).values()))
    with pytest.raises(HostError, match="merge tokens"):
        change.of(torch.zeros(1, 3, 64))


def test_it_gives_no_residuals_to_use_again(folder: Path, unet: Any) -> None:
    with pytest.raises(RequestError, match="changes the inputs of the U-Net's own layers") as raised:
        lora.loaded(folder, unet, {"model": "few", "reuse": 2})
    assert raised.value.path == "$.units[0].reuse"


def test_another_checkpoint_is_named(folder: Path) -> None:
    for other in (networks.ldm_unet(), calls.sdxl_diffusers(transformer_layers_per_block=1)):
        with pytest.raises(RequestError, match=r"for SDXL and changes a layer .* of width") as raised:
            lora.loaded(folder, other, {"model": "published"})
        assert "the loaded checkpoint is custom (context 48)" in raised.value.message
        assert raised.value.path == "$.units[0].model"


def test_the_control_map_is_shown(folder: Path, unet: Any) -> None:
    (unit,) = lora.loaded(folder, unet, {"model": "few", "preprocessor": "invert"})
    shown = unit.control.control_map(40, 24)  # type: ignore[union-attr]
    assert isinstance(shown, Image.Image)
    assert shown.size == (40, 24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lllite")
    for seed, (name, sites) in enumerate(FILES.items()):
        lora.save(lora.lllite_tensors(sites, seed), root / f"{name}.safetensors")
    return root


@pytest.fixture(scope="module")
def store(folder: Path) -> ModelStore:
    return ModelStore([folder], 1 << 30)


@pytest.fixture(scope="module", params=UNETS)
def unet(request: pytest.FixtureRequest) -> Any:
    return UNETS[request.param]()
