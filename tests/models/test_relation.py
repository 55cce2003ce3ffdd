"""Pixel-to-region relations against literal loops."""

import math

import pytest
import torch

from gsto_viz.errors import GstoVizError, RefusedImageError
from gsto_viz.models import initialize
from gsto_viz.models.relation import Relation


def by_loops(relation: Relation, fine: torch.Tensor, coarse: torch.Tensor):
    """One pixel, one head, one cell at a time; returns the output and the weights."""
    k, m = relation.window, relation.heads
    query = torch.einsum("oi,ihw->ohw", relation.query.weight[:, :, 0, 0], fine)
    key = torch.einsum("oi,ihw->ohw", relation.key.weight[:, :, 0, 0], coarse)
    value = torch.einsum("oi,ihw->ohw", relation.value.weight[:, :, 0, 0], coarse)
    d = query.shape[0] // m
    (height, width), (h, w) = fine.shape[1:], coarse.shape[1:]
    out = torch.zeros(m * d, height, width, dtype=fine.dtype)
    weights = torch.zeros(m, k * k, height, width, dtype=fine.dtype)
    for head in range(m):
        own = slice(head * d, (head + 1) * d)
        for y in range(height):
            for x in range(width):
                scores = {}
                for dy in range(k):
                    for dx in range(k):
                        v, u = y // 2 + dy - k // 2, x // 2 + dx - k // 2
                        if 0 <= v < h and 0 <= u < w:
                            place = torch.cat(
                                [relation.rows[head, :, dy], relation.columns[head, :, dx]]
                            )
                            dot = float(query[own, y, x] @ (key[own, v, u] + place))
                            scores[dy, dx, v, u] = math.exp(dot / math.sqrt(d))
                total = sum(scores.values())
                for (dy, dx, v, u), score in scores.items():
                    weights[head, dy * k + dx, y, x] = score / total
                    out[own, y, x] += score / total * value[own, v, u]
    return out, weights


def seen(relation, fine, coarse):
    kept = []
    hook = relation.weights.register_forward_hook(lambda _m, _i, out: kept.append(out))
    try:
        out = relation(fine, coarse)
    finally:
        hook.remove()
    return out, kept[0]


def drawn(*args, **kwargs):
    torch.manual_seed(0)
    relation = Relation(*args, **kwargs).double()
    with torch.no_grad():
        relation.rows.normal_()
        relation.columns.normal_()
    return relation


@pytest.mark.parametrize("size", [(6, 8), (5, 7), (6, 5)])
@pytest.mark.parametrize(("window", "heads"), [(1, 1), (3, 2), (5, 1)])
def test_the_efficient_form_is_the_definition(size, window, heads):
    with torch.random.fork_rng():
        relation = drawn(3, 5, 4, heads=heads, window=window)
        fine = torch.randn(2, 3, *size, dtype=torch.float64)
        coarse = torch.randn(2, 5, -(-size[0] // 2), -(-size[1] // 2), dtype=torch.float64)
    with torch.no_grad():
        out, weights = seen(relation, fine, coarse)
        for one in range(2):
            expected, listened = by_loops(relation, fine[one], coarse[one])
            torch.testing.assert_close(out[one], expected, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(weights[one], listened, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(weights.sum(2), torch.ones_like(weights.sum(2)))
    assert weights.shape == (2, heads, window**2, *size)


def test_a_pixel_listens_to_the_one_cell_that_fits():
    """Keys are unit vectors and one query is 40 times one of them: only that cell is taken."""
    relation = Relation(4, 4, 4, heads=1, window=3).double()
    with torch.no_grad():
        for conv in (relation.query, relation.key, relation.value):
            conv.weight.copy_(torch.eye(4, dtype=torch.float64)[..., None, None])
    coarse = torch.zeros(1, 4, 3, 3, dtype=torch.float64)
    coarse[0, 0] = 1
    coarse[0, :, 0, 2] = torch.tensor([0, 0, 1, 0])
    fine = torch.zeros(1, 4, 6, 6, dtype=torch.float64)
    fine[0, :, 3, 2] = torch.tensor([0, 0, 400, 0])
    out, weights = seen(relation, fine, coarse)
    # Pixel (3, 2) lies in cell (1, 1); cell (0, 2) is the third of its window.
    assert int(weights[0, 0, :, 3, 2].argmax()) == 2
    torch.testing.assert_close(out[0, :, 3, 2], coarse[0, :, 0, 2])
    # A query of zero listens to all cells of its window alike; in the corner there are four.
    torch.testing.assert_close(
        weights[0, 0, :, 0, 0], torch.tensor([0, 0, 0, 0, 1, 1, 0, 1, 1]).double() / 4
    )


def test_gradients_are_those_of_finite_differences():
    with torch.random.fork_rng():
        relation = drawn(2, 2, 4, heads=2, window=3)
        fine = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
        coarse = torch.randn(1, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(relation, (fine, coarse))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"window": 2}, "a window of 2 cells has no centre"),
        ({"heads": 3}, "3 heads do not divide 4 channels"),
        ({"heads": 4}, "give a multiple of 8 channels"),
    ],
)
def test_relations_that_cannot_be(options, said):
    with pytest.raises(GstoVizError, match=said):
        Relation(2, 2, 4, **{"heads": 1, **options})


def test_maps_that_do_not_fit():
    relation = Relation(2, 2, 4, heads=1, window=5)
    with pytest.raises(GstoVizError, match="are not neighbours"):
        relation(torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 2, 2))
    with pytest.raises(RefusedImageError, match="5x5 cells is larger than a map of 2x2 cells"):
        relation(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 2, 2))


def test_weights_that_are_drawn_anew_forget_embeddings():
    with torch.random.fork_rng():
        relation = drawn(2, 2, 4, heads=1)
        before = relation.query.weight.clone()
        initialize(relation, "kaiming")
    assert not relation.rows.any()
    assert not relation.columns.any()
    assert not torch.equal(relation.query.weight, before)


def test_half_precision_is_close_and_finite():
    """Products of queries and keys that float16 could not hold unless they are scaled before."""
    relation = Relation(8, 8, 8, heads=1)
    with torch.no_grad():
        for conv in (relation.query, relation.key, relation.value):
            conv.weight.copy_(torch.eye(8)[..., None, None])
    fine, coarse = torch.full((1, 8, 4, 4), 128.0), torch.full((1, 8, 2, 2), 128.0)
    assert torch.finfo(torch.float16).max < 8 * 128**2
    with torch.no_grad():
        exact = relation(fine, coarse)
        out, weights = seen(relation.half(), fine.half(), coarse.half())
    torch.testing.assert_close(out.float(), exact, rtol=1e-2, atol=0)
    torch.testing.assert_close(weights.float().sum(2), torch.ones(1, 1, 4, 4), rtol=1e-2, atol=0)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        cast, _ = seen(relation.float(), fine, coarse)
    torch.testing.assert_close(cast.float(), exact, rtol=2e-2, atol=0)
