import numpy as np
import pytest

from marm.report.figures import smooth, thin
from marm.report.text import ABSENT, count, figure, plain, share, size

NAN = float("nan")


def test_thinning_takes_means_of_stretches_and_ends_at_their_ends():
    x, y = thin(np.arange(1.0, 8.0), np.array([1, 3, NAN, 5, NAN, NAN, 9.0]), points=4)
    np.testing.assert_array_equal(x, [2, 4, 6, 7])
    np.testing.assert_array_equal(y, [2, 5, NAN, 9])


def test_short_curves_are_not_thinned():
    x, y = thin(np.zeros(0), np.zeros(0))
    assert len(x) == len(y) == 0
    np.testing.assert_array_equal(thin(np.arange(3.0), np.arange(3.0), points=3)[1], [0, 1, 2])


def test_smoothing_is_a_centred_mean_without_the_missing():
    y = np.array([1, 2, 6, NAN, 4.0])
    np.testing.assert_allclose(smooth(y, 3), [1.5, 3, 4, 5, 4])
    np.testing.assert_array_equal(smooth(np.full(3, NAN), 2), [NAN] * 3)
    np.testing.assert_allclose(smooth(np.array([1.0, 2, 3]), 2), [1, 1.5, 2.5])


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (count(987), "987"),
        (count(1_234_567), "1.23 M"),
        (count(999_999), "1 M"),
        (size(1_572_864), "1.5 MiB"),
        (size(1000), "1000 B"),
        (size(0), "0 B"),
        (share(0.9731), "97.3 %"),
        (share(NAN), ABSENT),
        (figure(0.73404), "0.7340"),
        (figure(-12.345), "-12.35"),
        (figure(12345.6), "12,346"),
        (figure(None), ABSENT),
        (figure(True), ABSENT),
        (plain(True), "yes"),
        (plain([1000, "a", None]), "1,000, a, –"),
        (plain(0.001), "0.001"),
    ],
)
def test_numbers_read_as_people_write_them(shown, wanted):
    assert shown == wanted
