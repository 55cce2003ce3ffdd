"""Gains against a literal two-pass NumPy computation, and their laws."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from gsto_viz import GstoVizError
from gsto_viz.calibrate import (
    ChannelMoments,
    calibrate,
    channel_moments,
    gains_from_tensors,
    gains_to_tensors,
    to_gains,
)
from gsto_viz.capture import Capture
from gsto_viz.gains import Gains
from gsto_viz.models import build_model


def toy(channels: int = 5) -> nn.Sequential:
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Conv2d(6, channels, 3, padding=1),
        nn.ReLU(),
    )
    return net.train()


def images() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(11)
    sizes = [(13, 17), (8, 8), (21, 9), (7, 30)]
    return [torch.randn(3, h, w, generator=generator) * 2 + 0.3 for h, w in sizes]


def two_passes(features: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, population sigma and max|F| per channel by plain loops over arrays (C, H, W)."""
    channels = features[0].shape[0]
    mean, sigma, largest = np.zeros(channels), np.zeros(channels), np.zeros(channels)
    for c in range(channels):
        values = [float(v) for f in features for v in f[c].ravel()]
        mean[c] = sum(values) / len(values)
        sigma[c] = (sum((v - mean[c]) ** 2 for v in values) / len(values)) ** 0.5
        largest[c] = max(abs(v) for v in values)
    return mean, sigma, largest


def features_of(net: nn.Module, batch: list[torch.Tensor]) -> list[np.ndarray]:
    flags = [m.training for m in net.modules()]
    net.eval()
    with torch.no_grad():
        out = [net(image[None])[0].double().numpy() for image in batch]
    for module, flag in zip(net.modules(), flags, strict=True):
        module.training = flag
    return out


def test_sigma_is_the_literal_population_deviation() -> None:
    net = toy()
    gains = calibrate(net, images(), taps={"out": "5"})["out"]
    _, sigma, largest = two_passes(features_of(net, images()))
    np.testing.assert_allclose(gains.sigma, sigma, rtol=1e-12)
    np.testing.assert_array_equal(gains.live, sigma > 1e-6 * largest)


def test_moments_keep_their_digits_far_from_zero() -> None:
    rng = np.random.default_rng(0)
    data = 1e6 + rng.normal(size=(2, 3, 11, 13))
    moments = ChannelMoments()
    moments.update(data[:1])
    moments.update(data[1:])
    np.testing.assert_allclose(moments.mean, data.mean(axis=(0, 2, 3)), rtol=1e-15)
    np.testing.assert_allclose(moments.sigma, data.std(axis=(0, 2, 3)), rtol=1e-9)
    np.testing.assert_array_equal(moments.max_abs, np.abs(data).max(axis=(0, 2, 3)))
    assert moments.count == 2 * 11 * 13


@pytest.mark.parametrize("cuts", [(0,), (1,), (3, 5), (1, 2, 3, 4, 5, 6, 7)])
def test_merging_shards_is_one_pass(cuts: tuple[int, ...]) -> None:
    data = np.random.default_rng(1).gamma(2.0, size=(8, 4, 6, 5))
    whole = ChannelMoments()
    whole.update(data)
    merged = ChannelMoments()
    for shard in np.split(data, cuts):
        part = ChannelMoments()
        part.update(shard)
        merged.merge(part)
    assert merged.count == whole.count
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-13)
    np.testing.assert_allclose(merged.m2, whole.m2, rtol=1e-12)
    np.testing.assert_array_equal(merged.max_abs, whole.max_abs)


def test_merging_leaves_the_other_alone_and_shares_no_array() -> None:
    first, second = ChannelMoments(), ChannelMoments()
    second.update(np.ones((1, 2, 3, 3)))
    first.merge(second)
    first.update(np.full((1, 2, 3, 3), 5.0))
    np.testing.assert_array_equal(second.mean, [1.0, 1.0])
    assert second.count == 9


def test_shards_of_images_merge_to_the_gains_of_all() -> None:
    net = toy()
    whole = calibrate(net, images(), taps=["2", "5"])
    shards = [channel_moments(net, part, taps=["2", "5"]) for part in (images()[:1], images()[1:])]
    for name, moments in shards[0].items():
        moments.merge(shards[1][name])
    for name, gains in to_gains(shards[0]).items():
        np.testing.assert_allclose(gains.sigma, whole[name].sigma, rtol=1e-13)


