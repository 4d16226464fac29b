"""Previews of the page of dials: what they are made of, their place in the queue, and that none is left."""

import json
from pathlib import Path
from typing import Any

import pytest

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.jobs import parse_job, read_job
from lib_ctrlgen.request.spec import to_payload
from lib_ctrlgen.serve.checks import CheckedJob
from lib_ctrlgen.serve.dials.names import names_of
from lib_ctrlgen.serve.dials.opened import example, exported, openable
from lib_ctrlgen.serve.dials.preview import PreviewSize, checked_preview, preview_of
from lib_ctrlgen.serve.dials.previews import Previews
from lib_ctrlgen.serve.limits import Limits
from lib_ctrlgen.serve.models import names_answer
from lib_ctrlgen.serve.posted import parse_posted
from tests.support.serve_jobs import ANNA, BERT, FakeModels, content_of, job_of, wait_for
from tests.support.serve_requests import PICTURE, everything

SMALL = PreviewSize(side=64, steps=5)


def preview(prompt: str = "a star", **fields: Any) -> CheckedJob:
    return checked_preview(content_of(prompt, **fields), SMALL, Limits(), lambda _request: None)


def test_a_preview_differs_from_its_request_in_size_alone() -> None:
    request = parse_job(everything())
    small = preview_of(request, SMALL)
    assert (small.width, small.height, small.steps, small.seed, small.batch_size) == (64, 64, 5, 0, 1)
    first, second = small.units
    assert (first.images, first.mask_feather) == ((PICTURE,), 4)
    assert first.weight == request.units[0].weight
    assert second == request.units[1]
    assert small.blend is not None
    assert small.blend.explore == 0
    assert small.blend.concepts == request.blend.concepts  # type: ignore[union-attr]
    same = to_payload(preview_of(small, SMALL)) == to_payload(small)
    assert same, "a small request stays as it is"


@pytest.mark.parametrize(
    ("fields", "size", "expected"),
    [
        ({"width": 512, "height": 768}, {"side": 256}, {"width": 168, "height": 256}),
        ({"width": 64, "height": 64}, {"side": 256}, {"width": 64, "height": 64}),
        ({"steps": 30, "sampler": "Heun"}, {"steps": 1}, {"steps": 1}),
        ({"units": [{"control": "style_aligned"}], "batch_size": 9}, {}, {"batch_size": 2}),
        (
            {"blend": {"mode": "trajectory", "concepts": [{"prompt": "a"}] * 3}, "batch_size": 9},
            {},
            {"batch_size": 5},
        ),
    ],
)
def test_a_preview_has_what_its_request_needs(
    fields: dict[str, Any], size: dict[str, Any], expected: dict[str, Any]
) -> None:
    small = preview_of(parse_job(content_of(**fields)), PreviewSize(**size))
    assert {name: getattr(small, name) for name in expected} == expected


def test_solo_switches_the_other_units_off_and_must_exist() -> None:
    unit = {"model": "ctrlgen-tiny-edges", "image": PICTURE}
    request = parse_job(content_of(units=[unit, unit, {**unit, "enabled": False}]))
    alone = [each.enabled for each in preview_of(request, PreviewSize(only=1)).units]
    assert alone == [False, True, False]
    with pytest.raises(RequestError, match=r"\$\.units: there is no unit 3"):
        preview_of(request, PreviewSize(only=3))


def test_the_whole_request_is_checked_before_its_preview() -> None:
    for fields, path in (
        ({"width": 4096}, "$.width"),
        ({"steps": 0}, "$.steps"),
        ({"units": [{"model": "ctrlgen-tiny-edges", "weight": "1@"}]}, "$.units[0].weight"),
        ({"model": "other"}, "$.model"),
    ):
        with pytest.raises(RequestError) as raised:
            checked_preview(content_of(**fields), SMALL, Limits(), FakeModels().checker())
        assert raised.value.path == path


