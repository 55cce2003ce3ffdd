"""What ``inspect_image`` shows, against plain forward passes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gsto_viz.calibrate import calibrate
from gsto_viz.data import CAMVID_CLASSES, load_data
from gsto_viz.data.scenes import SceneDataset
from gsto_viz.errors import GstoVizError
from gsto_viz.inspection import inspect_image
from gsto_viz.models import ModelInfo, build_model, initialize, load_model, save_checkpoint
from gsto_viz.torch_utils import image_to_tensor

DATA = "scenes:count=3,seed=5,size=96x160"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random tiny networks with gains, saved as a user's checkpoints would be."""
    folder = tmp_path_factory.mktemp("weights")
    scenes = SceneDataset(count=2, seed=0, size=(96, 160), split="train")
    images = [image_to_tensor(scenes[i].image).unsqueeze(0) for i in range(2)]
    paths = {}
    for key, name in (("A", "hrnetv2-tiny"), ("B", "gsto-hrnet-tiny")):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model = build_model(name, num_classes=11)
            initialize(model, "kaiming")
        info = ModelInfo(name, name, CAMVID_CLASSES, gains=calibrate(model, images))
        paths[key] = folder / f"{name}.safetensors"
        save_checkpoint(paths[key], model, info)
    return paths


@pytest.fixture(scope="module")
def models(checkpoints):
    return {key: load_model(path) for key, path in checkpoints.items()}


def test_inspection_shows_what_a_plain_forward_computes(models):
    image = load_data(DATA)[0].image
    for key, model in models.items():
        seen = inspect_image(model, image)
        with torch.no_grad():
            batch = image_to_tensor(image).unsqueeze(0)
            branches, _ = model.branches(batch)
            logits = torch.nn.functional.interpolate(
                model(batch).logits, size=image.shape[:2], mode="bilinear"
            )
        assert np.array_equal(seen.prediction, logits[0].argmax(0).numpy())
        assert seen.strides == (4, 8, 16, 32)
        for r, branch in enumerate(branches):
            features = branch[0].double().numpy()
            gains = model.info.gains[f"stage4.branch{r}"]
            parts = zip(features, gains.sigma, gains.live, strict=True)
            fixed = [f / sigma for f, sigma, live in parts if live]
            np.testing.assert_allclose(seen.raw[r], features.mean(axis=0), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(seen.activity[r], np.mean(fixed, axis=0), rtol=1e-5)
        assert (seen.gate_range is None) == (key == "A")
    # 4 + 2 * 9 + 16 fusion gates and those of transitions 2 and 3.
    gates = inspect_image(models["B"], image).gates
    assert len(gates) == 40
    assert all(g.min() >= 0.5 and g.max() <= 1 for g in gates.values())


def test_inspection_leaves_flags_and_hooks_as_they_were(models):
    model = models["B"]
    model.train()
    model.stage2.eval()
    before = [m.training for m in model.modules()]
    try:
        inspect_image(model, load_data(DATA)[0].image)
        with pytest.raises(GstoVizError, match="at least 32x32"):
            inspect_image(model, np.zeros((20, 40, 3), np.uint8))
        assert [m.training for m in model.modules()] == before
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    finally:
        model.eval()


def test_inspection_needs_gains(models):
    with pytest.raises(GstoVizError, match="no per-channel gains"):
        inspect_image(models["A"], load_data(DATA)[0].image, gains={})
    with pytest.raises(GstoVizError, match="not loaded from a checkpoint"):
        inspect_image(build_model("hrnetv2-tiny"), load_data(DATA)[0].image)
