"""Paired tests against literal loops, SciPy and the values that formulas give."""

import itertools

import numpy as np
import pytest
import scipy.stats

from gsto_viz.errors import GstoVizError
from gsto_viz.report.folder import shown_p
from gsto_viz.stats import (
    P_FLOOR,
    Images,
    benjamini_hochberg,
    cliffs_delta,
    d_z,
    equivalence,
    holm,
    image_mean_interval,
    poisson_weights,
    sign_flip,
)
from gsto_viz.stats.inference import weighted_sums


def names(n):
    return [f"im{i:03d}" for i in range(n)]


@pytest.mark.parametrize("shift", [0.0, 0.3, -0.6])
def test_all_patterns_of_few_clusters_are_tried(shift):
    d = np.random.default_rng(1).normal(shift, 1, 11).round(1)
    result = sign_flip(names(11), d)
    totals = [abs(np.dot(signs, d)) for signs in itertools.product((1, -1), repeat=11)]
    reached = sum(total >= abs(d.sum()) - 1e-9 for total in totals)
    assert result.p == pytest.approx(reached / 2**11, abs=1e-15)
    assert (result.exact, result.patterns, result.reason) == (True, 2**11, None)
    outside = scipy.stats.permutation_test(
        (d,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert result.p == pytest.approx(outside.pvalue, abs=1e-12)


def test_random_flips_agree_with_scipy_and_with_the_t_test():
    d = np.random.default_rng(2).normal(0.25, 1, 60)
    result = sign_flip(names(60), d)
    assert (result.exact, result.patterns) == (False, 9999)
    outside = scipy.stats.permutation_test(
        (d,), np.mean, permutation_type="samples", n_resamples=9999, vectorized=False
    )
    assert result.p == pytest.approx(outside.pvalue, abs=0.02)
    assert result.p == pytest.approx(scipy.stats.ttest_1samp(d, 0).pvalue, abs=0.02)


def test_p_is_never_zero():
    assert sign_flip(names(40), np.ones(40)).p == 1 / 10_000
    assert sign_flip(names(40), np.zeros(40)).p == 1.0


def test_clusters_keep_one_sign():
    rng = np.random.default_rng(3)
    block = np.repeat(np.arange(12), 4)
    d = rng.normal(0.2, 0.3, 48) + rng.normal(0, 1, 12)[block]
    images = Images({f"im{i:03d}": f"b{k}" for i, k in enumerate(block)})
    sums = np.array([d[block == k].sum() for k in range(12)])
    totals = np.array([np.dot(s, sums) for s in itertools.product((1, -1), repeat=12)])
    expected = (np.abs(totals) >= abs(sums.sum()) - 1e-9).mean()
    assert sign_flip(names(48), d, images).p == pytest.approx(expected, abs=1e-15)
    assert sign_flip(names(48), d).p != sign_flip(names(48), d, images).p


def test_order_of_images_changes_nothing():
    d = np.random.default_rng(4).normal(0.2, 1, 30)
    turned = np.random.default_rng(5).permutation(30)
    shuffled = [names(30)[k] for k in turned]
    assert sign_flip(names(30), d).p == sign_flip(shuffled, d[turned]).p
    assert equivalence(names(30), d).low == pytest.approx(
        equivalence(shuffled, d[turned]).low, abs=1e-12
    )


def test_a_sampled_p_at_its_floor_is_written_as_a_bound():
    sampled = sign_flip(names(40), np.ones(40))
    assert not sampled.exact
    assert sampled.p == P_FLOOR == 1 / 10_000
    assert shown_p(sampled.p) == "<= 0.0001"
    assert shown_p(0.0006, sampled.p) == "<= 0.0006"
    exact = sign_flip(names(13), np.ones(13))
    assert exact.p == 2 / 2**13
    assert shown_p(exact.p) == "0.0002"
    assert shown_p(0.02, exact.p) == "0.0200"
    assert shown_p(None) == shown_p(None, 0.1) == shown_p(float("nan")) == "-"


def test_one_image_is_one_image():
    assert sign_flip(names(1), np.ones(1)).reason == "1 independent image, a test needs 10"
    assert sign_flip([], np.ones(0)).reason == "0 independent images, a test needs 10"


def test_too_few_clusters_have_a_reason_instead_of_a_number():
    result = sign_flip(names(9), np.ones(9))
    assert result.p is None
    assert "9 independent images, a test needs 10" in result.reason
    small = equivalence(names(9), np.ones(9))
    assert (small.equivalent, small.low, small.high) == (None, None, None)
    assert "needs 10" in small.reason
    assert weighted_sums(names(9), np.ones((9, 1)))[0] is None


def test_equivalence_is_a_90_percent_interval_inside_the_margin():
    rng = np.random.default_rng(6)
    d = rng.normal(0.0, 0.1, 100)
    result = equivalence(names(100), d)
    low, high, _ = image_mean_interval(names(100), d[:, None], level=0.9)
    assert (result.low, result.high) == (low[0], high[0])
    half = scipy.stats.t.ppf(0.95, 99) * d.std(ddof=1) / 10
    assert result.high - result.low == pytest.approx(2 * half, rel=0.1)
    assert result.equivalent is True
    assert equivalence(names(100), d + 0.05).equivalent is False
    assert equivalence(names(100), d, margin=0.001).equivalent is False
    with pytest.raises(GstoVizError, match="margin"):
        equivalence(names(100), d, margin=0)


def test_weighted_sums_are_literal_sums():
    values = np.random.default_rng(7).normal(size=(12, 2))
    sums, reason = weighted_sums(names(12), values)
    weights = poisson_weights(names(12))
    for k in (0, 5, 1999):
        expected = [sum(weights[i, k] * values[i, m] for i in range(12)) for m in range(2)]
        assert sums[k] == pytest.approx(expected, abs=1e-12)
    assert reason is None


def test_effect_sizes():
    d = np.array([1.0, 2.0, 4.0])
    assert d_z(d) == pytest.approx(d.mean() / np.sqrt(((d - d.mean()) ** 2).sum() / 2))
    assert d_z(np.full(5, 0.3)) is None
    assert d_z(np.array([1.0])) is None
    assert d_z(np.zeros(4)) is None
    assert [cliffs_delta(x) for x in (0.0, 0.5, 1.0)] == [1.0, 0.0, -1.0]


def test_holm_multiplies_step_by_step():
    # Worked by hand: sorted .005 .01 .03 .04 times 4 3 2 1, then non-decreasing.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
    assert benjamini_hochberg([]) == []


def test_benjamini_hochberg_by_its_definition():
    p = np.random.default_rng(8).random(20) ** 2
    for adjusted, value in zip(benjamini_hochberg(p.tolist()), p, strict=True):
        candidates = [other * 20 / (p <= other).sum() for other in p if other >= value]
        assert adjusted == pytest.approx(min([*candidates, 1.0]), abs=1e-14)
