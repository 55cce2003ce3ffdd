"""The same numbers as torchvision, segmentation_models_pytorch and transformers, if installed."""

import importlib
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from gsto_viz.models import build_model
from gsto_viz.models.resnet import imagenet_name, load_imagenet

OPERATORS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@pytest.fixture(scope="module")
def _operators():
    """Operators that torchvision looks for when it is imported beside a torch of another build."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(name + OPERATORS)
    yield
    del library


def outside(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{name} is not installed here, or not for this torch: {error}")


def shuffled(model: nn.Module) -> nn.Module:
    """Give batch norms statistics and scales that do something."""
    torch.manual_seed(5)
    for one in model.modules():
        if isinstance(one, nn.BatchNorm2d):
            nn.init.uniform_(one.weight, 0.5, 1.0)
            nn.init.uniform_(one.running_var, 0.5, 1.5)
            nn.init.normal_(one.bias, std=0.1)
            nn.init.normal_(one.running_mean, std=0.1)
    return model.eval()


def as_psp(stage: nn.Module, dilation: int) -> None:
    """Dilate the first convolution of a stage, too, which torchvision does not."""
    stage[0].conv2.dilation = stage[0].conv2.padding = (dilation, dilation)


def copied(target: nn.Module, source: nn.Module, names: dict[str, str]) -> None:
    """Copy tensors by the starts of their names, ours -> theirs; all of ``target`` must be met."""
    theirs, state = source.state_dict(), {}
    for key in target.state_dict():
        start = next(one for one in names if key.startswith(one))
        state[key] = theirs[names[start] + key.removeprefix(start)]
    target.load_state_dict(state)


@pytest.mark.usefixtures("_operators")
def test_resnet50_and_aspp_are_torchvisions() -> None:
    models = outside("torchvision.models.segmentation")
    theirs = shuffled(
        models.deeplabv3_resnet50(weights=None, weights_backbone=None, aux_loss=True, num_classes=7)
    )
    as_psp(theirs.backbone.layer3, 2)
    as_psp(theirs.backbone.layer4, 4)
    ours = build_model("aspp-r50", num_classes=7).eval()
    load_imagenet(ours.backbone, theirs.backbone.state_dict())
    names = {f"scales.{k}.": f"0.convs.{k}." for k in range(4)}
    names = {f"{a}conv.": f"{b}0." for a, b in names.items()} | {
        f"{a}bn.": f"{b}1." for a, b in names.items()
    }
    names |= {"scales.4.unit.conv.": "0.convs.4.1.", "scales.4.unit.bn.": "0.convs.4.2."}
    names |= {"fuse.0.conv.": "0.project.0.", "fuse.0.bn.": "0.project.1."}
    names |= {"fuse.1.conv.": "1.", "fuse.1.bn.": "2.", "classifier.": "4."}
    copied(ours.head, theirs.classifier, names)
    copied(
        ours.auxiliary,
        theirs.aux_classifier,
        {"0.conv.": "0.", "0.bn.": "1.", "1.": "4."},
    )
    image = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        features = theirs.backbone(image)
        *_, third, fourth = ours.backbone(image)
        assert torch.equal(third, features["aux"])
        assert torch.equal(fourth, features["out"])
        expected = theirs.classifier(features["out"])
        torch.testing.assert_close(ours(image).logits, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(ours.auxiliary(third), theirs.aux_classifier(third))


@pytest.mark.usefixtures("_operators")
def test_dilated_resnet50_is_that_of_segmentation_models() -> None:
    encoders = outside("segmentation_models_pytorch.encoders")
    theirs = shuffled(encoders.get_encoder("resnet50", weights=None, output_stride=8))
    ours = build_model("ppm-r50").eval()
    load_imagenet(ours.backbone, theirs.state_dict())
    image = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        features = theirs(image)
        *_, third, fourth = ours.backbone(image)
    torch.testing.assert_close(fourth, features[-1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(third, features[-2], rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("_operators")
def test_half_width_resnet18_has_the_parts_of_torchvisions() -> None:
    theirs = outside("torchvision.models").resnet18(weights=None).state_dict()
    ours = build_model("ppm-r18-half").backbone.state_dict()
    named = {imagenet_name(key): one for key, one in ours.items()}
    assert set(named) == {key for key in theirs if not key.startswith("fc.")}
    for key, one in named.items():
        channels = [n if n == 3 else n // 2 for n in theirs[key].shape[:2]]
        assert list(one.shape) == [*channels, *theirs[key].shape[2:]], key


@pytest.mark.usefixtures("_operators")
def test_ppm_is_that_of_segmentation_models() -> None:
    decoder = outside("segmentation_models_pytorch.decoders.pspnet.decoder")
    theirs = shuffled(decoder.PSPModule(32, sizes=(1, 2, 3, 6)))
    ours = build_model("ppm-tiny", align_corners=True).eval()
    for number, block in zip((4, 3, 2, 1), theirs.blocks, strict=True):
        scale, (conv, norm) = ours.head.scales[str(number)].unit, list(block.pool[1])[:2]
        scale.conv.weight.data = conv.weight.data
        if isinstance(norm, nn.BatchNorm2d):
            scale.bn.load_state_dict(norm.state_dict())
        else:
            # One cell has no batch norm there, but a bias.
            scale.bn.running_var.fill_(1.0 - scale.bn.eps)
            scale.bn.bias.data = conv.bias.data
    feature, seen = torch.randn(2, 32, 9, 13), []
    ours.head.fuse.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        ours.head([feature])
        joined = theirs(feature)
    scales = {cells: joined[:, 8 * k : 8 * k + 8] for k, cells in enumerate((1, 2, 3, 6))}
    expected = torch.cat([joined[:, 32:], *(scales[cells] for cells in (6, 3, 2, 1))], dim=1)
    torch.testing.assert_close(seen[0], expected, rtol=1e-5, atol=1e-6)


UPERNET = {
    "transformers": {
        **{f"context.scales.{4 - k}.unit.": f"psp_modules.{k}.1." for k in range(4)},
        "context.fuse.": "bottleneck.",
        **{f"laterals.{k}.": f"lateral_convs.{k}." for k in range(3)},
        **{f"smooth.{k}.": f"fpn_convs.{k}." for k in range(3)},
        "fuse.": "fpn_bottleneck.",
    },
    "segmentation_models_pytorch": {
        **{f"context.scales.{4 - k}.unit.": f"psp.blocks.{k}.1." for k in range(4)},
        "context.fuse.": "psp.out_conv.",
        **{f"laterals.{k}.": f"fpn_lateral_blocks.{2 - k}.conv_norm_relu." for k in range(3)},
        **{f"smooth.{k}.": f"fpn_conv_blocks.{2 - k}." for k in range(3)},
        "fuse.": "fusion_block.",
    },
}


@pytest.mark.usefixtures("_operators")
@pytest.mark.parametrize("library", UPERNET)
def test_upernet_is_that_of(library: str) -> None:
    if library == "transformers":
        found = outside("transformers.models.upernet.modeling_upernet")
        asked = SimpleNamespace(pool_scales=(1, 2, 3, 6), hidden_size=8, num_labels=3)
        theirs, parts = (
            found.UperNetHead(asked, in_channels=[4, 8, 16, 32]),
            ("conv.", "batch_norm."),
        )
    else:
        found = outside("segmentation_models_pytorch.decoders.upernet.decoder")
        theirs, parts = found.UPerNetDecoder((3, 4, 4, 8, 16, 32), decoder_channels=8), ("0.", "1.")
        # What its transformers need; ResNets have batch norm.
        theirs.feature_norms = nn.ModuleList(nn.Identity() for _ in range(4))
        theirs.classifier = nn.Conv2d(8, 3, 1)
    shuffled(theirs)
    ours = build_model("upernet-tiny", bins=(1, 2, 3, 6), num_classes=3).eval().head
    names = {
        own + part: other + name
        for own, other in UPERNET[library].items()
        for part, name in zip(("conv.", "bn."), parts, strict=True)
    }
    copied(ours, theirs, {**names, "classifier.": "classifier."})
    # Pooled maps lie the coarsest first there.
    feature, *pooled = ours.context.fuse.conv.weight.data.split([32, 8, 8, 8, 8], dim=1)
    ours.context.fuse.conv.weight.data = torch.cat([feature, *reversed(pooled)], dim=1)
    stages = [torch.randn(2, 4 * 2**k, 56 >> k, 72 >> k) for k in range(4)]
    with torch.no_grad():
        if library == "transformers":
            expected = theirs(stages)
        else:
            expected = theirs.classifier(theirs([None, None, *stages]))
        torch.testing.assert_close(ours(stages).logits, expected, rtol=1e-4, atol=1e-5)


def plain_depthwise(unit: nn.Module) -> None:
    """Leave nothing between the two convolutions, as segmentation_models_pytorch has it."""
    unit.depthwise.relu = nn.Identity()
    unit.depthwise.bn.running_var.fill_(1.0 - unit.depthwise.bn.eps)


@pytest.mark.usefixtures("_operators")
def test_deeplabv3plus_has_the_parts_of_segmentation_models() -> None:
    decoder = outside("segmentation_models_pytorch.decoders.deeplabv3.decoder")
    theirs = shuffled(
        decoder.DeepLabV3PlusDecoder(
            (3, 4, 4, 8, 16, 32), 5, 8, (2, 4, 6), 8, aspp_separable=True, aspp_dropout=0.0
        )
    )
    model = build_model("deeplabv3plus-tiny", low_channels=48, align_corners=True).eval()
    ours, aspp, seen = model.head, theirs.aspp[0], []
    scales = ours.context.scales
    for unit, (conv, norm) in ((scales["1"], aspp.convs[0][:2]), (ours.low, theirs.block1[:2])):
        unit.conv.load_state_dict(conv.state_dict())
        unit.bn.load_state_dict(norm.state_dict())
    for number in (1, 2, 3):
        (depthwise, pointwise, *_), norm, _ = aspp.convs[number]
        unit = scales[str(number + 1)]
        plain_depthwise(unit)
        unit.depthwise.conv.load_state_dict(depthwise.state_dict())
        unit.pointwise.conv.load_state_dict(pointwise.state_dict())
        unit.pointwise.bn.load_state_dict(norm.state_dict())
    scales["5"].unit.conv.load_state_dict(aspp.convs[4][1].state_dict())
    scales["5"].unit.bn.load_state_dict(aspp.convs[4][2].state_dict())
    stages = [torch.randn(2, width, *size) for width, size in ((4, (18, 26)), (32, (9, 13)))]
    for place in (ours.context.fuse, aspp.project):
        place.register_forward_pre_hook(lambda _m, given: seen.append(given[0]))
    with torch.no_grad():
        ours(stages)
        theirs.aspp(stages[1])
    torch.testing.assert_close(seen[0], seen[1], rtol=1e-5, atol=1e-6)
    # Behind it, they have another bottleneck and one separable convolution; it reads ASPP first.
    ours.context, ours.fuse[1], ours.classifier = theirs.aspp, nn.Identity(), nn.Identity()
    (depthwise, pointwise, *_), norm = theirs.block2[:2]
    plain_depthwise(ours.fuse[0])
    order = [*range(8, 56), *range(8)]
    ours.fuse[0].depthwise.conv.weight.data = depthwise.weight.data[order]
    ours.fuse[0].pointwise.conv.weight.data = pointwise.weight.data[:, order]
    ours.fuse[0].pointwise.bn.load_state_dict(norm.state_dict())
    with torch.no_grad():
        expected = theirs([None, None, stages[0], None, None, stages[1]])
        torch.testing.assert_close(ours(stages).logits, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("_operators")
def test_undilated_resnet_is_torchvisions() -> None:
    theirs = shuffled(outside("torchvision.models").resnet18(weights=None))
    ours = build_model("fcn-r18-half", width=64).eval().backbone
    load_imagenet(ours, theirs.state_dict())
    image = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(image))))
        for number, found in enumerate(ours(image), 1):
            x = getattr(theirs, f"layer{number}")(x)
            torch.testing.assert_close(found, x, rtol=1e-5, atol=1e-5)
