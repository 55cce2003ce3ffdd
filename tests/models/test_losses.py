"""The loss of GSTO, section 3.4, against its formula written out in float64."""

import numpy as np
import pytest
import torch

from gsto_viz.errors import GstoVizError
from gsto_viz.models import SegmentationOutput, build_model
from gsto_viz.models.losses import (
    HardPixels,
    hard_pixel_loss,
    label_mass,
    log_inverse_frequency,
    resize_logits,
    segmentation_loss,
)

WEIGHTS = {"stage1": 0.2, "stage2": 0.3, "stage3": 0.5}


def literal_cross_entropy(
    logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None
) -> float:
    """Weighted mean of -log softmax at the true class over labelled pixels, pixel by pixel."""
    total = mass = 0.0
    for n in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            for x in range(labels.shape[2]):
                k = int(labels[n, y, x])
                if k == 255:
                    continue
                row = logits[n, :, y, x].astype(np.float64)
                share = np.exp(row - row.max())
                w = 1.0 if weights is None else float(weights[k])
                total -= w * np.log(share[k] / share.sum())
                mass += w
    return total / mass


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("align", [False, True])
def test_the_loss_is_its_formula(weighted: bool, align: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 3, 4, 5, generator=generator) for _ in range(4)]
    labels = torch.randint(0, 3, (2, 16, 20), generator=generator)
    labels[0, :3] = 255
    weights = torch.tensor([0.5, 1.0, 3.0]) if weighted else None
    output = SegmentationOutput(maps[0], {"stage1": maps[1], "stage2": maps[2], "stage3": maps[3]})
    loss = segmentation_loss(
        output, labels, class_weights=weights, auxiliary_weights=WEIGHTS, align_corners=align
    )
    parts = [
        literal_cross_entropy(
            resize_logits(m, (16, 20), align_corners=align).numpy(),
            labels.numpy(),
            None if weights is None else weights.numpy(),
        )
        for m in maps
    ]
    expected = parts[0] + 0.2 * parts[1] + 0.3 * parts[2] + 0.5 * parts[3]
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_corners_are_where_the_convention_says() -> None:
    """A ramp of 2 cells to 4 pixels: 0, 1/3, 2/3, 1 with aligned corners, else 0, 1/4, 3/4, 1."""
    ramp = torch.tensor([[[[0.0, 1.0]]]])
    aligned = resize_logits(ramp, (1, 4), align_corners=True).flatten().tolist()
    centred = resize_logits(ramp, (1, 4)).flatten().tolist()
    assert aligned == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert centred == pytest.approx([0, 0.25, 0.75, 1])
    assert resize_logits(ramp.to(torch.bfloat16), (1, 4)).dtype == torch.float32


def test_every_head_of_a_network_needs_a_weight() -> None:
    model = build_model("gsto-hrnet-tiny", num_classes=3)
    output = model(torch.zeros(2, 3, 32, 32))
    labels = torch.zeros(2, 32, 32, dtype=torch.long)
    loss = segmentation_loss(output, labels, auxiliary_weights=WEIGHTS)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    with pytest.raises(GstoVizError, match="stage2 has no loss weight"):
        segmentation_loss(output, labels, auxiliary_weights={"stage3": 1.0})
    with pytest.raises(GstoVizError, match="has no loss weight"):
        segmentation_loss(output, labels)


def test_no_labelled_pixel_is_no_loss_and_no_gradient() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    labels = torch.full((1, 8, 8), 255)
    loss = segmentation_loss(SegmentationOutput(logits, {}), labels)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_class_weights_are_their_formula() -> None:
    pixels = np.array([900, 90, 10, 0])
    raw = [1 / np.log(1.02 + p / 1000) for p in pixels]
    weights = log_inverse_frequency(pixels)
    assert weights.tolist() == pytest.approx([w / np.mean(raw) for w in raw], rel=1e-6)
    assert float(weights.mean()) == pytest.approx(1.0)
    assert weights[3] > weights[2] > weights[1] > weights[0]
    with pytest.raises(GstoVizError, match="no labelled pixel"):
        log_inverse_frequency(np.zeros(3, np.int64))


