"""LoRA files: every kind is the merged weight, every layout the same change, and nothing stays behind."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.loras.file import alias_of, hash_of_tensors, load_lora, lora_hash
from lib_ctrlgen.models.loras.find import find_lora
from lib_ctrlgen.models.loras.fit import fitted
from lib_ctrlgen.models.loras.formulas import weight_change
from lib_ctrlgen.models.loras.names import UNetNames, flat, ldm_flat
from lib_ctrlgen.models.model_files import ModelFiles
from lib_ctrlgen.session.loras import LoraHooks
from tests.support import control_files as files
from tests.support import lora_kinds as kinds
from tests.support import networks
from tests.support.networks import random_call
from tests.support.unet_calls import run

TEXT = torch.randn(2, 7, files.CONTEXT, generator=torch.Generator().manual_seed(1))
CALL = replace(random_call("c0 u0", 1), context=TEXT)
UNET = r"down_blocks\.[01].*(?:attn2\.to_k|to_out\.0|proj_in|conv1|downsamplers\.0\.conv)$"


@pytest.fixture(scope="module")
def unet() -> Any:
    return networks.randomise(files.unet(), 0)


def state(network: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


def near(found: Tensor, wanted: Tensor) -> bool:
    """Equal up to rounding in another order."""
    return float((found - wanted).abs().max()) < 1e-3 * float(wanted.abs().max())


def hooks_of(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in network.modules())


def with_hooks(unet: Any, path: Path, weight: float, dyn: int | None = None) -> Tensor:
    changes = fitted(load_lora(path), path.stem, unet, (), dyn).unet
    with LoraHooks(unet, [changes], [weight]):
        return run(unet, CALL)


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_hooks_are_the_merged_weights(unet: Any, tmp_path: Path, kind: str) -> None:
    path = kinds.write(tmp_path / "a.safetensors", kinds.kohya(unet, kind=kind, pattern=UNET))
    before, plain = state(unet), run(unet, CALL)
    found = with_hooks(unet, path, 0.3)
    assert all(torch.equal(value, before[key]) for key, value in unet.state_dict().items())
    assert hooks_of(unet) == 0
    assert torch.equal(run(unet, CALL), plain)
    assert torch.equal(with_hooks(unet, path, 0.0), plain)
    file, names, modules = load_lora(path), UNetNames(unet), dict(unet.named_modules())
    with torch.no_grad():
        for name, pieces in file.of("unet").items():
            module = modules[str(names.find(name))]
            module.weight += 0.3 * weight_change(pieces, module.weight)
            for key in {"diff_b", "b_norm"} & pieces.keys():
                module.bias += 0.3 * pieces[key]
    merged = run(unet, CALL)
    unet.load_state_dict(before)
    assert (merged - plain).abs().max() > 1e-3
    assert near(found, merged)


def test_formulas_against_loops() -> None:
    random = kinds.Random(3)
    weight = random(6, 4, 3, 3)
    flat_weight = random(6, 4)
    cp = kinds.cp(weight, random)
    down, up, mid = (cp[f"lora_{name}.weight"] for name in ("down", "up", "mid"))
    for o, i in ((0, 0), (5, 3), (2, 1)):
        wanted = sum(up[o, a, 0, 0] * mid[a, b] * down[b, i, 0, 0] for a in range(4) for b in range(4))
        assert torch.allclose(weight_change(cp, weight)[o, i], wanted * 3 / 4, atol=1e-6)
    loha = kinds.loha(flat_weight, random)
    a, b, c, d = (loha[f"hada_{name}"] for name in ("w1_a", "w1_b", "w2_a", "w2_b"))
    assert torch.allclose(weight_change(loha, flat_weight), (a @ b) * (c @ d) / 2)
    lokr = kinds.lokr(flat_weight, random)
    small = lokr["lokr_w2_a"] @ lokr["lokr_w2_b"]
    wanted = torch.cat([torch.cat([x * small for x in row], 1) for row in lokr["lokr_w1"]], 0) / 2
    assert torch.allclose(weight_change(lokr, flat_weight), wanted)
    dora = kinds.dora(flat_weight, random)
    merged = flat_weight + dora["lora_up.weight"] @ dora["lora_down.weight"] / 2
    columns = [merged[:, i] * dora["dora_scale"][0, i] / merged[:, i].norm() for i in range(4)]
    assert torch.allclose(weight_change(dora, flat_weight), torch.stack(columns, 1) - flat_weight, atol=1e-6)


def test_ranks_beyond_dyn_are_left_out(unet: Any, tmp_path: Path) -> None:
    tensors = kinds.kohya(unet, pattern=UNET)
    path = kinds.write(tmp_path / "a.safetensors", tensors)
    cut = {key: value.clone() for key, value in tensors.items()}
    for key, value in cut.items():
        if key.endswith("lora_down.weight"):
            value[2:] = 0
    wanted = with_hooks(unet, kinds.write(tmp_path / "b.safetensors", cut), 0.5)
    assert near(with_hooks(unet, path, 0.5, dyn=2), wanted)
    assert not near(with_hooks(unet, path, 0.5), wanted)


def layouts(tensors: dict[str, Tensor], names: dict[str, str]) -> dict[str, dict[str, Tensor]]:
    """A kohya LoRA of linear layers in other layouts; `names` are the modules' paths by flat name."""
    found: dict[str, dict[str, Tensor]] = {"ldm": {}, "peft": {}, "diffusers": {}, "linear": {}}
    for key, tensor in tensors.items():
        layer, piece = key.removeprefix("lora_unet_").split(".", 1)
        found["ldm"][f"lora_unet_{ldm_flat(layer, 2)[0]}.{piece}"] = tensor
        if piece == "alpha":
            continue
        half = "down" if "down" in piece else "up"
        scaled = tensor / 2 if half == "up" else tensor  # alpha / rank, which these layouts do not have
        path = names[layer]
        found["peft"][f"base_model.model.{path}.lora_{'A' if half == 'down' else 'B'}.weight"] = scaled
        found["linear"][f"unet.{path}.lora_linear_layer.{half}.weight"] = scaled
        old = path.replace(".to_out.0", ".processor.to_out_lora").replace(".to_k", ".processor.to_k_lora")
        found["diffusers"][f"unet.{old}.{half}.weight"] = scaled
    return found