def test_a_newer_preview_takes_the_place_of_an_older_one(make: Any, tmp_path: Path) -> None:
    service = make(1)
    previews = Previews(service)
    service.start()
    first = previews.submit(ANNA, preview("slow", steps=5))
    wait_for(lambda: service.running.get(first.id) and service.running[first.id].total)
    other = previews.submit(BERT, preview())
    waiting = previews.submit(ANNA, preview("never"))
    last = previews.submit(ANNA, preview("last"))
    wait_for(lambda: service.store.require(last.id).state == "done")
    wait_for(lambda: service.store.require(other.id).state == "done")
    assert {job.id for job in service.store.previews()} == {other.id, last.id}
    log = (tmp_path / "log.txt").read_text()
    assert waiting.id not in log
    assert f"end {first.id}" not in log
    assert service.store.listed() == []
    assert service.store.counts("anna") == {}
    assert (previews.of(ANNA, last.id), previews.of(BERT, last.id)) == (service.store.get(last.id), None)
    previews.drop_all(ANNA)
    previews.drop(other)
    assert service.store.previews() == []
    assert [*(tmp_path / "data/results").iterdir(), *(tmp_path / "data/work").iterdir()] == []


def test_previews_take_turns_with_other_users_and_go_before_own_jobs(make: Any) -> None:
    service = make(0, queue=2)
    previews = Previews(service)
    own = [service.submit(ANNA, job_of()) for _ in range(2)]
    first = previews.submit(ANNA, preview())  # beside as many jobs as one may have
    others = [service.submit(BERT, job_of()) for _ in range(2)]
    claimed = [service.store.claim().id for _ in range(2)]
    assert claimed == [first.id, others[0].id]
    second = previews.submit(ANNA, preview())
    claimed = [service.store.claim().id for _ in range(3)]
    assert claimed == [second.id, others[1].id, own[0].id]


def test_previews_that_nobody_fetched_are_removed(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    service = make(0)
    previews = Previews(service)
    old = previews.submit(ANNA, preview())
    service.store.end(old, "done", result={})
    previews.submit(BERT, preview())
    assert service.store.get(old.id) is not None
    monkeypatch.setattr("lib_ctrlgen.serve.dials.previews.KEPT_SECONDS", -1.0)
    waits = previews.submit(BERT, preview())
    assert service.store.get(old.id) is None
    service.stop(0)
    again = make(0)  # a server that is started again takes up no preview
    again.recover()
    assert again.store.get(waits.id) is None


def test_a_request_with_everything_comes_back_from_its_file(tmp_path: Path) -> None:
    for content in (
        everything(),
        example(),
        {"prompt": "", "tune": {"x": {"path": "steps", "values": "2, 3"}}},
    ):
        text = exported(content)
        again = openable(parse_posted(text.encode()))
        assert again == content
        assert list(again) == list(content)
        if "tune" not in content:
            path = tmp_path / "request.yaml"
            path.write_text(text, "utf-8")
            assert read_job(path).request == parse_job(content)


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ([], "$"),
        ({"units": {}}, "$.units"),
        ({"units": [1]}, "$.units[0]"),
        ({"units": [{"params": []}]}, "$.units[0].params"),
        ({"units": [{}, {"references": ["a"]}]}, "$.units[1].references[0]"),
        ({"blend": []}, "$.blend"),
        ({"blend": {"concepts": [None]}}, "$.blend.concepts[0]"),
        ({"prompt": "\ud800"}, "$"),
        ({"cfg_scale": float("nan")}, "$"),
        ({"prompt": b"a"}, "$"),
    ],
)
def test_what_the_cards_cannot_show_is_refused(content: Any, path: str) -> None:
    with pytest.raises(RequestError) as raised:
        openable(content)
    assert raised.value.path == path


def test_names_say_what_models_are_for_and_which_dials_there_are() -> None:
    answer = names_answer(["m"], ["ControlNet/tiny-edges", "tiny-ip"])
    names = json.loads(json.dumps(names_of(answer, Limits())))
    assert names["kinds"]["edges"]["unit"]["model"] == "ControlNet/tiny-edges"
    assert names["kinds"]["style"]["unit"]["params"] == {"weight_type": "style transfer"}
    assert names["kinds"]["reference"]["unit"] | {"weight": 0} == {
        "model": "", "control": "reference", "preprocessor": "none", "weight": 0, "guidance_start": 0.2,
        "guidance_end": 0.8, "params": {},
    }  # fmt: skip
    canny = next(each for each in names["preprocessors"] if each["name"] == "canny")
    assert [param["name"] for param in canny["params"]] == ["low_threshold", "high_threshold", "resolution"]
    assert not any(
        param["kind"] in ("image", "embedding") for each in names["families"].values() for param in each
    )
