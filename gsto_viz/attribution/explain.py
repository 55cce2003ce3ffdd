"""Explain one target of one image: branches, paths, maps, and how far the answers can be trusted.

Exact answers first (Shapley values, shares, removals), gradients second, sanity checks on request.
Everything is a table or an array; ``gsto_viz.plots.attribution`` draws it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from gsto_viz.anatomy import Gate, anatomy_of
from gsto_viz.attribution.gradients import LAYER_METHODS, Announce, Attribution, Explainer
from gsto_viz.attribution.head import HeadPass, find_head, head_pass
from gsto_viz.attribution.interventions import (
    Intervention,
    branch_paths,
    constant,
    edges,
    intervene,
)
from gsto_viz.attribution.places import View
from gsto_viz.attribution.sanity import asked_classes, coalition_infidelity, sanity_checks
from gsto_viz.attribution.shapley import BranchShapley, branch_shapley, shapley_maps
from gsto_viz.attribution.taps import (
    Run,
    TapMaps,
    explain_taps,
    find_taps,
    removal_infidelity,
    split_methods,
    tap_runs,
)
from gsto_viz.attribution.targets import Entries, Target, head_logits, resolve
from gsto_viz.errors import GstoVizError
from gsto_viz.network import Baseline
from gsto_viz.torch_utils import eval_mode

FAR_OFF = 0.05
"""A sum that is off by more than this share of what it must be asks for more steps."""
METHODS = ("gradient_x_activation", "grad_cam", "integrated_gradients")
"""Captum's methods that run by default."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """What carries one target.

    Attributes:
        target: In words.
        score: Of the network as it is, logits.
        strides: Of the branches, the finest first.
        branches: One row per method and baseline: ``method``, ``baseline``, ``branch_{r}``,
            ``sum``, ``expected`` (what the sum must be; null where nothing is promised) and
            ``infidelity`` (see ``coalition_infidelity``, first baseline; null for shares).
        paths: One row per intervention: ``place``, ``kind``, ``source``, ``target``, ``value``,
            ``score``, ``drop`` (the score as it is minus this one).
        maps: By name, ``shapley/{baseline}/branch{r}`` on the grid of the logits (logits) and
            ``{method}/{tap}``, float32.
        map_strides: Pixels per cell of each map.
        sum_error: Of the branch split, relative to the greatest logit.
        efficiency_error: Greatest over the baselines, logits.
        outline: (H, W) int: the picked pixels, by group.
        taps: Maps at other taps and on the image; None when not asked.
        sanity: ``check``, ``subject``, ``value``, ``cells``; None when not asked.
        notes: What to know when reading it.
    """

    target: str
    score: float
    strides: tuple[int, ...]
    branches: pd.DataFrame
    paths: pd.DataFrame
    maps: dict[str, npt.NDArray[np.float32]]
    map_strides: dict[str, int]
    sum_error: float
    efficiency_error: float
    outline: npt.NDArray[np.int64]
    taps: TapMaps | None = None
    sanity: pd.DataFrame | None = None
    notes: tuple[str, ...] = field(default=())


def explain_target(
    model: nn.Module,
    image: Tensor,
    view: View,
    target: Target,
    baselines: Sequence[Baseline],
    *,
    methods: Sequence[str] = METHODS,
    taps: Sequence[str] = (),
    steps: int = 16,
    budget: int | None = None,
    changes: Sequence[Intervention] = (),
    sanity: bool = False,
    seed: int = 0,
    announce: Announce = lambda sentence: None,
) -> Explanation:
    """Explain one target of one image by every method.

    Args:
        model: An HRNetV2 or GSTO-HRNet.
        image: (1, 3, H, W), normalised, on the network's device.
        view: What the target refers to.
        target: What is explained.
        baselines: For absent branches, of the target's head; the first is drawn.
        methods: Captum's, each once: those for taps run at the taps that enter the head, together,
            and at ``taps``, one by one; ``saliency`` and ``smooth_grad`` on the image.
        taps: Names or patterns of more places for the methods for taps.
        steps: Of integrated gradients and conductance.
        budget: Bytes for them; None: 4 GiB.
        changes: Interventions to read the score under, one at a time, beside closed paths.
        sanity: Also randomise weights, and measure infidelity and sensitivity.
        seed: Of everything that is random.
        announce: Called with a sentence before work that takes memory and time.

    Raises:
        GstoVizError: The target, a baseline or a tap does not fit, or a method is unknown.
    """
    if not baselines:
        raise GstoVizError("no baseline was given; make at least one, such as zero_baseline(model)")
    layer, on_image = split_methods(methods)
    if taps and not layer:
        raise GstoVizError(
            f"taps were named and no method for taps; add one of {', '.join(LAYER_METHODS)}"
        )
    seen = head_pass(model, image, target.head)
    strides = find_taps(model, image, taps, head=target.head) if taps else {}
    entries = resolve(target, view, tuple(seen.logits.shape))
    found = [branch_shapley(seen, baseline, entries) for baseline in baselines]
    explainer = Explainer(model, image, [entries], head=target.head, announce=announce)
    options: dict[str, Any] = {"steps": steps} | ({} if budget is None else {"budget": budget})
    runs = [Run(method, seen.place.taps, options) for method in layer]
    given = [run.on(explainer) for run in runs]
    maps, map_strides = _maps(seen, baselines, entries, given)
    paths = path_effects(model, image, entries, target.head, changes)
    rows = _branch_rows(found, given, explainer)
    inner = [tap for tap in strides if tap not in seen.place.taps]
    more = tap_runs(layer, on_image, inner, options, seed)
    infidelity = removal_infidelity(explainer, seed=seed)
    beside = None
    if strides or on_image:
        beside = explain_taps(explainer, more, strides, infidelity, given)
    checks = None
    if sanity:
        seen_maps = {n: m for n, m in maps.items() if not n.startswith("shapley/")}
        seen_maps |= {} if beside is None else beside.maps
        checks = sanity_checks(
            model, image, entries, target.head, (*runs, *more), seen_maps, infidelity, seed=seed
        )
    return Explanation(
        target=str(target),
        score=float(found[0].present[0]),
        strides=seen.place.strides,
        branches=rows,
        paths=paths,
        maps=maps,
        map_strides=map_strides,
        sum_error=max(f.sum_error for f in found),
        efficiency_error=max(f.efficiency_error for f in found),
        outline=target.place.select(view).group,
        taps=beside,
        sanity=checks,
        notes=_far_off(rows, steps),
    )


def _far_off(rows: pd.DataFrame, steps: int) -> tuple[str, ...]:
    """Say which path integrals do not add up yet."""
    paths = rows[rows["method"].isin(["integrated_gradients", "conductance"])]
    return tuple(
        f"{row['method']}: with {steps} steps the branches add up to {row['sum']:.4g}, and the "
        f"score changes by {row['expected']:.4g}; take more steps"
        for row in paths.to_dict("records")
        if abs(row["sum"] - row["expected"]) > FAR_OFF * abs(row["expected"])
    )


def _maps(
    seen: HeadPass,
    baselines: Sequence[Baseline],
    entries: Entries,
    given: Sequence[Attribution],
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, int]]:
    """Return all maps of one image by name, and their strides."""
    maps, strides = {}, {}
    finest = seen.place.strides[0]
    for baseline in baselines:
        psi = shapley_maps(seen, baseline, asked_classes(seen, entries))
        for r, one in enumerate(psi):
            name = f"shapley/{baseline.name}/branch{r}"
            maps[name], strides[name] = one.astype(np.float32), finest
    for attribution in given:
        for tap, one in attribution.maps.items():
            name = f"{attribution.method}/{tap}"
            maps[name] = one[0].astype(np.float32)
            strides[name] = seen.place.strides[seen.place.taps.index(tap)]
    return maps, strides


def _branch_rows(
    found: Sequence[BranchShapley], given: Sequence[Attribution], explainer: Explainer
) -> pd.DataFrame:
    """Return the table of branches: exact methods for each baseline, then Captum's."""
    rows = []
    for shapley in found:
        change = float(shapley.present[0] - shapley.absent[0])
        for method, values, expected in (
            ("shapley", shapley.psi[:, 0], change),
            ("share", shapley.phi[:, 0], 1.0),
            ("removal", shapley.ablation[:, 0], None),
        ):
            rows.append((method, shapley.baseline, values, expected))
    for attribution in given:
        totals = np.array([t[0] for t in attribution.totals.values()])
        delta = attribution.delta
        expected = None if delta is None else float(totals.sum() - delta[0])
        if attribution.method == "conductance":
            # Every path to the head leads through one of its branches.
            expected = explainer.change()
        rows.append((attribution.method, _path_start(attribution), totals, expected))
    coalitions = found[0].values[:, 0]
    table = []
    for method, baseline, values, expected in rows:
        row: dict[str, Any] = {"method": method, "baseline": baseline}
        row |= {f"branch_{r}": float(value) for r, value in enumerate(values)}
        row |= {"sum": float(np.sum(values)), "expected": expected}
        adds_up = method not in ("share", "activation", "grad_cam")
        row["infidelity"] = coalition_infidelity(coalitions, values) if adds_up else None
        table.append(row)
    frame = pd.DataFrame(table)
    return frame.astype({"expected": "float64", "infidelity": "float64"})