def test_all_layouts_are_one_change(unet: Any, tmp_path: Path) -> None:
    tensors = kinds.kohya(unet, pattern=r"attn2\.to_k$|attn1\.to_out\.0$")
    wanted = with_hooks(unet, kinds.write(tmp_path / "kohya.safetensors", tensors), 0.7)
    names = {flat(path): path for path, _ in unet.named_modules()}
    for layout, other in layouts(tensors, names).items():
        found = with_hooks(unet, kinds.write(tmp_path / f"{layout}.safetensors", other), 0.7)
        assert near(found, wanted), layout


@pytest.mark.parametrize("make", [networks.ldm_unet, networks.sgm_unet])
def test_every_layer_of_a_host_is_found(make: Any, tmp_path: Path) -> None:
    pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
    pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")
    own = make(context=files.CONTEXT)
    tensors = kinds.kohya(own, pattern=r"(?:to_[qkv]|to_out\.0|in_layers\.2|\.op|skip_connection|conv)$")
    path = kinds.write(tmp_path / "ldm.safetensors", tensors)
    found = fitted(load_lora(path), "ldm", own, ())
    assert not found.unmatched
    assert len(found.unet) == len(tensors) // 3


def test_a_lora_of_another_family_or_architecture_is_refused(unet: Any, tmp_path: Path) -> None:
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    wrong = {f"{layer}.lora_down.weight": torch.zeros(4, 2048), f"{layer}.lora_up.weight": torch.zeros(32, 4)}
    cases = {
        "family": (wrong, "was made for SDXL"),
        "shape": (
            {key: torch.zeros(4, files.CONTEXT) if "down" in key else torch.zeros(7, 4) for key in wrong},
            "does not fit the checkpoint at down_blocks",
        ),
        "flux": ({"lora_unet_double_blocks_0_img.lora_up.weight": torch.zeros(1)}, "another architecture"),
        "other": ({"conv_in.weight": torch.zeros(1)}, "is no LoRA"),
        "oft": ({"lora_unet_conv_in.oft_blocks": torch.zeros(2, 2)}, "OFT"),
        "dora": (
            {f"unet.conv_in.{each}": torch.zeros(4, 4) for each in ("lora_A.weight", "lora_B.weight")}
            | {"unet.conv_in.lora_magnitude_vector": torch.zeros(4)},
            "magnitude",
        ),
        "nowhere": ({"lora_unet_nowhere.lora_up.weight": torch.zeros(2, 2)}, "has none"),
    }
    for name, (tensors, said) in cases.items():
        path = kinds.write(tmp_path / f"{name}.safetensors", tensors)
        with pytest.raises(ModelError, match=said):
            with_hooks(unet, path, 1.0)


def test_a_truncated_file_is_refused(unet: Any, tmp_path: Path) -> None:
    path = kinds.write(tmp_path / "a.safetensors", kinds.kohya(unet, pattern=UNET))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="broken or incomplete"):
        load_lora(path)


def test_names_aliases_and_hashes(unet: Any, tmp_path: Path) -> None:
    tensors = kinds.kohya(unet, pattern=r"down_blocks\.0.*attn2\.to_k$")
    folder = tmp_path / "Lora" / "sub"
    folder.mkdir(parents=True)
    path = kinds.write(folder / "style-v1.safetensors", tensors, ss_output_name="style")
    kinds.write(tmp_path / "twice.safetensors", tensors, ss_output_name="both")
    kinds.write(folder / "again.safetensors", tensors, ss_output_name="both")
    known = ModelFiles([tmp_path])
    assert (
        find_lora(known, "style-v1")
        == find_lora(known, "style")
        == find_lora(known, "Lora/sub/style-v1")
        == path
    )
    for name, said in (("stile", "nearest: style"), ("both", "fits several"), ("Style", "no LoRA")):
        with pytest.raises(ModelError, match=said):
            find_lora(known, name)
    assert lora_hash(path) == hash_of_tensors(path)[:12] == lora_hash(tmp_path / "twice.safetensors")
    own = kinds.write(tmp_path / "own.safetensors", tensors, sshs_model_hash="0123456789abcdef")
    assert (alias_of(own), lora_hash(own)) == ("own", "0123456789ab")
    kinds.write(tmp_path / "new.safetensors", tensors)
    assert find_lora(known, "new").name == "new.safetensors"
