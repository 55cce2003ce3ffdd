"""Capture on small networks that have the habits which break naive hooks."""

import gc
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gsto_viz import Capture, GstoVizError
from gsto_viz.capture import ImageMaps, canonical_name, safe_name, save_maps
from gsto_viz.gains import Gains


class Pair(NamedTuple):
    """A named result."""

    logits: Tensor
    auxiliary: dict[str, Tensor]


@dataclass
class Wrapped:
    """A result as some libraries give it."""

    last_hidden_state: Tensor


class Fuse(nn.Module):
    """Overwrites the caller's list, as the official HRNet does."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        for i in range(2):
            x[i] = self.branches[i](x[i])
        up = nn.functional.interpolate(x[1], size=x[0].shape[-2:])
        return [torch.relu(x[0] + up), torch.relu(x[1])]


class Toy(nn.Module):
    """In-place ReLU, a ReLU called twice, a dead convolution, lists, a named result."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.down = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.fuse = Fuse()
        self.dead = nn.Conv2d(4, 4, 1)
        self.head = nn.Conv2d(4, 5, 1)

    def forward(self, image: Tensor) -> Pair:
        x = self.relu(self.bn(self.conv(image)))
        fine, coarse = self.fuse([x, self.relu(self.down(x))])
        return Pair(self.head(fine), {"coarse": coarse})


def toy() -> Toy:
    torch.manual_seed(7)
    return Toy().eval()


def photo(seed: int = 0, size: tuple[int, int] = (9, 12), count: int = 1) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def bn_output(net: Toy, image: Tensor) -> Tensor:
    """The tapped tensor by calling the parts by hand, without hooks."""
    with torch.no_grad():
        return net.bn(net.conv(image)).clone()


def hook_count(net: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())