def test_milder_class_weights_are_square_roots() -> None:
    pixels = np.array([900, 90, 10])
    full, mild = log_inverse_frequency(pixels), log_inverse_frequency(pixels, 0.5)
    assert float(mild.mean()) == pytest.approx(1.0)
    for j in range(3):
        assert float(mild[j] / mild[0]) == pytest.approx(float(full[j] / full[0]) ** 0.5, rel=1e-5)
    assert log_inverse_frequency(pixels, 0.0).tolist() == pytest.approx([1, 1, 1])


def literal_hard_mean(
    logits: np.ndarray, labels: np.ndarray, hard: HardPixels, weights: np.ndarray | None
) -> float:
    """HRNet's OHEM, pixel by pixel: sort, take a threshold, average what is below it."""
    pixels = []
    for n, y, x in np.ndindex(labels.shape):
        k = int(labels[n, y, x])
        if k != 255:
            share = np.exp(logits[n, :, y, x].astype(np.float64))
            pixels.append((share[k] / share.sum(), 1.0 if weights is None else weights[k]))
    pixels.sort()
    level = max(pixels[min(hard.kept, len(pixels) - 1)][0], hard.threshold)
    counted = [-w * np.log(p) for p, w in pixels if p < level]
    return float(np.mean(counted)) if counted else 0.0


@pytest.mark.parametrize("kept", [0, 7, 100, 10**6])
@pytest.mark.parametrize("threshold", [0.05, 0.4, 0.9])
@pytest.mark.parametrize("weighted", [False, True])
def test_hard_pixels_are_those_of_the_sorted_list(
    kept: int, threshold: float, weighted: bool
) -> None:
    generator = torch.Generator().manual_seed(kept % 97)
    logits = torch.randn(2, 3, 8, 10, generator=generator)
    labels = torch.randint(0, 3, (2, 8, 10), generator=generator)
    labels[1, :2] = 255
    weights = torch.tensor([0.5, 1.0, 3.0]) if weighted else None
    hard = HardPixels(threshold, kept)
    loss = hard_pixel_loss(logits, labels, hard, weights)
    expected = literal_hard_mean(
        logits.numpy(), labels.numpy(), hard, None if weights is None else weights.numpy()
    )
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_hard_pixels_are_chosen_in_the_main_loss_alone() -> None:
    generator = torch.Generator().manual_seed(3)
    main, side = (torch.randn(2, 3, 4, 5, generator=generator) for _ in range(2))
    labels = torch.randint(0, 3, (2, 4, 5), generator=generator)
    hard = HardPixels(0.4, 4)
    loss = segmentation_loss(
        SegmentationOutput(main, {"stage3": side}),
        labels,
        auxiliary_weights=WEIGHTS,
        hard_pixels=hard,
    )
    expected = literal_hard_mean(main.numpy(), labels.numpy(), hard, None)
    expected += 0.5 * literal_cross_entropy(side.numpy(), labels.numpy(), None)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_no_labelled_pixel_is_no_hard_pixel() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = hard_pixel_loss(logits, torch.full((1, 4, 4), 255), HardPixels(0.9, 5))
    loss.backward()
    assert loss.item() == 0.0
    assert not logits.grad.any()


def test_parts_of_a_batch_add_up_to_its_loss() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(4, 3, 8, 8, generator=generator)
    labels = torch.randint(0, 3, (4, 8, 8), generator=generator)
    labels[0] = 255
    labels[1, :6] = 255
    weights = torch.tensor([0.5, 1.0, 3.0])
    mass = label_mass(labels, weights)
    assert float(mass) == pytest.approx(
        sum(float(weights[k]) for k in labels.ravel().tolist() if k != 255)
    )
    assert float(label_mass(labels)) == int((labels != 255).sum())
    shares = [
        segmentation_loss(
            SegmentationOutput(logits[n : n + 1], {}),
            labels[n : n + 1],
            class_weights=weights,
            mass=mass,
        )
        for n in range(4)
    ]
    expected = literal_cross_entropy(logits.numpy(), labels.numpy(), weights.numpy())
    assert float(sum(shares)) == pytest.approx(expected, rel=1e-5)
