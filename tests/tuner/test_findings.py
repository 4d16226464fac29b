"""A search's findings: probabilities, confidence and plots."""

from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_ctrlgen.tuner.scoring.confidence import at_least, confidence_of
from lib_ctrlgen.tuner.search.scatter import Dot, scatter


@given(st.floats(-2, 2), st.floats(0.01, 2))
def test_the_probability_is_that_of_a_normal_difference(gain: float, error: float) -> None:
    draws = np.random.default_rng(0).normal(gain, error, 20000)
    assert at_least(gain, error) == pytest.approx((draws >= 0).mean(), abs=0.02)


def test_confidence_of_says_what_it_rests_on() -> None:
    means = [{"adherence.0": 0.9}, {"adherence.0": 0.89}, {"adherence.0": 0.88}, {"adherence.0": 0.1}]
    spreads = [{"adherence.0": 0.01}] * 4
    names = ["a", "b", "c", "d"]
    two = confidence_of(means, spreads, 2, names)
    assert two is not None
    assert (two.score, two.runner_up, two.within) == ("adherence", 1, 1)
    assert two.probability == pytest.approx(at_least(0.01, 0.01 * 2**0.5))
    assert "76%" in two.sentence
    one = confidence_of(means, [{}] * 4, 1, names)
    assert one is not None
    assert (one.probability, "With one seed the confidence is unknown" in one.sentence) == (None, True)
    assert confidence_of([{}], [{}], 2, ["a"]) is None


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.floats(0, 9)), max_size=6))
def test_a_scatter_plot_is_well_formed(numbers: list[tuple[float, float, float]]) -> None:
    dots = [Dot(x=x, y=y, dx=error, text="a < b & c") for x, y, error in numbers]
    tree = ET.fromstring(scatter(dots, "<x>", "y & z"))
    circles = [each for each in tree.iter("{http://www.w3.org/2000/svg}circle") if each.get("cx")]
    assert len(circles) == len(dots)
    assert all(0 <= float(each.get("cx", "")) <= 380 for each in circles)
