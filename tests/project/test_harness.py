"""The harness of the benchmarks: limits, JSON output, paired timing and the runner's verdict."""

import importlib
import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import _harness
import pytest
from _harness import Paired, Result, at_least, at_most, finish, paired

RUNNER = Path(__file__).resolve().parents[2] / "benchmarks" / "__main__.py"
LIMITS = {"ratio": at_most(1.03), "f1": at_least(0.7)}
WHOLE = '"figures": {}, "limits": {}'
PLAIN, SMOKE = Namespace(json=False, smoke=False), Namespace(json=False, smoke=True)


def test_a_missed_limit_gives_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    good = Result("x", {"ratio": 1.03, "f1": 0.7}, LIMITS)
    assert finish(good, PLAIN) == 0
    assert finish(Result("x", {"ratio": 1.04, "f1": 0.7}, LIMITS), PLAIN) == 1
    assert finish(Result("x", {"ratio": 1, "f1": 0.69}, LIMITS), PLAIN) == 1
    assert "MISSED" in capsys.readouterr().out


def test_nan_keeps_no_limit_and_is_null_in_json() -> None:
    result = Result("x", {"ratio": float("nan"), "f1": 1.0}, LIMITS)
    assert not result.ok
    assert json.loads(result.json())["figures"]["ratio"] is None


def test_the_json_is_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    finish(Result("x", {"ratio": 1.0, "f1": 0.9}, LIMITS), Namespace(json=True, smoke=False))
    last = capsys.readouterr().out.splitlines()[-1]
    assert json.loads(last) == {
        "name": "x",
        "figures": {"ratio": 1.0, "f1": 0.9},
        "errors": {},
        "limits": {"ratio": {"at_most": 1.03}, "f1": {"at_least": 0.7}},
        "ok": True,
    }


def test_a_limit_is_missed_only_beyond_two_standard_errors() -> None:
    for kind, close, far in ((at_most, 1.05, 1.07), (at_least, 0.95, 0.93)):
        limits, errors = {"x": kind(1.0)}, {"x": 0.03}
        assert Result("x", {"x": close}, limits, errors).ok
        assert not Result("x", {"x": far}, limits, errors).ok
        assert not Result("x", {"x": far}, limits, {"x": float("nan")}).ok
        assert not Result("x", {"x": float("nan")}, limits, errors).ok


def test_a_smoke_run_judges_no_limit_but_names_every_figure() -> None:
    assert finish(Result("x", {"ratio": 9, "f1": 0}, LIMITS), SMOKE) == 0
    with pytest.raises(KeyError):
        finish(Result("x", {"ratio": 9}, LIMITS), SMOKE)


@pytest.mark.parametrize("program", sorted(path.stem for path in RUNNER.parent.glob("[!_]*.py")))
def test_every_program_imports(program: str) -> None:
    # Not by importing Ray: a process that has it cannot start a cluster of its own, as test_cluster does.
    if program == "cluster" and find_spec("ray") is None:
        pytest.skip("Ray is in the newer of the two sets only")
    assert callable(importlib.import_module(program).main)


def test_a_limit_on_a_missing_figure_is_an_error() -> None:
    with pytest.raises(KeyError):
        _ = Result("x", {"ratio": 1.0}, LIMITS).ok


def test_pairs_swap_their_order() -> None:
    order: list[str] = []
    found = paired(lambda: order.append("a"), lambda: order.append("b"), 3)
    assert order == ["a", "b", *("a", "b"), *("b", "a"), *("a", "b")]
    assert len(found.ratios) == 3


@pytest.fixture
def spend(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets so many seconds pass on the clock of the harness, so that no other process can disturb it."""
    now = [0.0]

    def passing(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(_harness, "time", Namespace(perf_counter=lambda: now[0]))
    return passing


def test_there_are_more_pairs_while_the_error_is_large(spend: Callable[[float], None]) -> None:
    durations = iter([0.0, 0.001, 0.004] * 100)

    def uneven() -> None:
        spend(next(durations))

    def even() -> None:
        spend(0.002)

    assert len(paired(uneven, even, 3).ratios) == 3
    assert len(paired(uneven, even, 3, error=1e-9, budget=0.1).ratios) > 5
    assert len(paired(uneven, even, 3, error=100.0, budget=60.0).ratios) == 3


def test_the_ratio_is_a_over_b(spend: Callable[[float], None]) -> None:
    assert paired(lambda: spend(0.02), lambda: spend(0.005), 3).ratio == pytest.approx(4)


def test_the_spread_is_between_the_quartiles() -> None:
    found = Paired((1.0, 2.0, 3.0, 4.0, 5.0), 0.0, 0.0)
    assert (found.ratio, found.spread) == (3.0, 2.0)


@pytest.mark.parametrize(
    ("program", "code", "verdict"),
    [
        (f"print('{{{WHOLE}, \"ok\": true}}')", 0, "ok"),
        (f"print('{{{WHOLE}, \"ok\": false}}'); raise SystemExit(1)", 1, "missed a limit"),
        ("raise RuntimeError", 1, "failed"),
        ("print('done')", 1, "failed"),
        ("print('{\"ok\": true}')", 1, "failed"),
    ],
)
def test_the_runner_tells_what_failed(tmp_path: Path, program: str, code: int, verdict: str) -> None:
    for name in ("__main__.py", "_harness.py"):
        (tmp_path / name).write_text(RUNNER.with_name(name).read_text("utf-8"), "utf-8")
    (tmp_path / "one.py").write_text(program, "utf-8")
    command = [sys.executable, str(tmp_path), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stdout.splitlines()[-1].endswith(f" s  {verdict}")
