"""However a session ends, the U-Net has its former hooks and gives bit-equal output."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.call import AttentionSite
from tests.support.networks import active
from tests.support.properties import examples
from tests.support.unet_hosts import HOSTS, Host, clock, diffusers_host, ldm_host, structure


@pytest.fixture(scope="module", params=HOSTS)
def host(request: pytest.FixtureRequest) -> Host:
    return HOSTS[request.param]()


@pytest.fixture(scope="module")
def start(host: Host) -> tuple[dict[str, Any], Tensor]:
    """The U-Net's structure and its output before the first test."""
    return structure(host.unet), host.run()


@pytest.fixture
def unchanged(host: Host, start: tuple[dict[str, Any], Tensor]) -> Iterator[None]:
    """After the test the U-Net is what it was."""
    before, output = start
    yield
    assert structure(host.unet) == before
    assert torch.equal(host.run(), output)


class StopError(Exception):
    pass


def stack(host: Host, failure: BaseException | None = None) -> list[ActiveUnit]:
    more = [host.unit("features", 4, weight=0.5), host.unit("context", 5), host.unit("noise", 3, failure)]
    return [host.unit("tokens", 1), host.unit("noise", 2, weight=0.5), *more]


@pytest.mark.usefixtures("unchanged")
def test_a_normal_exit(host: Host) -> None:
    plain = host.run()
    with host.session(*stack(host)):
        assert not torch.allclose(host.run(), plain, atol=0.01)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("failure", [StopError(), KeyboardInterrupt(), GeneratorExit(), HostError("x")])
def test_an_exception_in_the_sampler(host: Host, failure: BaseException) -> None:
    def sample() -> None:
        with host.session(*stack(host)):
            host.run()
            raise failure

    with pytest.raises(type(failure)):
        sample()


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("failure", [StopError(), KeyboardInterrupt()])
def test_an_exception_in_a_control(host: Host, failure: BaseException) -> None:
    with pytest.raises(type(failure)), host.session(*stack(host, failure)):
        host.run()


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("failure", [StopError(), KeyboardInterrupt()])
def test_an_exception_in_the_middle_of_a_call(host: Host, failure: BaseException) -> None:
    """Also, a session that stays open controls the next call as if nothing had happened."""
    sites = host.port(host.unet).attention_sites()
    with host.session(*stack(host)):
        wanted = host.run()
        handle = sites[8].to_q.register_forward_pre_hook(_raiser(failure))
        with pytest.raises(type(failure)):
            host.run()
        handle.remove()
        assert torch.equal(host.run(), wanted)


def _raiser(failure: BaseException) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise failure

    return fail


@pytest.mark.usefixtures("unchanged")
def test_an_exception_during_installation(host: Host) -> None:
    class Broken(host.port):  # type: ignore[name-defined, misc]
        def attention_sites(self) -> tuple[AttentionSite, ...]:
            first, *others = super().attention_sites()
            parts = {"to_q": first.to_q, "to_k": first.to_k, "to_v": first.to_v}
            bad = AttentionSite(name="bad", **parts, to_out=None, heads=1, hidden=1)  # type: ignore[arg-type]
            return (first, bad, *others)

    with pytest.raises(AttributeError):
        ControlSession(Broken(host.unet), stack(host), clock).__enter__()


@pytest.mark.usefixtures("unchanged")
def test_entering_twice_leaves_nothing_behind(host: Host) -> None:
    session = host.session(*stack(host))
    with session:
        once = host.run()
        with session:
            assert torch.equal(host.run(), once)
    with session:
        assert torch.equal(host.run(), once)


@pytest.mark.usefixtures("unchanged")
def test_hooks_of_others_stay(host: Host) -> None:
    seen: list[str] = []
    early = host.unet.register_forward_hook(lambda *_: seen.append("early"))
    with host.session(*stack(host)):
        late = host.unet.register_forward_hook(lambda *_: seen.append("late"))
        host.run()
    host.run()
    assert seen == ["early", "late"] * 2
    early.remove()
    late.remove()


def test_without_units_nothing_is_hooked(host: Host) -> None:
    before = structure(host.unet)
    with host.session():
        assert structure(host.unet) == before


def test_units_without_weight_change_no_bit(host: Host) -> None:
    plain = host.run()
    units = [host.unit("noise", 1, weight=0), host.unit("tokens", 2, guidance_start=0.5)]
    units += [host.unit("features", 3, weight=0), host.unit("context", 4, weight=0)]
    with host.session(*units):
        assert torch.equal(host.run(), plain)


kinds = st.lists(st.sampled_from(["noise", "tokens", "features", "context"]), min_size=1, max_size=2)


@pytest.mark.parametrize("name", HOSTS)
@examples(6)
@given(data=st.data())
def test_sessions_close_in_any_order(name: str, data: st.DataObject, built: dict[str, Host]) -> None:
    host = built[name]
    before, plain = structure(host.unet), host.run()
    stacks = data.draw(st.lists(kinds, min_size=2, max_size=4))
    sessions = [
        host.session(*(host.unit(kind, 10 * i + j, weight=0.3) for j, kind in enumerate(found)))
        for i, found in enumerate(stacks)
    ]
    # All draws come first: one that ends the example would leave sessions open for the next test.
    order = data.draw(st.permutations(sessions))
    errors = [data.draw(st.sampled_from([None, StopError()])) for _ in order[1:]]
    for session in sessions:
        session.__enter__()
    order[0].__exit__(None, None, None)
    remaining = host.run()
    for session, error in zip(order[1:], errors, strict=True):
        session.__exit__(error and type(error), error, None)
    assert structure(host.unet) == before
    assert torch.equal(host.run(), plain)
    kept = [unit for session in sessions if session is not order[0] for unit in session.units]
    with host.session(*kept):
        torch.testing.assert_close(host.run(), remaining, atol=3e-5, rtol=0)


@pytest.fixture(scope="module")
def built() -> dict[str, Host]:
    return {name: build() for name, build in HOSTS.items()}


@pytest.mark.parametrize("name", HOSTS)
def test_moving_to_another_unet_and_back(name: str) -> None:
    first, second = HOSTS[name](0), HOSTS[name](1)
    before = structure(first.unet), structure(second.unet)
    plain = first.run(), second.run()
    units = stack(first)
    with second.session(*units):
        wanted = second.run()
    with first.session(*units) as session:
        controlled = first.run()
        session.retarget(second.port(second.unet))
        assert structure(first.unet) == before[0]
        assert torch.equal(first.run(), plain[0])
        assert torch.equal(second.run(), wanted)
        session.retarget(first.port(first.unet))
        assert torch.equal(second.run(), plain[1])
        assert torch.equal(first.run(), controlled)
    assert (structure(first.unet), structure(second.unet)) == before
    assert torch.equal(first.run(), plain[0])


def test_a_unet_of_another_shape_is_refused() -> None:
    first, second = ldm_host(), diffusers_host()
    before = structure(first.unet), structure(second.unet)
    with (
        pytest.raises(HostError, match=r"\(custom .*, then custom .*\), and the controls do not fit"),
        first.session(*stack(first)) as session,
    ):
        session.retarget(second.port(second.unet))
    assert (structure(first.unet), structure(second.unet)) == before


def test_a_control_that_would_do_nothing_is_no_unit(host: Host) -> None:
    with pytest.raises(TypeError, match="object acts in no way"):
        host.session(*stack(host), active(object()))  # type: ignore[arg-type]
