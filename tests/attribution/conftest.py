"""Small live networks in float64, an image with annotated rectangles, and files of such things."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gsto_viz.attribution import View
from gsto_viz.calibrate import calibrate
from gsto_viz.data import CAMVID_CLASSES
from gsto_viz.models import ModelInfo, build_model, save_checkpoint

NAMES = ("road", "car", "pole", "sky")
SIZE = (70, 101)


def live_network(name="gsto-hrnet-tiny", seed=0, **options):
    """A network whose weights and batch-norm statistics are all in use."""
    generator = torch.Generator().manual_seed(seed)
    model = build_model(name, num_classes=len(NAMES), **options).double().eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan = module.weight[0].numel()
            draw = torch.randn(module.weight.shape, generator=generator, dtype=torch.float64)
            module.weight.data = draw * (2 / fan) ** 0.5
            if module.bias is not None:
                module.bias.data = torch.randn(
                    module.bias.shape, generator=generator, dtype=torch.float64
                )
        elif isinstance(module, nn.BatchNorm2d):
            for tensor, low in (
                (module.weight.data, 0.5),
                (module.bias.data, -0.2),
                (module.running_mean, -0.5),
                (module.running_var, 0.5),
            ):
                tensor.copy_(low + torch.rand(tensor.shape, generator=generator))
    return model


def picture(seed=0, size=SIZE, count=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, *size, generator=generator, dtype=torch.float64)


def annotation():
    """(H, W): road, two cars, a pole, some ignored pixels."""
    labels = np.zeros(SIZE, dtype=np.uint8)
    labels[:20] = 3
    labels[30:50, 10:40] = 1
    labels[40:52, 60:80] = 1
    labels[10:60, 90:93] = 2
    labels[65:, :9] = 255
    return labels


@pytest.fixture(name="toy", scope="session")
def _toy():
    """The functions above: ``toy.network()``, ``toy.picture()``, ``toy.annotation()``."""
    return SimpleNamespace(network=live_network, picture=picture, annotation=annotation)


@pytest.fixture(name="view")
def _view():
    prediction = np.zeros(SIZE, dtype=np.uint8)
    prediction[:, 50:] = 1
    return View(prediction, NAMES, annotation())


@pytest.fixture(name="files", scope="session")
def _files(tmp_path_factory):
    """A checkpoint, a picture of 64x80 pixels and its labels."""
    folder = tmp_path_factory.mktemp("attribute")
    torch.manual_seed(4)
    net = build_model("gsto-hrnet-tiny", num_classes=len(CAMVID_CLASSES))
    for part in net.modules():
        if isinstance(part, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(part.weight)
    info = ModelInfo("tiny", "gsto-hrnet-tiny", CAMVID_CLASSES, (0.4,) * 3, (0.2,) * 3)
    gains = calibrate(net, [torch.randn(3, 64, 64)], ["stage4.branch*", "stage4.m0.branch*.pre"])
    save_checkpoint(net, folder / "tiny.safetensors", info=replace(info, gains=gains))
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 80, 3), dtype=np.uint8)).save(folder / "photo.png")
    labels = np.zeros((64, 80), dtype=np.uint8)
    labels[20:50, 10:50] = 8
    Image.fromarray(labels).save(folder / "labels.png")
    Image.fromarray(labels[:9]).save(folder / "small.png")
    return folder