def test_gain_fixed_activity_ignores_positive_channel_gains() -> None:
    net, photo = toy(), images()[0][None]
    scaled = toy()
    scaled.load_state_dict(net.state_dict())
    factors = torch.tensor([1e-3, 0.5, 1.0, 7.0, 4e3])
    with torch.no_grad():
        scaled[4].weight.mul_(factors.view(-1, 1, 1, 1))
        scaled[4].bias.mul_(factors)
    shown = []
    for model in (net.eval(), scaled.eval()):
        gains = calibrate(model, images(), taps="5")
        with Capture(model, "5", reduce="gain_fixed", gains=gains) as maps:
            model(photo)
        with Capture(model, "5", reduce="mean") as raw:
            model(photo)
        shown.append((maps["5"], raw["5"]))
    torch.testing.assert_close(shown[0][0], shown[1][0], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(shown[0][1], shown[1][1], rtol=0.1)


def test_gain_fixed_is_the_mean_over_live_channels_of_f_over_sigma() -> None:
    net = toy()
    with torch.no_grad():
        net[4].weight[1].zero_()
        net[4].bias[1] = 0.7  # a constant channel: dead, although it is not zero
    gains = calibrate(net, images(), taps="5")
    assert gains["5"].live.tolist() == [True, False, True, True, True]
    net.eval()
    with Capture(net, "5", reduce="gain_fixed", gains=gains) as maps:
        out = net(images()[0][None])[0].detach().double().numpy()
    expected = np.mean([out[c] / gains["5"].sigma[c] for c in (0, 2, 3, 4)], axis=0)
    np.testing.assert_allclose(maps["5"][0].numpy(), expected, rtol=2e-6)


def test_no_live_channel_is_not_estimated_and_names_the_tap() -> None:
    net = toy()
    with torch.no_grad():
        net[4].weight.zero_()
        net[4].bias.fill_(-1.0)
    with pytest.raises(GstoVizError, match=r"tap '5': gains are not estimated: none of 5 channels"):
        calibrate(net, images(), taps="5")


def test_no_images_is_not_estimated() -> None:
    with pytest.raises(GstoVizError, match="no calibration images"):
        calibrate(toy(), iter([]), taps="5")
    with pytest.raises(GstoVizError, match="no cell was seen"):
        ChannelMoments().gains()


def test_features_that_are_not_finite_are_refused() -> None:
    features = torch.zeros(1, 2, 3, 3)
    features[0, 1, 2, 2] = float("nan")
    with pytest.raises(GstoVizError, match="NaN or infinite"):
        ChannelMoments().update(features)


def test_a_network_that_fails_says_on_which_size() -> None:
    net = toy()

    def fail(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if inputs[0].shape[-1] == 9:
            raise RuntimeError("odd\nwidth")

    handle = net[0].register_forward_pre_hook(fail)
    with pytest.raises(GstoVizError, match=r"does not take an image of 21x9 .*: odd width"):
        channel_moments(net, images(), {"a": "4"})
    handle.remove()
    assert net.training
    assert not any(module._forward_hooks for module in net.modules())


def test_wrong_shapes_are_refused() -> None:
    moments = ChannelMoments()
    with pytest.raises(GstoVizError, match=r"need features \(N, C, H, W\), got \(3, 4\)"):
        moments.update(torch.zeros(3, 4))
    moments.update(torch.ones(1, 2, 2, 2))
    with pytest.raises(GstoVizError, match="2 and 3 channels"):
        moments.update(torch.ones(1, 3, 2, 2))
    with pytest.raises(GstoVizError, match="image_to_tensor"):
        calibrate(toy(), [np.zeros((8, 8, 3), dtype=np.uint8)], taps="5")  # type: ignore[list-item]


def test_half_networks_are_refused() -> None:
    with pytest.raises(GstoVizError, match=r"torch.bfloat16 weights; call model.float\(\)"):
        calibrate(toy().bfloat16(), images(), taps="5")


@pytest.mark.parametrize("broken", [False, True])
def test_the_network_is_left_as_it_was(broken: bool) -> None:
    net = toy()
    net[1].eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    flags = [m.training for m in net.modules()]
    random_state = torch.get_rng_state()
    batch = [*images(), torch.zeros(4, 9, 9)] if broken else images()  # 4 channels: conv refuses
    if broken:
        with pytest.raises(GstoVizError, match="channels"):
            calibrate(net, batch, taps="5")
    else:
        calibrate(net, batch, taps="5")
    assert [m.training for m in net.modules()] == flags
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in net.modules())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.is_grad_enabled()
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_a_module_called_twice_is_refused() -> None:
    relu = nn.ReLU()
    net = nn.Sequential(nn.Conv2d(3, 2, 1), relu, nn.Conv2d(2, 2, 1), relu)
    with pytest.raises(GstoVizError, match="called 2 times"):
        calibrate(net, images(), taps={"relu": "1"})


def test_gains_survive_a_safetensors_file(tmp_path: Path) -> None:
    path = tmp_path / "g.safetensors"
    rng = np.random.default_rng(5)
    gains = {
        "stage4.branch0": Gains(rng.gamma(2.0, size=4), np.array([True, False, True, True])),
        "stage3.m0.branch1.pre": Gains(rng.gamma(2.0, size=2), np.array([True, True])),
    }
    stored = gains_to_tensors(gains)
    assert set(stored) == {f"gains/{tap}/{part}" for tap in gains for part in ("sigma", "live")}
    save_file({**stored, "head.weight": torch.ones(2)}, path)
    read = gains_from_tensors(load_file(path))
    assert set(read) == set(gains)
    for tap, value in gains.items():
        np.testing.assert_array_equal(read[tap].sigma, value.sigma)
        np.testing.assert_array_equal(read[tap].live, value.live)


def test_damaged_gains_are_refused() -> None:
    with pytest.raises(GstoVizError, match=r"tap 'stage4\.branch0' hold"):
        gains_from_tensors({"gains/stage4.branch0/sigma": torch.ones(3)})
    with pytest.raises(GstoVizError, match="one shape"):
        Gains(np.ones(3), np.ones(2, dtype=bool))
    with pytest.raises(GstoVizError, match="no channel is live"):
        Gains(np.ones(3), np.zeros(3, dtype=bool))
    with pytest.raises(GstoVizError, match="positive numbers"):
        Gains(np.array([1.0, 0.0]), np.array([True, True]))


def test_default_taps_of_our_networks() -> None:
    torch.manual_seed(0)
    net = build_model("gsto-hrnet-tiny")
    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
    gains = calibrate(net, [torch.randn(3, 67, 101), torch.randn(2, 3, 64, 64)])
    assert {name: value.channels for name, value in gains.items()} == {
        f"stage4.branch{r}": net.config.widths[r] for r in range(4)
    }