class Snapshot:
    """Everything of a network and of torch that a capture must not change."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self.flags = [(m.training, hook_count(m)) for m in net.modules()]
        self.state = {k: v.clone() for k, v in net.state_dict().items()}
        self.grads = {
            n: (p.requires_grad, None if p.grad is None else p.grad.clone())
            for n, p in net.named_parameters()
        }
        self.random = torch.get_rng_state()
        self.grad_mode = torch.is_grad_enabled()

    def check(self) -> None:
        assert [(m.training, hook_count(m)) for m in self.net.modules()] == self.flags
        assert torch.equal(torch.get_rng_state(), self.random)
        assert torch.is_grad_enabled() == self.grad_mode
        for key, value in self.net.state_dict().items():
            assert torch.equal(value, self.state[key])
        for name, parameter in self.net.named_parameters():
            required, grad = self.grads[name]
            assert parameter.requires_grad == required
            assert (parameter.grad is None) == (grad is None)
            assert grad is None or torch.equal(parameter.grad, grad)


# what is recorded ------------------------------------------------------------------------------


def test_in_place_relu_after_the_tap_does_not_reach_the_maps() -> None:
    net = toy()
    expected = bn_output(net, photo())
    assert float(expected.min()) < -0.1
    with Capture(net, "bn", reduce="none") as full:
        net(photo())
    with Capture(net, "bn") as mean:
        net(photo())
    torch.testing.assert_close(full["bn"], expected, rtol=0, atol=0)
    torch.testing.assert_close(mean["bn"], expected.mean(1), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("reduce", "literal"),
    [
        ("mean", lambda f: f.mean(axis=1)),
        ("absmean", lambda f: np.abs(f).mean(axis=1)),
        ("l2", lambda f: np.sqrt((f**2).sum(axis=1))),
        ("max", lambda f: f.max(axis=1)),
        ("none", lambda f: f),
    ],
)
@pytest.mark.parametrize("count", [1, 3])
def test_reductions_by_numpy(reduce: str, literal: Callable[[Any], Any], count: int) -> None:
    net, image = toy(), photo(count=count)
    with Capture(net, "bn", reduce=reduce) as maps:
        net(image)
    expected = literal(bn_output(net, image).double().numpy())
    assert tuple(maps["bn"].shape) == expected.shape
    np.testing.assert_allclose(maps["bn"].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_results_are_plain_tensors_even_under_inference_mode_and_autograd() -> None:
    net = toy()
    with Capture(net, ["bn", "head"]) as tracked:
        net(photo())
    with torch.inference_mode(), Capture(net, ["bn", "head"], reduce="none") as inferred:
        net(photo())
    for value in [*tracked.values(), *inferred.values()]:
        assert not value.requires_grad
        assert value.grad_fn is None
        assert not value.is_inference()
        value.add_(1.0)


def test_autograd_of_the_network_goes_on_inside_the_block() -> None:
    net = toy()
    with Capture(net, "bn"):
        net(photo()).logits.sum().backward()
    assert net.conv.weight.grad is not None


def test_a_function_that_returns_its_input_or_a_view_is_cloned() -> None:
    net = toy()
    expected = bn_output(net, photo())
    for reduce, wanted in [(lambda f: f, expected), (lambda f: f[:, 1], expected[:, 1])]:
        with Capture(net, "bn", reduce=reduce) as maps:
            net(photo())
        torch.testing.assert_close(maps["bn"], wanted, rtol=0, atol=0)
        assert maps["bn"].untyped_storage().nbytes() == wanted.numel() * 4  # nothing kept alive


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_features_are_reduced_in_float32(dtype: torch.dtype) -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cast = nn.Identity()

        def forward(self, image: Tensor) -> Tensor:
            return self.cast(image.to(dtype))

    image = photo() * 100
    for reduce in ("mean", "l2"):
        with Capture(Half(), "cast", reduce=reduce) as maps:
            maps.model(image)
        wide = image.to(dtype).double()
        expected = wide.mean(1) if reduce == "mean" else wide.square().sum(1).sqrt()
        assert maps["cast"].dtype == torch.float32
        torch.testing.assert_close(maps["cast"].double(), expected, rtol=1e-6, atol=1e-6)


def test_reduction_leaves_autocast() -> None:
    net = toy()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        seen = []

        def project(features: Tensor) -> Tensor:
            out = torch.einsum("nchw,c->nhw", features.float(), torch.ones(4))
            seen.append(out.dtype)
            return out

        with Capture(net, "bn", reduce=project):
            net(photo())
    assert seen == [torch.float32]


def test_reductions_by_tap() -> None:
    net = toy()
    choice = {"head": "none", "fuse.*": lambda f: f.amin(1), "*": "mean"}
    with Capture(net, ["conv", "head", "fuse.branches.0"], reduce=choice) as maps:
        out = net(photo())
    assert maps["head"].shape == out.logits.shape
    assert maps["fuse.branches.0"].shape == (1, 9, 12)
    with pytest.raises(GstoVizError, match="says nothing about tap 'conv'"):
        Capture(net, "conv", reduce={"head": "none"})


def test_list_mutating_modules_are_seen_at_the_producer() -> None:
    net = toy()
    taps = {"fine.pre": "fuse.branches.0", "fine": "fuse#0", "coarse": "fuse#1"}
    with Capture(net, taps, reduce="none") as maps:
        out = net(photo())
    with torch.no_grad():
        x = torch.relu(bn_output(net, photo()))
        pre = net.fuse.branches[0](x)
    torch.testing.assert_close(maps["fine.pre"], pre, rtol=0, atol=0)
    torch.testing.assert_close(maps["coarse"], out.auxiliary["coarse"].detach(), rtol=0, atol=0)
    torch.testing.assert_close(
        nn.functional.conv2d(maps["fine"], net.head.weight, net.head.bias), out.logits
    )


def test_elements_of_named_tuples_dicts_and_dataclasses() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Identity()

        def forward(self, image: Tensor) -> Wrapped:
            return Wrapped(self.body(image) * 2)

    net = toy()
    with Capture(net, {"out": "#logits", "first": "#0", "low": "#auxiliary#coarse"}) as maps:
        out = net(photo())
    torch.testing.assert_close(maps["out"], out.logits.mean(1))
    torch.testing.assert_close(maps["first"], out.logits.mean(1))
    torch.testing.assert_close(maps["low"], out.auxiliary["coarse"].mean(1))
    model = Model()
    with Capture(model, "#last_hidden_state", reduce="none") as maps:
        model(photo())
    torch.testing.assert_close(maps["#last_hidden_state"], photo() * 2)


def test_outputs_that_are_no_tensor_say_how_to_name_an_element() -> None:
    net = toy()
    with (
        pytest.raises(
            GstoVizError, match=r"a list with the elements 'fuse#0', 'fuse#1', not a tensor"
        ),
        Capture(net, "fuse"),
    ):
        net(photo())
    with (
        pytest.raises(GstoVizError, match=r"'fuse' has no element '2'; it is a list with"),
        Capture(net, "fuse#2"),
    ):
        net(photo())
    assert hook_count(net) == 0


def test_outputs_without_four_axes_need_a_function() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(27, 4))
    with (
        pytest.raises(GstoVizError, match=r"shape \(1, 4\), not \(N, C, H, W\)"),
        Capture(net, "1"),
    ):
        net(torch.ones(1, 3, 3, 3))
    with Capture(net, "1", reduce="none") as maps:
        out = net(torch.ones(1, 3, 3, 3))
    torch.testing.assert_close(maps["1"], out)


# several calls and several passes ----------------------------------------------------------------


def test_a_module_called_twice_in_one_pass_needs_records() -> None:
    net = toy()
    with Capture(net, "relu", reduce="none") as maps:
        net(photo())
    with pytest.raises(GstoVizError, match=r"called 2 times .* maps.records\('relu'\)"):
        maps["relu"]
    first, second = maps.records("relu")
    assert [(r.forward, r.call) for r in (first, second)] == [(0, 0), (0, 1)]
    torch.testing.assert_close(first.value, torch.relu(bn_output(net, photo())))
    assert second.value.shape == (1, 4, 5, 6)


def test_several_passes_give_the_last_and_keep_all() -> None:
    net = toy()
    with Capture(net, ["bn", "relu"]) as maps:
        for seed in range(3):
            net(photo(seed))
    assert maps.forwards == 3
    torch.testing.assert_close(maps["bn"], bn_output(net, photo(2)).mean(1))
    for seed, record in enumerate(maps.records("bn")):
        assert (record.forward, record.call) == (seed, 0)
        torch.testing.assert_close(record.value, bn_output(net, photo(seed)).mean(1))
    calls = [(r.forward, r.call) for r in maps.records("relu")]
    assert calls == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]


def test_a_tap_missed_by_the_last_pass_is_not_given_from_an_older_one() -> None:
    class Sometimes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.always, self.extra = nn.Identity(), nn.Identity()

        def forward(self, image: Tensor, more: bool) -> Tensor:
            return self.extra(self.always(image)) if more else self.always(image)

    net = Sometimes()
    with Capture(net, ["always", "extra"]) as maps:
        net(photo(), True)
        net(photo(1), False)
    torch.testing.assert_close(maps["always"], photo(1).mean(1))
    with pytest.raises(GstoVizError, match=r"last forward pass \(1\) but in pass 0"):
        maps["extra"]


def test_clear_bounds_a_long_loop() -> None:
    net = toy()
    with Capture(net, "bn") as maps:
        for seed in range(4):
            maps.clear()
            net(photo(seed))
            assert len(maps.records("bn")) == 1
            torch.testing.assert_close(maps["bn"], bn_output(net, photo(seed)).mean(1))
        maps.clear()
    with pytest.raises(GstoVizError, match="records were cleared"):
        maps["bn"]


def test_calling_a_part_without_the_whole_counts_as_pass_zero() -> None:
    net = toy()
    with Capture(net, "bn") as maps:
        net.bn(net.conv(photo()))
    assert maps.records("bn")[0].forward == 0
    torch.testing.assert_close(maps["bn"], bn_output(net, photo()).mean(1))


def test_maps_is_a_mapping_of_what_fired() -> None:
    net = toy()
    with Capture(net, ["conv", "bn", "dead"], unfired="keep") as maps:
        net(photo())
    assert list(maps) == ["conv", "bn"]
    assert len(maps) == 2
    assert "bn" in maps
    assert "dead" not in maps
    assert set(dict(maps)) == {"conv", "bn"}
    assert maps.never_fired == ("dead",)
    assert list(maps.taps) == ["conv", "bn", "dead"]
    assert "conv, bn; forward passes: 1" in repr(maps)


# errors that help ---------------------------------------------------------------------------------


def test_wrong_names_list_the_closest_valid_ones() -> None:
    net = toy()
    with pytest.raises(
        GstoVizError, match=r"'fuse.branch.1'; did you mean fuse.branches.1.*all \d+"
    ):
        Capture(net, "fuse.branch.1")
    with pytest.raises(
        GstoVizError, match=r"called 'xyz\*'; valid names: conv, bn, relu, .*, \.\.\. \(all 9"
    ):
        Capture(net, "xyz*")
    with pytest.raises(GstoVizError, match=r"called 'convv'; did you mean conv"):
        Capture(net, {"mine": "convv"})
    with pytest.raises(GstoVizError, match="no taps were asked for"):
        Capture(net, [])
    with pytest.raises(GstoVizError, match="is a ModuleList, which is never called"):
        Capture(net, "fuse.branches")
    assert hook_count(net) == 0


def test_asking_maps_for_what_was_not_captured() -> None:
    net = toy()
    with Capture(net, ["conv", "bn"]) as maps:
        net(photo())
    for ask in (lambda: maps["bm"], lambda: maps.records("bm"), lambda: maps.get("bm")):
        with pytest.raises(GstoVizError, match="'bm' was not captured; did you mean bn"):
            ask()


@pytest.mark.parametrize("taps", [3, None, [1], [None], {"mine": 1}, {2: "conv"}, b"conv"])
def test_taps_that_are_no_names_are_refused(taps: Any) -> None:
    net = toy()
    with pytest.raises(GstoVizError, match=r"taps .*; give a name or pattern"):
        Capture(net, taps)
    assert hook_count(net) == 0


@pytest.mark.parametrize("reduce", [3, None, ["mean"], {"*": 3}, {1: "mean"}])
def test_reductions_that_are_neither_names_nor_functions_are_refused(reduce: Any) -> None:
    with pytest.raises(GstoVizError, match=r"unknown reduction|reduce names the tap 1"):
        Capture(toy(), "bn", reduce=reduce)


def test_only_gates_have_a_second_spelling(tmp_path: Path) -> None:
    both = {"gate[1->0]": "gate.1to0", "stage3.m0.gate[2->0]": "stage3.m0.gate.2to0"}
    for canonical, safe in both.items():
        assert (safe_name(canonical), canonical_name(safe)) == (safe, canonical)
    single = ["stage3.m0.fusion.transfers.2to0", "investigate.2to0", "gate.2to0.score", "a[1->0]"]
    for name in single:
        assert safe_name(name) == canonical_name(name) == name
    arrays = {name: np.full((2, 3), k) for k, name in enumerate([*both, *single])}
    save_maps(tmp_path / "maps.npz", ImageMaps(arrays, {}), {})
    with np.load(tmp_path / "maps.npz", allow_pickle=False) as file:
        read = {canonical_name(name): file[name] for name in file.files if name != "metadata"}
    assert list(read) == list(arrays)
    assert all((read[name] == array).all() for name, array in arrays.items())


def test_wrong_reductions() -> None:
    net = toy()
    with pytest.raises(GstoVizError, match=r"unknown reduction 'average'.*choose mean, gain_fixed"):
        Capture(net, "bn", reduce="average")
    with pytest.raises(GstoVizError, match="no gains for tap 'bn'"):
        Capture(net, "bn", reduce="gain_fixed")
    gains = {"bn": Gains(np.ones(3), np.ones(3, dtype=bool))}
    with (
        pytest.raises(GstoVizError, match="has 4 channels and its gains have 3"),
        Capture(net, "bn", reduce="gain_fixed", gains=gains),
    ):
        net(photo())
    with (
        pytest.raises(GstoVizError, match="gave a float for tap 'bn'"),
        Capture(net, "bn", reduce=lambda f: float(f.mean())),  # type: ignore[arg-type,return-value]
    ):
        net(photo())
    with pytest.raises(GstoVizError, match="unfired is 'ignore'"):
        Capture(net, "bn", unfired="ignore")  # type: ignore[arg-type]


def test_gains_of_the_checkpoint_are_the_default() -> None:
    net = toy()
    sigma = np.array([1.0, 2.0, 4.0, 8.0])
    gains = {"bn": Gains(sigma, np.array([True, True, False, True]))}
    net.info = SimpleNamespace(gains=gains)  # type: ignore[assignment]
    with Capture(net, "bn", reduce="gain_fixed") as maps:
        net(photo())
    f = bn_output(net, photo()).double().numpy()
    expected = (f[:, 0] / 1.0 + f[:, 1] / 2.0 + f[:, 3] / 8.0) / 3
    np.testing.assert_allclose(maps["bn"].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_taps_that_never_fired_are_named_when_the_block_ends() -> None:
    net = toy()
    with (
        pytest.raises(GstoVizError, match=r"1 of 2 taps never fired: dead;.*unfired='keep'"),
        Capture(net, ["bn", "dead"]) as maps,
    ):
        net(photo())
    assert hook_count(net) == 0
    assert maps["bn"].shape == (1, 9, 12)
    with pytest.raises(GstoVizError, match="tap 'dead' has no map: it never fired"):
        maps["dead"]


def test_a_block_without_a_pass_says_so() -> None:
    capture = Capture(toy(), "bn")
    maps = capture.__enter__()
    with pytest.raises(GstoVizError, match="'bn' has no map: no forward pass ran"):
        maps["bn"]
    with pytest.raises(GstoVizError, match="nothing was captured: no forward pass ran inside"):
        capture.__exit__(None, None, None)


# state --------------------------------------------------------------------------------------------


class BoomError(Exception):
    """Planted."""


@pytest.mark.parametrize("error", [BoomError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("place", ["forward", "reduce", "block", "none"])
def test_nothing_is_left_behind(place: str, error: type[BaseException]) -> None:
    net = toy().train()
    net.bn.eval()
    net.conv.weight.requires_grad_(False)
    net.head.weight.grad = torch.full_like(net.head.weight, 0.5)
    own = net.down.register_forward_hook(lambda *_: None)
    before = Snapshot(net)

    def explode(*_: Any) -> Any:
        raise error("planted")

    def block() -> None:
        reduce = explode if place == "reduce" else "mean"
        with Capture(net, ["bn", "head", "dead"], reduce=reduce, unfired="keep"):
            if place == "forward":
                net.head.forward = explode  # type: ignore[method-assign]
            net(photo())
            if place == "block":
                explode()

    if place == "none":
        block()
    else:
        with pytest.raises(error, match="planted"):
            block()
    net.head.__dict__.pop("forward", None)
    before.check()
    own.remove()


def test_an_error_inside_the_block_is_not_masked_by_silent_taps() -> None:
    with pytest.raises(BoomError), Capture(toy(), ["bn", "dead"]):
        raise BoomError


@pytest.mark.parametrize("error", [BoomError, KeyboardInterrupt])
def test_a_failing_registration_leaves_no_hook(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    net = toy()

    def refuse(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(net.head, "register_forward_hook", refuse)
    capture = Capture(net, ["bn", "head"])
    with pytest.raises(error), capture:
        pass
    assert hook_count(net) == 0
    monkeypatch.undo()
    with capture as maps:  # and it can be used again
        net(photo())
    assert set(maps) == {"bn", "head"}


def test_a_hook_that_someone_kept_records_nothing_after_the_block() -> None:
    net = toy()
    with Capture(net, "bn") as maps:
        kept = [*net.bn._forward_hooks.values(), *net._forward_pre_hooks.values()]
        net(photo())
    kept[0](net.bn, (), torch.zeros(1, 4, 2, 2))
    kept[1](net, ())
    assert (maps.forwards, len(maps.records("bn"))) == (1, 1)


def test_one_capture_is_open_once_and_can_be_used_again() -> None:
    net = toy()
    capture = Capture(net, "bn")
    with capture as first:
        net(photo(0))
        with pytest.raises(GstoVizError, match="open already"):
            capture.__enter__()
    with capture as second:
        net(photo(1))
    torch.testing.assert_close(first["bn"], bn_output(net, photo(0)).mean(1))
    torch.testing.assert_close(second["bn"], bn_output(net, photo(1)).mean(1))


def test_nested_captures_both_get_their_maps() -> None:
    net = toy()
    with Capture(net, "bn", reduce="none") as outer:
        net(photo(0))
        with Capture(net, ["bn", "head"]) as inner:
            net(photo(1))
        net(photo(2))
    assert outer.forwards == 3
    assert inner.forwards == 1
    torch.testing.assert_close(inner["bn"], bn_output(net, photo(1)).mean(1))
    torch.testing.assert_close(outer.records("bn")[1].value.mean(1), inner["bn"])
    torch.testing.assert_close(outer["bn"], bn_output(net, photo(2)))


def test_the_block_keeps_neither_graph_nor_features_alive() -> None:
    net = toy()
    alive: list[weakref.ref[Tensor]] = []
    net.bn.register_forward_hook(lambda _m, _i, out: alive.append(weakref.ref(out)))
    with Capture(net, "bn") as maps:
        net(photo())
    gc.collect()
    assert alive[0]() is None
    assert maps["bn"].numel() == 9 * 12


# threads ------------------------------------------------------------------------------------------


def test_sixteen_threads_on_one_network_get_their_own_maps() -> None:
    net = toy()
    sizes = [(6 + k, 20 - k) for k in range(16)]
    expected = [bn_output(net, photo(k, sizes[k])).mean(1) for k in range(16)]
    barrier = threading.Barrier(16)
    problems: list[str] = []

    def work(k: int) -> None:
        barrier.wait()
        for _ in range(15):
            with Capture(net, ["bn", "head"]) as maps, torch.no_grad():
                net(photo(k, sizes[k]))
            if len(maps.records("bn")) != 1 or not torch.equal(maps["bn"], expected[k]):
                problems.append(f"thread {k}: {maps}")

    threads = [threading.Thread(target=work, args=(k,)) for k in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert hook_count(net) == 0


def test_a_pass_in_another_thread_does_not_leak_in() -> None:
    net = toy()
    with Capture(net, "bn") as maps:
        net(photo(0))
        other = threading.Thread(target=net, args=(photo(1, (4, 4)),))
        other.start()
        other.join()
    assert maps.forwards == 1
    assert len(maps.records("bn")) == 1
    other = threading.Thread(target=net, args=(photo(1),))
    capture = Capture(net, "bn")
    capture.__enter__()
    other.start()
    other.join()
    with pytest.raises(GstoVizError, match="in the thread that opened it"):
        capture.__exit__(None, None, None)


# wrappers -----------------------------------------------------------------------------------------


def test_data_parallel_is_taken_off() -> None:
    net = toy()
    wrapped = nn.DataParallel(net)
    with Capture(wrapped, "bn") as maps:
        wrapped(photo())
    assert maps.model is net
    torch.testing.assert_close(maps["bn"], bn_output(net, photo()).mean(1))


def test_compiled_networks_are_unwrapped_and_calls_that_bypass_hooks_are_explained() -> None:
    net = toy()
    compiled = torch.compile(net, backend="eager")
    for _ in range(2):
        with (
            pytest.raises(GstoVizError, match=r"call maps.model\(image\) there"),
            Capture(compiled, "bn"),
        ):
            compiled(photo())
    with Capture(compiled, "bn") as maps:
        maps.model(photo())
    torch.testing.assert_close(maps["bn"], bn_output(net, photo()).mean(1))
    compiled(photo(1))
    assert len(maps.records("bn")) == 1
    assert hook_count(net) == 0
    torch._dynamo.reset()


def test_networks_compiled_in_place_are_explained() -> None:
    net = toy()
    net.compile(backend="eager")
    with (
        pytest.raises(GstoVizError, match=r"call maps.model.forward\(image\) there"),
        Capture(net, "bn"),
    ):
        net(photo())
    with Capture(net, "bn") as maps:
        maps.model.forward(photo())
    torch.testing.assert_close(maps["bn"], bn_output(net, photo()).mean(1))
    torch._dynamo.reset()
