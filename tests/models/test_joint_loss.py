"""Targets and loss of pose networks, cell by cell in plain Python."""

import math

import pytest
import torch

from gsto_viz.errors import GstoVizError
from gsto_viz.models import SegmentationOutput
from gsto_viz.models.joint_loss import joint_loss, joint_mass, joint_targets

WEIGHTS = {"stage2": 0.3, "stage3": 0.5}
STRIDE, SIZE = 4, (16, 12)


def literal_target(
    x: float, y: float, seen: float, sigma: float, size: tuple[int, int] = SIZE
) -> tuple[list[list[float]], float]:
    """A patch of 3 sigma is written into the map, as far as it lies on it."""
    height, width = size
    cells = [[0.0] * width for _ in range(height)]
    mu_x, mu_y = int(x / STRIDE + 0.5), int(y / STRIDE + 0.5)
    reach, written = math.floor(3 * sigma), False
    for row in range(mu_y - reach, mu_y + reach + 1):
        for column in range(mu_x - reach, mu_x + reach + 1):
            if seen > 0 and 0 <= row < height and 0 <= column < width:
                square = (column - mu_x) ** 2 + (row - mu_y) ** 2
                cells[row][column] = math.exp(-square / (2 * sigma**2))
                written = True
    return cells, float(written)


def joints(persons: int = 3, number: int = 5, seed: int = 0) -> torch.Tensor:
    """Joints on, beside and far from a crop of 64 x 48 pixels; a third is not annotated."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(persons, number, 2, generator=generator) * 160 - 55
    seen = torch.randint(0, 3, (persons, number, 1), generator=generator).float()
    return torch.cat((places, seen), dim=-1)


def maps(persons: int = 3, number: int = 5, seed: int = 1) -> torch.Tensor:
    return torch.randn(persons, number, *SIZE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0, 3.0])
def test_targets_cell_by_cell(sigma: float) -> None:
    given = joints(6, 7)
    heat, weights = joint_targets(given, SIZE, STRIDE, sigma)
    assert heat.shape == (6, 7, *SIZE)
    assert weights.shape == (6, 7)
    assert 0 < weights.sum() < (given[..., 2] > 0).sum(), "some joints lie too far outside"
    for n, j in ((n, j) for n in range(6) for j in range(7)):
        expected, weight = literal_target(*given[n, j].tolist(), sigma)
        assert float(weights[n, j]) == weight
        torch.testing.assert_close(heat[n, j], torch.tensor(expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("x", "y", "cell", "weight"),
    [
        (0.0, 0.0, (0, 0), 1),
        (47.0, 63.0, None, 1),  # rounds to cell (12, 16), beside the map; its square is on it
        (45.9, 61.9, (15, 11), 1),
        (1.99, 2.0, (1, 0), 1),
        (-5.0, 8.0, (2, 0), 1),  # int() rounds towards 0
        (-6.0, 8.0, None, 1),
        (-26.0, 8.0, None, 1),  # cell -6: the square ends on cell 0
        (-30.0, 8.0, None, 0),  # cell -7
        (69.0, 8.0, None, 1),  # cell 17: the square begins on cell 11
        (70.0, 8.0, None, 0),  # cell 18
    ],
)
def test_a_joint_at_the_border(
    x: float, y: float, cell: tuple[int, int] | None, weight: int
) -> None:
    """Cells of a map of 16 x 12; peaks are 1 and nothing is wrapped round."""
    heat, weights = joint_targets(torch.tensor([[[x, y, 2.0]]]), SIZE, STRIDE, 2.0)
    assert float(weights) == weight
    peak = divmod(int(heat.flatten().argmax()), SIZE[1])
    if cell is not None:
        assert peak == cell
        assert float(heat.max()) == 1.0
    else:
        assert float(heat.max()) < 1.0
    expected, _ = literal_target(x, y, 2.0, 2.0)
    torch.testing.assert_close(heat[0, 0], torch.tensor(expected), atol=1e-6, rtol=0)


def literal_loss(heat: torch.Tensor, given: torch.Tensor, sigma: float) -> float:
    """Mean over joints of half the mean over persons and cells of the squared error."""
    total = 0.0
    for j in range(given.shape[1]):
        errors = []
        for n in range(given.shape[0]):
            target, weight = literal_target(*given[n, j].tolist(), sigma)
            for row, wanted in zip(heat[n, j].tolist(), target, strict=True):
                errors += [(a * weight - b * weight) ** 2 for a, b in zip(row, wanted, strict=True)]
        total += 0.5 * sum(errors) / len(errors)
    return total / given.shape[1]


def test_the_loss_is_its_formula_and_heads_have_weights_by_name() -> None:
    given, main, second, third = joints(), maps(), maps(seed=2), maps(seed=3)
    output = SegmentationOutput(main, {"stage2": second, "stage3": third})
    loss = joint_loss(output, given, stride=STRIDE, sigma=2.0, auxiliary_weights=WEIGHTS)
    parts = [literal_loss(heat, given, 2.0) for heat in (main, second, third)]
    assert float(loss) == pytest.approx(parts[0] + 0.3 * parts[1] + 0.5 * parts[2], rel=1e-5)
    with pytest.raises(GstoVizError, match="auxiliary head of stage3 has no loss weight; give one"):
        joint_loss(output, given, stride=STRIDE, sigma=2.0, auxiliary_weights={"stage2": 1.0})


def test_shares_of_a_batch_add_up() -> None:
    given, main, side = joints(5), maps(5), maps(5, seed=2)
    whole = joint_loss(
        SegmentationOutput(main, {"stage2": side}),
        given,
        stride=STRIDE,
        sigma=2.0,
        auxiliary_weights=WEIGHTS,
    )
    mass = sum(joint_mass(given[part]) for part in (slice(3), slice(3, 5)))
    shares = [
        joint_loss(
            SegmentationOutput(main[part], {"stage2": side[part]}),
            given[part],
            stride=STRIDE,
            sigma=2.0,
            auxiliary_weights=WEIGHTS,
            mass=mass,
        )
        for part in (slice(1), slice(1, 1), slice(1, 3), slice(3, 5))
    ]
    assert float(shares[1]) == 0.0
    assert float(sum(shares)) == pytest.approx(float(whole), rel=1e-6)


def test_gradients_reach_annotated_joints_alone_also_from_half_precision() -> None:
    given = joints()
    logits = maps().bfloat16().requires_grad_()
    loss = joint_loss(SegmentationOutput(logits, {}), given, stride=STRIDE, sigma=2.0)
    assert loss.dtype == torch.float32
    loss.backward()
    assert logits.grad is not None
    weights = joint_targets(given, SIZE, STRIDE, 2.0)[1]
    assert torch.equal(logits.grad.abs().amax((-2, -1)) > 0, weights > 0)


def test_no_annotated_joint_is_no_loss() -> None:
    given = joints()
    given[..., 2] = 0
    loss = joint_loss(SegmentationOutput(maps(), {}), given, stride=STRIDE, sigma=2.0)
    assert float(loss) == 0.0


def test_another_number_of_joints_is_refused() -> None:
    with pytest.raises(GstoVizError, match=r"3x4x16x12 and the joints make 3x5x16x12 heat maps"):
        joint_loss(SegmentationOutput(maps(3, 4), {}), joints(), stride=STRIDE, sigma=2.0)