def _path_start(attribution: Attribution) -> str:
    """Return where the path of a method begins."""
    path = attribution.method in ("integrated_gradients", "conductance")
    return "image of the mean colour" if path else "none"


@torch.no_grad()
def path_effects(
    model: nn.Module,
    image: Tensor,
    entries: Entries,
    head: str = "main",
    changes: Sequence[Intervention] = (),
) -> pd.DataFrame:
    """Close paths one at a time and read the target's score each time.

    Branches are removed (zero) before and after the last fusion, each transfer of the last fusion
    and each new branch is closed; each gate of the last fusion and of the transitions is closed as
    far as its form allows, and all gates are opened and closed together. What lies behind the head
    is left alone: the last fusion is that of the head's own stage.

    Args:
        model: An HRNetV2 or GSTO-HRNet.
        image: (1, 3, H, W), normalised.
        entries: One target.
        head: The head that it reads; places after it change nothing.
        changes: More interventions, one at a time; of ``kind`` ``asked``.

    Returns:
        The table ``paths`` of :class:`Explanation`.
    """
    rows: list[dict[str, Any]] = []
    with eval_mode(model):

        def score(*made: Intervention) -> float:
            with intervene(model, *made) as network:
                logits = head_logits(network(image), head)[0].flatten(1)
            return float(entries.scores(logits.double())[0])

        before = score()
        asked: list[Closing] = [("asked", None, None, (change,)) for change in changes]
        for kind, source, target, made in asked + _closings(model, head):
            after = score(*made)
            name = made[0].path if len(made) == 1 else "all gates"
            row: dict[str, Any] = {"place": name, "kind": kind, "source": source, "target": target}
            row |= {"value": made[0].what, "score": after, "drop": before - after}
            rows.append(row)
    frame = pd.DataFrame(rows)
    return frame.astype({"source": "Int64", "target": "Int64"})


