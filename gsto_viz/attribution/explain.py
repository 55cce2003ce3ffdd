"""Explain one target of one image: branches, paths, maps, and how far the answers can be trusted.

Exact answers first (Shapley values, shares, removals), gradients second, sanity checks on request.
Everything is a table or an array; ``gsto_viz.plots.attribution`` draws it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from gsto_viz.anatomy import Gate, anatomy_of
from gsto_viz.attribution.areas import View
from gsto_viz.attribution.gradients import (
    DEFAULT_BUDGET,
    Announce,
    Attribution,
    Explainer,
    Run,
    find_taps,
)
from gsto_viz.attribution.head import HeadPass, find_head, head_pass
from gsto_viz.attribution.interventions import (
    Intervention,
    branch_places,
    constant,
    edges,
    intervene,
)
from gsto_viz.attribution.sanity import (
    Infidelity,
    coalition_infidelity,
    removal_infidelity,
    sanity_checks,
)
from gsto_viz.attribution.shapley import BranchShapley, asked_classes, branch_shapley
from gsto_viz.attribution.targets import Entries, Target, head_logits, resolve
from gsto_viz.errors import GstoVizError
from gsto_viz.network import Baseline
from gsto_viz.torch_utils import eval_mode
from gsto_viz.types import FloatArray, Stride
from gsto_viz.words import DEFAULT_METHODS, METHODS, Method, find_method, load_function, methods_at

FAR_OFF = 0.05
"""A sum that is off by more than this share of what it must be asks for more steps."""
COLUMNS = ("method", "tap", "stride", "total", "delta", "infidelity")


@dataclass(frozen=True, eq=False)
class TapMaps:
    """Maps of one target beside those of the taps that enter the head.

    Attributes:
        maps: ``{method}/{tap}``, or ``{method}/input``; float32, summed over channels.
        strides: Pixels per cell of each map.
        table: One row per map: ``method``, ``tap``, ``stride``, ``total`` (sum of the map),
            ``delta`` (integrated gradients: total minus the change of the score when this tap goes
            to the baseline; null for others, and for taps of the head, which go there together) and
            ``infidelity`` (see ``removal_infidelity``; null where a map's sum is not a change of
            the score).
    """

    maps: dict[str, npt.NDArray[np.float32]]
    strides: dict[str, Stride]
    table: pd.DataFrame


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
    strides: tuple[Stride, ...]
    branches: pd.DataFrame
    paths: pd.DataFrame
    maps: dict[str, npt.NDArray[np.float32]]
    map_strides: dict[str, Stride]
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
    methods: Sequence[str] = DEFAULT_METHODS,
    taps: Sequence[str] = (),
    steps: int = 16,
    budget: int = DEFAULT_BUDGET,
    changes: Sequence[Intervention] = (),
    sanity: bool = False,
    seed: int = 0,
    announce: Announce = lambda sentence: None,
) -> Explanation:
    """Explain one target of one image by every method.

    Args:
        image: (1, 3, H, W), normalised, on the network's device.
        view: What the target refers to.
        target: What is explained.
        baselines: For absent branches, of the target's head; the first is drawn.
        methods: Beside the exact ones, each once: those for taps run at the taps that enter the
            head, together, and at ``taps``, one by one; the others on the image.
        taps: Names or patterns of more places for the methods for taps.
        steps: Of integrated gradients and conductance.
        budget: Bytes for them.
        changes: Interventions to read the score under, one at a time, beside closed paths.
        sanity: Also randomise weights, and measure infidelity and sensitivity.
        seed: Of everything that is random.
        announce: Called with a sentence before work that takes memory and time.

    Raises:
        GstoVizError: The target, a baseline or a tap does not fit, or a method is unknown.
    """
    if not baselines:
        raise GstoVizError("no baseline was given; make at least one, such as zero_baseline(model)")
    asked = {key: find_method(key, "taps", "image") for key in methods}
    layer = [key for key, row in asked.items() if row.at == "taps"]
    if taps and not layer:
        raise GstoVizError(
            f"taps were named and no method for taps; add one of {', '.join(methods_at('taps'))}"
        )
    seen = head_pass(model, image, target.head)
    strides = find_taps(model, image, taps, head=target.head) if taps else {}
    entries = resolve(target, view, tuple(seen.logits.shape))
    found = [branch_shapley(seen, baseline, entries) for baseline in baselines]
    explainer = Explainer(model, image, [entries], head=target.head, announce=announce)

    def runs_of(keys: Iterable[str], *sets: Sequence[str]) -> list[Run]:
        options: dict[str, Any] = {"steps": steps, "budget": budget, "seed": seed}
        return [
            partial(Explainer.run, method=key, taps=taps_at, **options)
            for key in keys
            for taps_at in sets
        ]

    runs = runs_of(layer, seen.declared.taps)
    given = [run(explainer) for run in runs]
    exact, maps, map_strides = _maps(seen, baselines, entries, given)
    paths = path_effects(model, image, entries, target.head, changes)
    rows = _branch_rows(found, given, explainer)
    more = runs_of(layer, *([tap] for tap in strides if tap not in seen.declared.taps))
    more += runs_of((key for key, row in asked.items() if row.at == "image"), ())
    infidelity = removal_infidelity(explainer, seed=seed)
    beside = explain_taps(explainer, more, strides, infidelity, given) if strides or more else None
    checks = None
    if sanity:
        others = maps | ({} if beside is None else beside.maps)
        checks = sanity_checks(explainer, (*runs, *more), others, infidelity, seed=seed)
    return Explanation(
        target=str(target),
        score=float(found[0].present[0]),
        strides=seen.declared.strides,
        branches=rows,
        paths=paths,
        maps=exact | maps,
        map_strides=map_strides,
        sum_error=max(f.sum_error for f in found),
        efficiency_error=max(f.efficiency_error for f in found),
        outline=target.area.select(view).group,
        taps=beside,
        sanity=checks,
        notes=_far_off(rows, steps),
    )


def explain_taps(
    explainer: Explainer,
    runs: Sequence[Run],
    strides: Mapping[str, Stride],
    infidelity: Infidelity,
    ready: Sequence[Attribution] = (),
) -> TapMaps:
    """Run methods at taps and on the image.

    Args:
        runs: Methods, each at one tap or on the image, without the taps that are ``ready``.
        strides: From ``find_taps``: of all taps asked for.
        infidelity: From ``removal_infidelity``.
        ready: What is known of taps that enter the head, explained together; those of ``strides``
            are taken, without their common delta.
    """
    found: dict[tuple[str, str], tuple[FloatArray, float | None]] = {}
    for attribution in ready:
        for tap, one in attribution.maps.items():
            if tap in strides:
                found[attribution.method, tap] = one[0], None
    given = [run(explainer) for run in runs]
    for attribution in given:
        delta = None if attribution.delta is None else float(attribution.delta[0])
        for tap, one in attribution.maps.items():
            found[attribution.method, tap] = one[0], delta
    order = {
        method: k for k, method in enumerate(dict.fromkeys(a.method for a in (*given, *ready)))
    }
    asked = {tap: k for k, tap in enumerate(strides)}
    rows, maps = [], {}
    for method, tap in sorted(found, key=lambda key: (order[key[0]], asked.get(key[1], 0))):
        one, delta = found[method, tap]
        wrong = infidelity(method, tap, one)
        rows.append((method, tap, strides.get(tap, 1), float(one.sum()), delta, wrong))
        maps[f"{method}/{tap}"] = one.astype(np.float32)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return TapMaps(
        maps,
        dict(zip(maps, table["stride"].tolist(), strict=True)),
        table.astype({"delta": "float64", "infidelity": "float64"}),
    )


def _far_off(rows: pd.DataFrame, steps: int) -> tuple[str, ...]:
    """Name the path integrals that do not add up yet."""
    return tuple(
        f"{row['method']}: with {steps} steps the branches add up to {row['sum']:.4g}, and the "
        f"score changes by {row['expected']:.4g}; take more steps"
        for row in rows.to_dict("records")
        if METHODS[row["method"]].complete
        and abs(row["sum"] - row["expected"]) > FAR_OFF * abs(row["expected"])
    )


Maps = dict[str, npt.NDArray[np.float32]]


def _maps(
    seen: HeadPass,
    baselines: Sequence[Baseline],
    entries: Entries,
    given: Sequence[Attribution],
) -> tuple[Maps, Maps, dict[str, Stride]]:
    """Return the exact maps and those of methods at the head's taps by name, and their strides."""
    exact, maps, strides = {}, {}, {}
    classes = asked_classes(seen, entries)
    for row in methods_at("head").values():
        for baseline in baselines if row.maps else ():
            for r, one in enumerate(load_function(row.maps)(seen, baseline, classes)):
                name = f"{row.key}/{baseline.name}/branch{r}"
                exact[name], strides[name] = one.astype(np.float32), seen.declared.strides[0]
    for attribution in given:
        for tap, one in attribution.maps.items():
            name = f"{attribution.method}/{tap}"
            maps[name] = one[0].astype(np.float32)
            strides[name] = seen.declared.strides[seen.declared.taps.index(tap)]
    return exact, maps, strides


