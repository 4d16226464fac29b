"""A prediction that is not finite stops the generation, and the error names the unit that caused it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import CtrlGenError, HostError, RequestError
from lib_ctrlgen.session.suspects import Suspects, not_finite
from lib_ctrlgen.unet import finite
from lib_ctrlgen.unet.call import Position, Rows
from tests.support import networks
from tests.support.unet_hosts import HOSTS, Host, structure

POSITION = Position(2, 20, Rows((), ()))
KINDS = ["noise", "tokens", "features", "context"]


@pytest.fixture(scope="module", params=HOSTS)
def host(request: pytest.FixtureRequest) -> Host:
    return HOSTS[request.param]()


@pytest.fixture(scope="module")
def before(host: Host) -> tuple[Any, Tensor]:
    """The U-Net's structure and its output before the first test."""
    return structure(host.unet), host.run()


@pytest.fixture(autouse=True)
def unchanged(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test that has the U-Net it is what it was."""
    if "host" not in request.fixturenames:
        yield
        return
    host: Host = request.getfixturevalue("host")
    (before, output) = request.getfixturevalue("before")
    yield
    assert structure(host.unet) == before
    assert torch.equal(host.run(), output)


def spoilt(host: Host, kind: str, index: int, value: float) -> ActiveUnit:
    """A unit of this kind with one number that is `value` in what it adds."""
    unit = host.unit(kind, index)
    method = {
        "noise": "residuals", "tokens": "terms", "features": "features", "context": "extra_tokens"
    }[kind]  # fmt: skip
    original = getattr(unit.control, method)

    def give(*args: Any) -> Any:
        given = original(*args)
        found = first_tensor(given)
        found[(0,) * found.dim()] = value
        return given

    vars(unit.control)[method] = give
    return unit


def first_tensor(given: Any) -> Tensor:
    """The tensor in what a control gives that reaches every row; of its own memory."""
    if isinstance(given, Tensor):
        return given
    first = given.mid if hasattr(given, "mid") else given[0]
    return first if isinstance(first, Tensor) else first.values


def error_of(host: Host, *units: ActiveUnit) -> CtrlGenError:
    with pytest.raises(CtrlGenError) as raised, host.session(*units):
        host.run()
    return raised.value


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_unit_is_named(host: Host, kind: str, value: float) -> None:
    error = error_of(host, host.unit("noise", 0), spoilt(host, kind, 1, value), host.unit("tokens", 2))
    assert isinstance(error, RequestError)
    assert error.path == "$.units[1]"
    assert "'unit 1'" in error.message
    assert "step 1 of 2" in error.message


@dataclass
class Repeated:
    """A call that is finite when some units act: those in `finite`, and not when others do."""

    suspects: Suspects
    finite: set[frozenset[int | str]]
    position: Position = POSITION

    def repeat(self) -> bool:
        if self.suspects.indices == {"moved"}:
            raise RuntimeError("Expected all tensors to be on the same device")
        return self.suspects.indices in self.finite


NONE, FIRST, SECOND, BOTH = (frozenset(each) for each in ((), (0,), (1,), (0, 1)))


@pytest.mark.parametrize(
    ("finite", "kind", "said"),
    [
        ({NONE, SECOND}, RequestError, "$.units[0]: with 'unit 0'"),
        ({NONE, FIRST}, RequestError, "$.units[1]: with 'unit 1'"),
        ({NONE, FIRST, SECOND}, RequestError, "$.units: with all units"),
        ({NONE, FIRST, SECOND, BOTH}, HostError, "not when the call is repeated"),
        (set(), HostError, "also without any unit"),
    ],
    ids=["first", "second", "together", "never again", "the U-Net"],
)
def test_who_is_to_blame(finite: Any, kind: type[CtrlGenError], said: str) -> None:
    suspects = Suspects(POSITION)
    units = [networks.active(networks.TokenControl(index), index) for index in (0, 1)]
    error = not_finite(cast("Any", Repeated(suspects, finite)), units, suspects)
    assert isinstance(error, kind)
    assert said in str(error)
    assert "step 3 of 20" in str(error)


def test_a_call_that_cannot_be_repeated_blames_nobody() -> None:
    suspects = Suspects(POSITION, frozenset({"moved"}))
    error = not_finite(cast("Any", Repeated(suspects, set())), [], suspects)
    assert isinstance(error, HostError)
    assert "same device" in str(error)


def test_a_unet_that_is_to_blame_itself(host: Host) -> None:
    weight = next(host.unet.parameters())
    kept = weight.data.clone()
    weight.data.view(-1)[0] = float("nan")
    try:
        error = error_of(host, host.unit("noise", 0))
    finally:
        weight.data.copy_(kept)
    assert isinstance(error, HostError)
    assert "also without any unit" in str(error)


def test_a_unit_that_does_not_act_is_never_blamed(host: Host) -> None:
    silent = spoilt(host, "noise", 1, float("nan"))
    with host.session(host.unit("tokens", 0), networks.active(silent.control, 1, weight=0)):
        assert torch.isfinite(host.run()).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_number_is_found_wherever_it_stands(dtype: torch.dtype, value: float) -> None:
    largest = torch.full((2, 4, 5, 7), torch.finfo(dtype).max, dtype=dtype)
    assert finite.FiniteFlag(largest).value
    for place in (0, 17, largest.numel() - 1):
        spoiled = largest.clone()
        spoiled.view(-1)[place] = value
        assert not finite.FiniteFlag(spoiled).value


class Late(finite.FiniteFlag):
    """As on a GPU: the answer is known once somebody waits for it."""

    waits = 0

    @property
    def known(self) -> bool:
        return False

    @property
    def value(self) -> bool:
        Late.waits += 1
        return super().value


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finite, "FiniteFlag", Late)
    monkeypatch.setattr(Late, "waits", 0)


@pytest.mark.usefixtures("late")
def test_a_gpu_is_not_waited_for_before_the_end(host: Host) -> None:
    def sample() -> None:
        with host.session(spoilt(host, "noise", 0, float("nan"))):
            host.run()
            host.run()
            assert Late.waits == 0

    with pytest.raises(RequestError, match=r"\$\.units\[0\]"):
        sample()


@pytest.mark.usefixtures("late")
def test_the_hosts_own_complaint_does_not_hide_the_unit(host: Host) -> None:
    def sample() -> None:
        with host.session(spoilt(host, "tokens", 0, float("nan"))):
            host.run()
            raise ValueError("A tensor with NaNs was produced in Unet.")

    with pytest.raises(RequestError, match=r"\$\.units\[0\]"):
        sample()


@pytest.mark.usefixtures("late")
def test_an_interrupt_is_not_delayed(host: Host) -> None:
    def sample() -> None:
        with host.session(spoilt(host, "tokens", 0, float("nan"))):
            host.run()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample()
    assert Late.waits == 0
