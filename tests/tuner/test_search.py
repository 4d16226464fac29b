"""The tuner's search: its budget, its resumption, and early stopping."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.jobs import read_tune_job
from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.tuner.search import auto_tuner as module
from lib_ctrlgen.tuner.search.auto_tuner import auto_tuner
from lib_ctrlgen.tuner.search.early_stopping import clearly_beaten
from lib_ctrlgen.tuner.search.space import space_of
from lib_ctrlgen.tuner.search.study import Search
from tests.support import control_files as files
from tests.support import headless_models as models
from tests.support.analytic_host import PAYLOAD, AnalyticHost, adherence, overdone
from tests.support.properties import examples
from tests.support.searches import MEMORY, RANGES, run, spec, summary, tried, tuner


def contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != MEMORY)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_it_finds_better_than_chance(tmp_path: Path) -> None:
    budget, found, chance = 41, [], []
    for seed in range(2):
        run(AnalyticHost(), tmp_path / str(seed), budget=budget, seed=seed)
        found.append(
            max(each["objectives"]["adherence"] for each in summary(tmp_path / str(seed))["candidates"])
        )
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = rng.uniform([0, 0, 1], [2, 2, 15], (budget, 3))
        chance.append(max(adherence(request(*point)) for point in points))
    assert np.mean(found) > np.mean(chance) + np.std(chance) / 2
    assert np.mean(found) > 0.85


def request(first: float, second: float, guidance: float) -> GenerationRequest:
    units = [{"model": "a", "weight": float(first)}, {"model": "b", "weight": float(second)}]
    return parse_request(PAYLOAD | {"units": units, "cfg_scale": float(guidance)}, GenerationRequest)


def test_the_job_itself_is_tried_first_and_all_is_reported(tmp_path: Path) -> None:
    host = AnalyticHost(noise=0.02)
    tuned = run(host, tmp_path, budget=24, seeds=2)
    found = summary(tmp_path)
    assert found["candidates"][0]["values"] == {"units.0.weight": 1, "units.1.weight": 1, "cfg_scale": 12}
    assert (found["spent"], host.made, len(tuned.done)) == (24, 24, 12)
    assert found["objectives"] == ["adherence", "over_control"]
    assert all(set(each["standard_errors"]) == set(found["objectives"]) for each in found["candidates"])
    page = tuned.report.read_text("utf-8")
    assert tuned.confidence in page.replace("&#39;", "'")
    assert "12 candidates (12 with all steps) cost 24 of 24 pictures" in page
    assert page.count("<svg") == 1 + len(RANGES)
    rows = (tmp_path / "cells.csv").read_text("utf-8").splitlines()
    assert rows[0].startswith("Unit 0 weight + Unit 1 weight + CFG,adherence.0")
    assert tuned.choice is not None


def test_equal_seeds_try_the_same_and_others_other_things(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(AnalyticHost(), tmp_path / name, seed=seed)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert tried(tmp_path / "a")[1:] != tried(tmp_path / "c")[1:]


def test_running_again_makes_nothing_and_a_bigger_budget_goes_on(tmp_path: Path) -> None:
    host = AnalyticHost()
    run(host, tmp_path)
    before, made = contents(tmp_path), host.made
    assert run(host, tmp_path).made == 0
    assert contents(tmp_path) == before
    first = tried(tmp_path)
    run(host, tmp_path, budget=20)
    assert host.made == 20 == made + 7
    assert tried(tmp_path)[: len(first)] == first
    next(path for path in (tmp_path / "cells").glob("*.png")).unlink()
    assert run(host, tmp_path, budget=20).made == 1


class Killed(BaseException):
    """What no handler catches, as a kill would not be caught."""


def dies(monkeypatch: pytest.MonkeyPatch, name: str, after: int, *, within: bool) -> Callable[[], None]:
    """Die at the call of a method of Search, before it or in its midst."""
    whole, calls = getattr(Search, name), [0]

    def dying(self: Search, *args: Any) -> Any:
        calls[0] += 1
        if calls[0] != after:
            return whole(self, *args)
        if within and name == "ask":
            self.study.ask()  # nothing suggested yet
        if within and name == "tell":
            self.open[args[0].number].set_user_attr("cost", 99.0)
        raise Killed

    monkeypatch.setattr(Search, name, dying)
    return lambda: monkeypatch.setattr(Search, name, whole)


@pytest.mark.parametrize(
    ("name", "after", "within"), [("ask", 3, False), ("ask", 7, True), ("tell", 2, False), ("tell", 7, True)]
)
def test_a_search_that_was_killed_ends_as_if_nothing_had_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, after: int, within: bool
) -> None:
    alive = dies(monkeypatch, name, after, within=within)
    with pytest.raises(Killed):
        run(AnalyticHost(), tmp_path / "a", early=0.4)
    alive()
    with (tmp_path / "a" / MEMORY).open("ab") as file:
        file.write(b'{"op_code": 5, "wor')  # the power went, too
    for folder in ("a", "b"):
        run(AnalyticHost(), tmp_path / folder, early=0.4)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize("after", [0, 1, 6, 9])
def test_an_interrupted_search_goes_on_where_it_stopped(tmp_path: Path, after: int) -> None:
    host, other = AnalyticHost(), AnalyticHost()
    host.stops_after = after
    search = tuner(host, tmp_path / "a", early=0.4)
    with pytest.raises(KeyboardInterrupt):
        search.run(lambda _progress: None)
    assert search.tuned.report.is_file()
    host.stops_after = None
    run(host, tmp_path / "a", early=0.4)
    run(other, tmp_path / "b", early=0.4)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert host.made <= other.made + 4  # what was being made is lost


def test_a_memory_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / MEMORY).write_text("no journal\nat all\n")
    with pytest.raises(HostError, match=MEMORY):
        run(AnalyticHost(), tmp_path)


@examples(8)
@given(
    st.integers(4, 14), st.integers(1, 3), st.integers(1, 5), st.sampled_from([None, 0.3, 0.7]), st.booleans()
)
def test_the_budget_is_never_exceeded(
    tmp_path_factory: pytest.TempPathFactory,
    budget: int,
    seeds: int,
    together: int,
    early: float | None,
    varied: bool,
) -> None:
    host, out = AnalyticHost(), tmp_path_factory.mktemp("budget")
    steps = [{"path": "steps", "values": "2-20 (+2)"}] if varied else []
    run(host, out, budget=budget, seeds=seeds, together=together, early=early, ranges=[*RANGES, *steps])
    spent = summary(out)["spent"]
    assert spent <= budget
    assert budget - spent < seeds + 1 if early else budget - spent < seeds
    if not varied:
        assert sum(host.steps) / 20 == pytest.approx(spent)


def test_stopping_early_saves_steps_and_never_stops_the_best(tmp_path: Path) -> None:
    run(AnalyticHost(), tmp_path, budget=100, seeds=4, early=0.2, seed=1)
    found = summary(tmp_path)["candidates"]
    stopped = [each for each in found if each["ending"] == "stopped"]
    assert len(found) > 100 // 4  # more than could be made in full
    early_costs = summary(tmp_path)["early"]
    assert early_costs["saved"] == 4 * len(stopped) > early_costs["cost"] == pytest.approx(0.2 * len(found))
    best = max(each["objectives"]["adherence"] for each in found if each["ending"] == "finished")
    for each in stopped:
        true = request(*each["values"].values())
        rivals = [request(*e["values"].values()) for e in found if e["ending"] == "finished"]
        assert adherence(true) < 0.95 * best
        assert any(adherence(r) > adherence(true) and overdone(r) < overdone(true) for r in rivals)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert f"{len(stopped)} stopped early, at 20% of the steps" in page
    assert (
        json.loads((tmp_path / "cells.json").read_text())["cells"][stopped[0]["number"]]["stopped"] == "early"
    )


def test_nothing_is_stopped_by_few_or_by_little() -> None:
    good, bad = {"adherence": 0.9, "over_control": 0.1}, {"adherence": 0.2, "over_control": 0.6}
    assert clearly_beaten(bad, [good] * 4)
    assert not clearly_beaten(bad, [good] * 3)
    assert not clearly_beaten(good, [bad] * 4)
    assert not clearly_beaten(bad | {"over_control": 0.05}, [good] * 4)
    assert not clearly_beaten(bad, [*[bad] * 4, good])
    assert not clearly_beaten({"adherence": 0.89, "over_control": 0.1}, [*[good] * 3, bad])


def test_a_small_space_is_searched_through(tmp_path: Path) -> None:
    host = AnalyticHost()
    tuned = run(host, tmp_path, budget=100, ranges=[{"path": "CFG", "values": "4, 5, 6"}])
    assert sorted(each["values"]["cfg_scale"] for each in summary(tmp_path)["candidates"]) == [4, 5, 6]
    assert (host.made, summary(tmp_path)["searched"]) == (3, True)
    assert "ended before its budget" in tuned.report.read_text("utf-8")


def test_what_makes_no_request_or_fails_does_not_stop_the_search(tmp_path: Path) -> None:
    ranges = [
        {"path": "Unit 0 start", "values": "0-0.9"},
        {"path": "Unit 0 end", "values": "0.1-1"},
        {"path": "Unit 0 weight", "values": [0.5, 1, 2]},
    ]
    for folder in ("a", "b"):
        host = AnalyticHost()
        host.fails = (2.0,)
        for budget in (24,) if folder == "a" else (7, 24):
            tuned = run(host, tmp_path / folder, budget=budget, ranges=ranges)
        found = summary(tmp_path / folder)
        failed = [each for each in found["candidates"] if each["ending"] == "failed"]
        assert {each["error"] for each in failed} == {"the model is sick"}
        assert found["spent"] == len(found["candidates"]) == 24
        assert found["proposed"] > 24
        assert "could not be made" in tuned.report.read_text("utf-8")


def test_a_first_candidate_that_fails_or_scores_nothing_ends_it(tmp_path: Path) -> None:
    host = AnalyticHost()
    host.fails = (1.0,)
    with pytest.raises(HostError, match=r"1 \+ 1 \+ 12\) failed: the model is sick"):
        run(host, tmp_path)
    host.fails, host.lacks = (), ("adherence.0",)
    with pytest.raises(RequestError, match="no score was measured") as caught:
        run(host, tmp_path / "b")
    assert caught.value.path == "$.tune.auto"


def test_a_search_with_the_engine(tmp_path: Path) -> None:
    models.write_model(tmp_path / "tiny")
    units = [
        {"model": f"{models.NAME}-edges", "image": files.drawn_url(), "preprocessor": "canny"},
        {"model": f"{models.NAME}-ip", "image": files.data_url(seed=2)},
    ]
    size = {"width": 64, "height": 64, "steps": 4, "sampler": "DDIM"}
    tune = spec(
        budget=7, seeds=2, early=0.5, ranges=[RANGES[0], {"path": "Sampler", "values": "DDIM, Euler"}]
    )
    host = EngineHost(engine=Engine([tmp_path / "tiny"], 1 << 28))
    payload = {"prompt": "a red star", "units": units, **size}
    progress: list[tuple[int, int]] = []
    search = auto_tuner(host, payload, tune, GenerationRequest, tmp_path / "out")
    tuned = search.run(lambda now: progress.append((now.done, now.total)))
    assert summary(tmp_path / "out")["objectives"] == ["adherence", "reference", "over_control"]
    assert (len(tuned.done), progress[-1]) == (2, (5, 7))
    assert progress == sorted(progress)
    assert tuned.choice is not None
    assert tuned.confidence in tuned.report.read_text("utf-8").replace("&#39;", "'")
    assert all(path.is_file() for path in tuned.sheets)


def test_the_example_is_valid() -> None:
    job = read_tune_job(Path(__file__).parents[2] / "examples/auto.yaml")
    assert job.tune.auto is not None
    assert space_of(job.payload, job.tune.auto, GenerationRequest).start == (1, 1)
    assert module.MEMORY == MEMORY
