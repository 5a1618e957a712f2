"""Numbers in words: formats and verdicts by hand, projections against exact answers."""

import math

import numpy as np
import pytest

from tighter.report.images import are_images, best_columns, to_tiles
from tighter.report.latent import project
from tighter.report.markup import decimals, moment, percent, signed, verdict, with_error


@pytest.mark.parametrize("level", ["good", "fair", "poor", "unknown"])
def test_the_verdict_is_the_recorded_one(level: str):
    # Whatever else the record holds: nothing is judged a second time.
    told = verdict({"verdict": "k̂ says so", "verdict_level": level, "log_likelihood": math.nan})
    assert (told.level, told.text) == (level, "k̂ says so.")


@pytest.mark.parametrize(
    "record",
    [{}, {"verdict": "good"}, {"verdict": 3, "verdict_level": "good"}, {"verdict_level": "top"}],
)
def test_without_a_recorded_verdict_none_is_made_up(record: dict):
    assert verdict(record | {"share_pareto_k_above_0.7": 0.0}).level == "unknown"


def test_numbers_with_their_errors():
    assert with_error(-20.1234, 0.4321) == "−20.12 ± 0.43"
    assert with_error(-20.1234, 12.0) == "−20 ± 12"
    assert with_error(0.1234, math.nan) == "0.12"


@pytest.mark.parametrize(
    ("error", "places"),
    [(0.4, 2), (0.01, 3), (1.5, 1), (12.0, 0), (300.0, 0), (1e-9, 5), (0.0, 2), (math.nan, 2)],
)
def test_two_digits_of_the_error_are_shown(error: float, places: int):
    assert decimals(error) == places


def test_formats():
    assert signed(-1234.56, 1) == "−1,234.6"
    assert signed(math.nan, 1) == "NaN"
    assert signed(-math.inf, 1) == "−∞"
    assert percent(0.02) == "2.0%"
    assert percent(0.0001) == "<0.1%"
    assert percent(0.0) == "0.0%"
    assert moment("2026-11-20T14:30:00+02:00") == "20 November 2026, 12:30 UTC"
    assert moment("2026-11-20T14:30:00") == "20 November 2026, 14:30"
    assert moment("soon") == "soon"


def test_principal_components_of_points_on_a_known_plane():
    # Variances 9, 4 and 0 along orthogonal directions: shares 9/13 and 4/13 by hand.
    corners = np.array([[a, b] for a in (-3.0, 3.0) for b in (-2.0, 2.0)])
    directions = np.array([[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    plane = project(corners @ directions + 7.0, None)
    assert plane is not None
    np.testing.assert_allclose(plane.points, corners, atol=1e-12)
    assert "69.2%" in plane.axes[0]
    assert "30.8%" in plane.axes[1]


def test_two_dimensions_are_left_as_they_are():
    encodings = np.array([[1.0, 2.0], [3.0, 5.0], [np.nan, 0.0]])
    plane = project(encodings, np.array([4, 5, 6]))
    assert plane is not None
    np.testing.assert_array_equal(plane.points, encodings[:2])
    np.testing.assert_array_equal(plane.labels, [4, 5])
    assert "1 encodings" not in plane.note
    assert "isn't finite" in plane.note


def test_rows_are_pictures_only_if_square_and_within_range():
    assert are_images(np.zeros((2, 16)))
    assert not are_images(np.zeros((2, 9)))
    assert not are_images(np.zeros((2, 15)))
    assert not are_images(np.full((2, 16), 1.5))
    assert are_images(np.full((2, 5, 3), 9.0))


def test_tiles_clip_and_say_so():
    tiles = to_tiles(np.array([[[0.0, 1.0], [0.5, 2.0]], [[np.nan, -1.0], [1.0, 1.0]]]))
    np.testing.assert_array_equal(tiles.pixels, [[[0, 255], [128, 255]], [[0, 0], [255, 255]]])
    assert "25.0% of the values lie outside [0, 1]" in tiles.note
    assert "12.5% of the values aren't finite" in tiles.note


def test_columns_leave_the_smallest_gap():
    assert best_columns(60, 15) == 15
    assert best_columns(16, 15) == 8
    assert best_columns(25, 15) == 13
    assert best_columns(7, 15) == 7
    assert best_columns(0, 15) == 1