def _branch_rows(
    found: Sequence[BranchShapley], given: Sequence[Attribution], explainer: Explainer
) -> pd.DataFrame:
    """Return the table of branches: exact methods for each baseline, then the others."""
    rows: list[tuple[Method, str, FloatArray, float | None]] = []
    for shapley in found:
        for row in methods_at("head").values():
            rows.append((row, shapley.baseline, *load_function(row.function)(shapley)))
    for attribution in given:
        row = METHODS[attribution.method]
        totals = np.array([t[0] for t in attribution.totals.values()])
        expected = None
        if attribution.delta is not None:
            expected = float(totals.sum() - attribution.delta[0])
        elif row.complete:
            # Every path to the head leads through one of its branches.
            expected = explainer.change()
        begin = "image of the mean colour" if row.starts_at == "image" else "none"
        rows.append((row, begin, totals, expected))
    coalitions = found[0].values[:, 0]
    table = []
    for row, baseline, values, expected in rows:
        cells: dict[str, Any] = {"method": row.key, "baseline": baseline}
        cells |= {f"branch_{r}": float(value) for r, value in enumerate(values)}
        cells |= {"sum": float(np.sum(values)), "expected": expected}
        wrong = coalition_infidelity(coalitions, values) if row.starts_at else None
        table.append(cells | {"infidelity": wrong})
    frame = pd.DataFrame(table)
    return frame.astype({"expected": "float64", "infidelity": "float64"})


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
            name = made[0].place if len(made) == 1 else "all gates"
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
        for r, tap in enumerate(branch_places(model, site, name)):
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
