"""What a network shows for an image, against plain forward passes; the one door to networks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gsto_viz.anatomy import branches_at
from gsto_viz.calibrate import calibrate
from gsto_viz.capture import Capture
from gsto_viz.data import CAMVID_CLASSES, load_data
from gsto_viz.data.scenes import SceneDataset
from gsto_viz.errors import GstoVizError
from gsto_viz.look import load_arrays, save_arrays, unpacked
from gsto_viz.models import ModelInfo, build_model, initialize, load_model, save_checkpoint
from gsto_viz.network import open_network
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
        save_checkpoint(model, paths[key], info=info)
    return paths


@pytest.fixture(scope="module")
def models(checkpoints):
    return {key: load_model(path) for key, path in checkpoints.items()}


def test_a_look_shows_what_a_plain_forward_computes(models):
    image = load_data(DATA)[0].image
    for key, model in models.items():
        seen = open_network(model).look(image)
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
    gates = open_network(models["B"]).look(image).gates
    assert len(gates) == 40
    assert all(g.min() >= 0.5 and g.max() <= 1 for g in gates.values())


def test_a_look_leaves_flags_and_hooks_as_they_were(models):
    model = models["B"]
    model.train()
    model.stage2.eval()
    before = [m.training for m in model.modules()]
    try:
        open_network(model).look(load_data(DATA)[0].image)
        with pytest.raises(GstoVizError, match="at least 32x32"):
            open_network(model).look(np.zeros((20, 40, 3), np.uint8))
        assert [m.training for m in model.modules()] == before
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    finally:
        model.eval()


def test_a_look_needs_gains(models):
    with pytest.raises(GstoVizError, match="no per-channel gains"):
        open_network(models["A"], gains={}).look(load_data(DATA)[0].image)
    with pytest.raises(GstoVizError, match="no per-channel gains"):
        open_network(build_model("hrnetv2-tiny")).look(load_data(DATA)[0].image)


def test_one_door_opens_names_files_modules_and_networks(checkpoints, models, tmp_path):
    from_file = open_network(checkpoints["A"], key="mine")
    assert (from_file.key, from_file.name, from_file.architecture) == (
        "mine", "hrnetv2-tiny", "hrnetv2-tiny",
    )  # fmt: skip
    assert from_file.sha256 == models["A"].info.sha256
    assert set(from_file.gains) == set(models["A"].info.gains)
    module = open_network(models["A"])
    assert module.module is models["A"]
    assert open_network(module).module is module.module
    image = image_to_tensor(load_data(DATA)[0].image)[None]
    with torch.no_grad():
        assert torch.equal(module(image).logits, models["A"](image).logits)
        with Capture(module, "stage4.branch0") as maps:
            module(image)
    assert maps["stage4.branch0"].shape == (1, 24, 40)
    drawn = open_network("hrnetv2-tiny", code=True)
    again = open_network("hrnetv2-tiny", code=True)
    assert torch.equal(drawn.module.head.conv.weight, again.module.head.conv.weight)
    factory = tmp_path / "mine.py"
    factory.write_text("from torch import nn\ndef build():\n    return nn.Conv2d(3, 2, 1)\n")
    assert open_network(f"{factory}:build", code=True).name == "Conv2d"
    with pytest.raises(
        GstoVizError, match="is a factory file, which evaluate, analyze and doctor open"
    ):
        open_network(f"{factory}:build")
    with pytest.raises(GstoVizError, match="does not know its branches"):
        open_network(nn.Conv2d(3, 2, 1)).check_branches()


@pytest.mark.parametrize("name", ["hrnetv2-tiny", "ppm-tiny", "aspp-tiny"])
def test_a_foreign_network_gives_the_maps_of_ours(name):
    """The same module without its class: told where its branches are, it shows the same."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = build_model(name, num_classes=5)
        initialize(model, "kaiming")

    class Opaque(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, image):
            return self.inner(image)

    data = load_data(DATA)
    image = data[0].image
    gains = calibrate(model, [image_to_tensor(sample.image).unsqueeze(0) for sample in data])
    own = open_network(model, gains=gains)
    taps = model.taps()
    places = {name: f"inner.{taps[name].module}" for name in own.anatomy.branch_taps}
    site = branches_at(tuple(places.values()), own.anatomy.strides)
    gains = {places[name]: own.gains[name] for name in places}
    foreign = open_network(Opaque(model), site=site, gains=gains)
    seen, expected = foreign.look(image), own.look(image)
    for one, other in zip(
        (*seen.raw, *seen.activity), (*expected.raw, *expected.activity), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(seen.prediction, expected.prediction)


def test_a_look_is_kept_whole(models, tmp_path):
    look = open_network(models["B"]).look(load_data(DATA)[0].image, logits=True)
    for prefix in ("", "net-1"):
        arrays, about = look.packed(prefix)
        save_arrays(tmp_path / "look.npz", arrays, {**about, "mine": 1})
        stored, said = load_arrays(tmp_path / "look.npz")
        kept = unpacked(stored, said, prefix)
        assert said["mine"] == 1
        assert (kept.name, kept.network, kept.strides) == (look.name, look.network, look.strides)
        assert (kept.gate_range, kept.site, list(kept.gates)) == (
            look.gate_range, look.site, list(look.gates),
        )  # fmt: skip
        pairs = [(kept.prediction, look.prediction), (kept.logits, look.logits)]
        pairs += zip(kept.raw + kept.activity, look.raw + look.activity, strict=True)
        pairs += zip(kept.gates.values(), look.gates.values(), strict=True)
        for one, other in pairs:
            np.testing.assert_array_equal(one, other)
            assert not one.flags.writeable


@pytest.mark.parametrize(
    ("name", "classes", "size"),
    [("hrnetv2-tiny", 11, (1024, 2048)), ("hrnet-pose-tiny", 17, (384, 288))],
)
def test_costs_are_counted_on_the_image_size_of_the_task(name, classes, size) -> None:
    costs = open_network(build_model(name, num_classes=classes)).costs
    assert costs is not None
    assert (costs["height"], costs["width"]) == size