Closing = tuple[str, int | None, int | None, tuple[Intervention, ...]]


def _closings(model: nn.Module, name: str) -> list[Closing]:
    """List what ``path_effects`` closes: kind, source, target, interventions."""
    anatomy, head = anatomy_of(model), find_head(model, name)
    assert anatomy is not None
    new = {edge.site for edge in anatomy.transfers if edge.new}
    closings: list[Closing] = []
    for site in ("before", "after"):
        for r, tap in enumerate(branch_paths(model, site, name)):
            closings.append((f"branch {site} fusion", None, r, (constant(tap, 0, "zero"),)))
    transitions = [site for site in head.sites if site in new]
    sites = [*([] if head.fusion is None else [head.fusion]), *transitions]
    for path in (p for site in sites for p in edges(model, "transfer", site)):
        change = constant(path.name, 0, "closed")
        closings.append(("transfer", path.source, path.target, (change,)))
    gates = [gate for gate in anatomy.gates if gate.site in head.sites]
    for gate in gates:
        if gate.site in sites:
            ends = (None, None) if gate.new else (gate.source, gate.target)
            closings.append(("gate", *ends, (_closed(gate),)))
    if gates:
        opened = tuple(constant(gate.name, 1.0, "open") for gate in gates)
        closings.append(("all gates", None, None, opened))
        closings.append(("all gates", None, None, tuple(map(_closed, gates))))
    return closings


def _closed(gate: Gate) -> Intervention:
    """Close a gate as far as its form allows."""
    return constant(gate.name, gate.range[0], f"closed ({gate.range[0]:g})")
