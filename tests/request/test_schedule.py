"""Schedules: their text form, windows and curves."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.curve import EASINGS, Curve, Keyframe, Window
from lib_ctrlgen.request.schedule import LARGEST, Schedule, constant, parse_schedule

progresses = st.floats(0, 1)
values = st.floats(-LARGEST, LARGEST)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start, end = sorted((draw(progresses), draw(progresses)))
    return draw(st.sampled_from([Window(), Window(start=start, end=end)]))


@st.composite
def curves(draw: st.DrawFn, easings: tuple[str, ...] = tuple(EASINGS)) -> Curve:
    places = sorted(draw(st.sets(progresses, min_size=1, max_size=6)))
    frames = [
        Keyframe(progress=place, value=draw(values), easing=draw(st.sampled_from(easings)))
        for place in places
    ]
    return Curve(keyframes=tuple(frames), window=draw(windows()))


schedules = st.lists(curves(), min_size=1, max_size=3).map(lambda found: Schedule(tuple(found)))


@given(schedules)
def test_text_and_pickle_round_trip(schedule: Schedule) -> None:
    again = parse_schedule(str(schedule))
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert pickle.loads(pickle.dumps(schedule)) == schedule


@given(curves(), progresses)
def test_a_curve_stays_between_its_neighbouring_keyframes(curve: Curve, progress: float) -> None:
    value = Curve(keyframes=curve.keyframes)(progress)
    before = [frame.value for frame in curve.keyframes if frame.progress <= progress][-1:]
    after = [frame.value for frame in curve.keyframes if frame.progress >= progress][:1]
    assert min(before + after) <= value <= max(before + after)


@given(curves())
def test_a_curve_passes_through_its_keyframes(curve: Curve) -> None:
    whole = Curve(keyframes=curve.keyframes)
    assert [whole(frame.progress) for frame in curve.keyframes] == [frame.value for frame in curve.keyframes]


@given(schedules, progresses, progresses, progresses)
def test_a_window_is_half_open_and_closed_at_one(
    schedule: Schedule, a: float, b: float, progress: float
) -> None:
    start, end = sorted((a, b))
    inside = start <= progress and (progress < end or end == 1)
    windowed = schedule.within(start, end)
    for place, acts in ((progress, inside), (start, start < end or end == 1), (end, end == 1)):
        assert windowed(place) == (schedule(place) if acts else 0)


@given(schedules, schedules, progresses)
def test_a_product_multiplies(a: Schedule, b: Schedule, progress: float) -> None:
    assert (a * b)(progress) == pytest.approx(a(progress) * b(progress), rel=1e-12)


@given(
    st.lists(
        st.tuples(st.integers(0, 1000), st.integers(-50, 50)),
        min_size=2,
        max_size=8,
        unique_by=lambda p: p[0],
    )
)
def test_smooth_is_pchip(points: list[tuple[int, int]]) -> None:
    interpolate = pytest.importorskip("scipy.interpolate")
    numpy = pytest.importorskip("numpy")
    points = sorted(points)
    places, heights = [p / 1000 for p, _ in points], [v / 10 for _, v in points]
    frames = [Keyframe(progress=p, value=v, easing="smooth") for p, v in zip(places, heights, strict=True)]
    curve = Curve(keyframes=tuple(frames))
    grid = numpy.linspace(places[0], places[-1], 97)
    expected = interpolate.PchipInterpolator(places, heights)(grid)
    numpy.testing.assert_allclose([curve(p) for p in grid], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (0.8, [0.8] * 4),
        ("1>0.2", [1, 0.8, 0.6, 0.4]),
        ("1@0, 0.6@0.5, 0@1", [1, 0.8, 0.6, 0.3]),
        ("2@0.25, 1@0.5", [2, 2, 1, 1]),
        ("1@0 hold, 0@0.5", [1, 1, 0, 0]),
        ("0@0 ease-in, 1@1", [0, 0.0625, 0.25, 0.5625]),
        ("0@0 ease-out, 1@1", [0, 0.4375, 0.75, 0.9375]),
        ("0>1 ease-in-out", [0, 0.1464466, 0.5, 0.8535534]),
        ("0>1 smooth", [0, 0.25, 0.5, 0.75]),
        ("1 in 0.25..0.75", [0, 1, 1, 0]),
        ("1>0 * 0.5 in 0..0.5", [0.5, 0.375, 0, 0]),
        (" -.5 @ 0 ,+1e0@1 ", [-0.5, -0.125, 0.25, 0.625]),
    ],
)
def test_the_text_form(text: str | float, expected: list[float]) -> None:
    assert parse_schedule(text).sample(4) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", 1, "expected a value"),
        ("1@0, 1@0", 8, "progress must rise"),
        ("1@0.5, 1@0.4", 10, "progress must rise"),
        ("1@1.5", 3, "progress must be in 0..1"),
        ("1@-0.1", 3, "progress must be in 0..1"),
        ("nan", 1, "expected a value"),
        ("1e999", 1, "finite"),
        ("1@0 wobble, 0@1", 5, "unknown easing 'wobble'"),
        ("1@0,", 5, "expected a value"),
        ("1@0 0@1", 5, "unexpected '0'"),
        ("1 in 0.5", 9, "expected '..'"),
        ("1 in 0.5..0.2", 11, "must not end before it starts"),
        ("1 * ", 5, "expected a value"),
        ("1;2", 2, "unexpected ';'"),
    ],
)
def test_an_error_shows_the_place(text: str, place: int, message: str) -> None:
    with pytest.raises(RequestError, match=f"at character {place} of the schedule") as caught:
        parse_schedule(text)
    assert message in str(caught.value)
    assert f"{text[: place - 1]}\u25b6{text[place - 1 :]}" in str(caught.value)


@pytest.mark.parametrize("source", [True, None, [1], {}, float("nan"), float("inf"), -1e7, 10**400])
def test_what_is_no_schedule_is_refused(source: object) -> None:
    with pytest.raises(RequestError):
        parse_schedule(source)  # type: ignore[arg-type]


grammar = st.lists(
    st.sampled_from([*"0123456789.@>,* \t-+eE", "in", "..", *EASINGS, "1@0", "0.5@1", "1e5"]), max_size=14
).map("".join)


@given(st.one_of(st.text(), grammar, st.floats(), st.integers()))
def test_any_text_or_number_is_a_schedule_or_an_error(source: str | float) -> None:
    try:
        schedule = parse_schedule(source)
    except RequestError:
        return
    assert parse_schedule(str(schedule)) == schedule
    assert all(abs(value) < float("inf") for value in schedule.sample(7))


def test_long_texts_are_read_or_refused() -> None:
    many = ", ".join(f"1@{i / 5000}" for i in range(5000))
    assert len(parse_schedule(many).curves[0].keyframes) == 5000
    with pytest.raises(RequestError, match="factors"):
        parse_schedule(" * ".join(["1e6"] * 60))


def test_a_schedule_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        constant(1.0).curves = ()
