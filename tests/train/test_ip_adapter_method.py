"""Training an IP-Adapter: what gets gradients, what the prior keeps, and that nothing else changes."""

from pathlib import Path

import pytest
import torch
from torch import nn

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.train.methods.adapter_parts import SubjectTokens, telling_direction
from lib_ctrlgen.train.methods.base import Base
from lib_ctrlgen.train.methods.ip_adapter import IPAdapterMethod
from tests.support import adapter_training as trainings
from tests.support import control_files as files
from tests.support.headless_models import SMALL

KINDS = [(adapter, part) for adapter in ("plain", "plus") for part in ("tokens", "low-rank", "whole")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return trainings.base_in(tmp_path_factory.mktemp("models"))


def made(base: Base, adapter: str = "plain", part: str = "low-rank", **fields: object) -> IPAdapterMethod:
    method = IPAdapterMethod.create(trainings.spec(adapter, part, **fields), base)
    method.learn(method.references(trainings.pictures(4)), method.references(trainings.pictures(6, seed=50)))
    return method


def networks_of(base: Base) -> list[nn.Module]:
    return [base.networks.unet, base.networks.vae, base.networks.text_encoder]


@pytest.mark.parametrize(("adapter", "part"), KINDS)
def test_gradients_are_where_they_should_be_and_nowhere_else(base: Base, adapter: str, part: str) -> None:
    method = made(base, adapter, part, lr=1e-2)
    before = {name: value.clone() for name, value in base.networks.unet.state_dict().items()}
    trainings.trained(base, method, [[trainings.batch(base, method)]] * 2)
    gradients = [parameter.grad for parameter in method.module().parameters()]
    assert all(grad is not None and bool(grad.any()) for grad in gradients)
    others = [each for network in networks_of(base) for each in network.parameters()]
    kept = [*others, *method.teacher.parameters()]
    chosen = {id(parameter) for parameter in method.module().parameters()}
    kept += [each for each in method.adapter.parameters() if id(each) not in chosen]
    assert all(parameter.grad is None for parameter in kept)
    after = base.networks.unet.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(("adapter", "part"), KINDS)
def test_nothing_is_changed_before_the_first_step(base: Base, adapter: str, part: str) -> None:
    method = made(base, adapter, part)
    shown = trainings.batch(base, method)
    noised = trainings.drawn(base, shown)
    with method.engaged(), torch.no_grad():
        ours = method.predict(shown, noised.noisy, noised.timesteps)
        taught = method.prior_target(shown, noised.noisy, noised.timesteps, noised.noise)
    torch.testing.assert_close(ours, taught, atol=1e-6, rtol=1e-5)


def test_the_unet_is_exactly_restored_after_an_error(base: Base) -> None:
    unet, method = base.networks.unet, made(base, "plain", "whole")
    unet.conv_in.weight.requires_grad_(requires_grad=True)
    before, names = dict(unet.attn_processors), [name for name, _ in unet.named_modules()]
    flags = [parameter.requires_grad for parameter in unet.parameters()]

    def stopped() -> None:
        with method.engaged():
            assert not any(parameter.requires_grad for parameter in unet.conv_in.parameters())
            raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        stopped()
    assert {name: id(each) for name, each in unet.attn_processors.items()} == {
        name: id(each) for name, each in before.items()
    }
    assert [name for name, _ in unet.named_modules()] == names
    assert [parameter.requires_grad for parameter in unet.parameters()] == flags


def test_a_dropped_reference_is_the_hosts_null_tokens(base: Base) -> None:
    """Guidance keeps working: the tokens of no picture are those that every host computes for it."""
    for adapter in ("plain", "plus"):
        method = made(base, adapter)
        features = method.references(trainings.pictures(2))
        mixed = method._features(features, torch.tensor([False, True]))
        assert torch.equal(mixed[0], features[0])
        wanted = torch.zeros_like(features[1])
        if adapter == "plus":
            tower = method._tower()
            wanted = tower.feature(tower.zeros(), "penultimate")[0]
        torch.testing.assert_close(mixed[1], wanted)


def test_learned_tokens_belong_to_the_subject(base: Base) -> None:
    """The direction is about 1 for the subject and 0 for others; no picture is exactly as before."""
    generator = torch.Generator().manual_seed(0)
    centre = torch.randn(40, generator=generator)
    subject = centre + 0.1 * torch.randn(12, 40, generator=generator)
    others = torch.randn(200, 40, generator=generator)
    direction = telling_direction(subject, others)
    assert (subject @ direction - 1).abs().max() < 0.2
    assert (others @ direction).abs().mean() < 0.3
    method = made(base, "plain", "tokens", lr=0.1)
    assert isinstance(method.module(), SubjectTokens)
    trainings.trained(base, method, [[trainings.batch(base, method)]] * 3)
    nothing = torch.zeros(1, 40)
    assert torch.equal(method.adapter.head(nothing), method.teacher.head(nothing))
    seen = method.references(trainings.pictures(1))
    assert not torch.allclose(method.adapter.head(seen), method.teacher.head(seen), atol=1e-4)


def test_what_cannot_be_trained_is_refused_with_its_field(base: Base, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"\$\.adapter: no model named 'missing'"):
        IPAdapterMethod.create(trainings.spec("missing"), base)
    with pytest.raises(RequestError, match=r"\$\.adapter: 'ctrlgen-tiny-edges' is no IP-Adapter"):
        IPAdapterMethod.create(trainings.spec("ctrlgen-tiny-edges"), base)
    widths = files.shape(**SMALL).attention_hidden
    files.save_adapter(tmp_path / "deep.safetensors", files.plain_projection()[1], (*widths, 32))
    with pytest.raises(RequestError, match=r"\$\.adapter: .*attention layers"):
        IPAdapterMethod.create(trainings.spec(str(tmp_path / "deep.safetensors")), base)
    files.save_adapter(tmp_path / "wide.safetensors", files.plain_projection(width=72)[1], widths)
    with pytest.raises(RequestError, match=r"\$\.encoder: it needs a CLIP vision encoder"):
        IPAdapterMethod.create(trainings.spec(str(tmp_path / "wide.safetensors")), base)
