"""The report in words, and ``comparison.json``."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from gsto_viz.files import write_json, write_text
from gsto_viz.report.folder import DOUBLED, SCHEMA_VERSION, plain, shown, shown_p
from gsto_viz.report.headline import (
    FEW_PAIRS,
    headline_rows,
    headline_value,
    null_text,
    rows_text,
)
from gsto_viz.report.summary import PairComparison, Report
from gsto_viz.stats.compare import Comparison, comparison_table
from gsto_viz.stats.inference import FLIPS, MARGIN, P_FLOOR, cause
from gsto_viz.text_table import text_table
from gsto_viz.words import NULLS, counted, first_few, index_label

RANDOM_NOTE = (
    "Random weights (N3): every convolution drawn anew, batch-norm statistics measured again on\n"
    "the calibration images; regions of at least 64 px. Both choices move these values."
)

PAIRED_NOTE = (
    f"equivalent: the 90 % interval of the difference lies within {MARGIN} of 0\n"
    f"<=: p of {FLIPS} random sign patterns cannot be smaller than {P_FLOOR:.4f}"
)


LISTED = 6
"""So many images without pairs are named."""


def headline_text(report: Report) -> str:
    """Return the indices of every model with intervals and nulls, and the verdicts in words."""
    lines = []
    for key in report.keys:
        sci = report.index(key, "sci")
        scores = report.model(key)["scores"]
        accuracy = "" if scores is None else f", mIoU {scores['miou']:.1f} % here"
        lines.append(f"{key} = {report.names[key]}{accuracy}")
        lines.append(
            f"  {counted(report.summary['images'], 'image')} ({report.independence}), "
            f"{counted(sci.n_pairs, 'pair')} of objects an octave or more apart in "
            f"{sci.n_images} of them"
        )
        lines += rows_text(headline_rows(report, key))
        verdict = report.verdict(key)
        said = (transfer_caution(report, key), report.agreement(key), verdict.words)
        lines += [f"  {words}" for words in said if words]
        lines += [f"    {c.name}: {c.state} ({c.why})" for c in verdict.conditions]
        if caution := layout_caution(report, key):
            lines.append(f"  {caution}")
        lines += [f"  {null} is missing: {why}" for null, why in report.missing_nulls(key).items()]
        missing = report.model(key)["no_pairs"]
        if missing:
            lines.append(
                f"  no pairs: {counted(len(missing), 'image')} ({first_few(missing, LISTED)})"
            )
        if rows := atlas_table(report, key):
            lines += ["", *text_table(rows, "<", indent="  "), f"  {atlas_words(report, key)}"]
        if rows := equalizer_table(report, key):
            lines += ["", *text_table(rows, "<", indent="  "), f"  {equalizer_words(report, key)}"]
        lines.append("")
    if report.has_nulls:
        lines += [
            f"{name}: {null.meaning}" for name, null in NULLS.items() if report.has_null(name)
        ]
        lines += [RANDOM_NOTE, ""]
    for one in report.skipped:
        lines.append(f"skipped {one['image']}: {one['reason']}")
    return "\n".join(lines).rstrip() + "\n"


def layout_caution(report: Report, key: str) -> str | None:
    """Return a caution where the annotation of other images (N2) does about as well as the own one.

    Then the order of sizes follows from where things lie in the image, and SCI below 0.5 is no
    evidence that the network answers to size. None when N2 lies above SCI's interval, or without
    it.
    """
    sci, null = report.index(key, "sci"), report.nulls(key).get("sci", {}).get("N2")
    if sci.high is None or null is None or null.mean is None or not null.mean <= sci.high < 0.5:
        return None
    adjusted = report.layout_adjusted(key, "sci")
    left = "" if adjusted is None else f"; with the mean map taken out SCI is {shown(adjusted)}"
    return (
        f"Caution: the annotation of other images does about as well (N2 {null.mean:.3f}), so "
        f"where things lie in the image explains this order without their size{left}."
    )


def transfer_caution(report: Report, key: str) -> str | None:
    """Return a caution where moved regions, or an untrained network, do about as well in STP.

    Enlarging anything may move answers to coarser branches. None when STP's interval lies above
    its null models or not above 0.5, and without them.
    """
    found = report.causal(key)
    doubled = None if found is None else found["stp"].get(f"{DOUBLED:+g}")
    if doubled is None or doubled.estimate.low is None or doubled.estimate.low <= 0.5:
        return None
    reached = {
        name: one.high if name == "N3" else one.mean
        for name, one in doubled.nulls.items()
        if one.mean is not None
    }
    as_well = [f"{name} {v:.3f}" for name, v in reached.items() if v and v >= doubled.estimate.low]
    if not as_well:
        return None
    return (
        f"Caution: null models of STP do about as well ({', '.join(as_well)}), so STP above 0.5 is "
        "no evidence here that trained branches follow the size of objects."
    )


ATLAS_NOTE = (
    "Features of the branches, none of it evidence of awareness. Variance: after resizing to the "
    "finest grid. Redundancy: share of energy that the next coarser grid could hold, beside that "
    "of the picture on the same grid (white noise 0.25). CKA: similarity of objects between "
    "branches, one object per image (0 independent, 1 the same up to rotation)."
)


def atlas_table(report: Report, key: str) -> list[list[str]]:
    """Return what the atlas says of one model as rows of cells, heads first; none without it."""
    found = report.model(key).get("atlas")
    if found is None:
        return []
    strides = report.strides[key]
    similar = [f"CKA with /{stride}" for stride in strides]
    rows = [["branch", "variance [95 %]", "redundancy [95 %]", "of the picture", *similar]]
    for r, stride in enumerate(strides):
        cells = [shown(found[name][r]) for name in ("variance", "redundancy")]
        picture = found["picture"][r].value
        near = ["-" if one is None else f"{one:.2f}" for one in found["cka"][r]]
        rows.append([f"/{stride}", *cells, "-" if picture is None else f"{picture:.3f}", *near])
    return rows


def atlas_words(report: Report, key: str) -> str:
    """Return the disequilibrium of one model in words, and the objects behind CKA."""
    found = report.model(key)["atlas"]
    spread = shown(found["disequilibrium"], 2)
    return (
        f"Disequilibrium, log2 of the largest over the smallest variance: {spread}. "
        f"CKA of {found['objects']} objects."
    )


EQUALIZER_NOTE = (
    "Scale equalizers, measured on these images over all channels and positions: variance of what "
    "enters each, mean and variance of what leaves it. On the images of their estimate they leave "
    "mean 0 and variance 1, and a disequilibrium of 0."
)


def equalizer_table(report: Report, key: str) -> list[list[str]]:
    """Return what equalizers do as rows of cells, heads first; none without any, or the atlas."""
    rows = [["equalizer", "variance before [95 %]", "mean after", "variance after [95 %]"]]
    for head in report.model(key).get("equalizers", ()):
        columns = (head["variance"], head["mean_after"], head["variance_after"])
        for site, before, mean, after in zip(head["sites"], *columns, strict=True):
            # Adding 0 makes of a rounded -0.0 a plain one.
            rows.append([site, shown(before), f"{round(mean.value, 3) + 0:.3f}", shown(after)])
    return rows if len(rows) > 1 else []


def equalizer_words(report: Report, key: str) -> str:
    """Return the disequilibrium before and after the equalizers of each head in words."""
    said = [
        f"{head['head']} {_octaves(head['disequilibrium'])} before, "
        f"{_octaves(head['disequilibrium_after'])} after"
        for head in report.model(key)["equalizers"]
    ]
    return f"Disequilibrium in octaves of variance, measured: {'; '.join(said)}."


def _octaves(value: float | None) -> str:
    return "not estimated" if value is None else f"{value:.2f}"


def comparison_text(comparison: PairComparison, report: Report) -> str:
    """Return the paired differences b - a as a table, and what they say."""
    a, b = comparison.a, comparison.b
    rows: list[Sequence[object] | str] = [
        ("index", a, b, "difference [95 %]", "p", "adjusted", "equivalent")
    ]
    family = None
    for one in comparison.comparisons:
        if one.family != family:
            family = one.family
            rule = "Holm" if family == "confirmatory" else "Benjamini-Hochberg"
            rows.append(f"{family} (p adjusted by {rule})")
        rows.append(_comparison_row(one))
    lines = [
        f"{b} - {a}, paired over images: {b} = {report.names[b]}, {a} = {report.names[a]}",
        "",
        *text_table(rows, "<>><>><"),
    ]
    curve = comparison.curve
    if curve.same_sign is None:
        lines.append(f"specification curve: not estimated ({cause(curve.reason)})")
    else:
        lines.append(
            f"specification curve: {100 * curve.same_sign:.0f} % of {curve.estimated} reasonable "
            "choices give the difference of SCI the sign of the headline"
        )
    lines += [PAIRED_NOTE, "", difference_words(comparison, report)]
    return "\n".join(lines) + "\n"


def _comparison_row(one: Comparison) -> tuple[str | None, ...]:
    numbers = [None if v is None else f"{v:.3f}" for v in (one.a, one.b)]
    p = [shown_p(one.test.p), shown_p(one.p_adjusted, one.test.p)]
    same = {True: "yes", False: "no", None: None}[one.equivalence.equivalent]
    return f"  {index_label(one.index)}", *numbers, shown(one.difference), *p, same


def difference_words(comparison: PairComparison, report: Report) -> str:
    """Return in words which of the two is less confused on these images, or that none is."""
    one = next(c for c in comparison.comparisons if c.index == "sci")
    a, b = comparison.a, comparison.b
    if one.difference.value is None:
        return f"SCI cannot be compared: {cause(one.difference.reason)}."
    if one.difference.low is None or one.difference.high is None or one.p_adjusted is None:
        return (
            f"SCI of {b} minus {a} is {one.difference.value:+.3f}, without an interval "
            f"({one.difference.reason}): no claim."
        )
    p = shown_p(one.p_adjusted, one.test.p)
    if one.difference.high < 0 and one.p_adjusted < 0.05:
        found = f"{b} orders objects by size better than {a} on these images"
    elif one.difference.low > 0 and one.p_adjusted < 0.05:
        found = f"{b} orders objects by size worse than {a} on these images"
    elif one.equivalence.equivalent:
        found = f"{a} and {b} are equivalent within {one.equivalence.margin} on these images"
    else:
        found = f"no difference between {a} and {b} is shown on these images"
    return (
        f"{found} (SCI {shown(one.difference)}, p {p} after Holm). "
        "Each network is one training run: this is about these two networks, not about a method."
    )


TELLING = ("N3", "N2")
"""Null models beside the answer: what untrained networks, and layout alone, reach."""


def answer_words(report: Report) -> list[str]:
    """Return which network orders objects by size better, and what its null models say.

    Of every network that is compared with the reference, one paragraph; of a network alone, its
    own order.
    """
    found = report.comparisons()
    orders = [_order_words(report, key) for key in report.keys]
    few = [key for key in report.keys if report.index(key, "sci").n_pairs < FEW_PAIRS]
    if few:
        return orders
    said = [difference_words(one, report) for one in found]
    return [*(one[0].upper() + one[1:] for one in said), *orders]


def _order_words(report: Report, key: str) -> str:
    """Return how often a network has pairs the right way round, beside its null models."""
    sci = report.index(key, "sci")
    if sci.n_pairs < FEW_PAIRS:
        return f"{key}: {headline_value(sci)}."
    if sci.value is None:
        return f"{key}: {shown(sci)}."
    found = report.nulls(key).get("sci", {})
    texts = {name: null_text(name, found.get(name)) for name in TELLING}
    nulls = [f"{NULLS[name].meaning} {text}" for name, text in texts.items() if text]
    told = f"; null models of SCI: {', '.join(nulls)}" if nulls else ""
    return (
        f"{key} ({report.names[key]}) orders {100 * (1 - sci.value):.0f} % of "
        f"{sci.n_pairs} pairs of objects by size (chance 50 %; SCI {shown(sci)}{told})."
    )


def comparison_json(report: Report, comparison: PairComparison) -> dict[str, Any]:
    """Return a comparison as plain values."""
    return {
        "schema_version": SCHEMA_VERSION,
        "data": report.data,
        "a": {"key": comparison.a, **report.manifest["models"][comparison.a]},
        "b": {"key": comparison.b, **report.manifest["models"][comparison.b]},
        "difference": f"{comparison.b} - {comparison.a}, paired over images",
        "words": difference_words(comparison, report),
        "indices": plain(comparison_table(comparison.comparisons)),
        "specification": {
            "same_sign": comparison.curve.same_sign,
            "estimated": comparison.curve.estimated,
            "reason": comparison.curve.reason,
            "rows": plain(comparison.curve.table),
        },
    }


def comparisons_text(report: Report, found: Sequence[PairComparison]) -> str:
    """Return the tables of several comparisons one below the other."""
    texts = [comparison_text(one, report) for one in found]
    if len(found) > 1:
        count = sum(one.family == "confirmatory" for pair in found for one in pair.comparisons)
        texts.append(f"p values are adjusted over all {count} confirmatory tests above (Holm).\n")
    return "\n".join(texts)


def write_comparisons(report: Report, found: Sequence[PairComparison]) -> dict[str, Any]:
    """Write ``comparison.json`` and its tables as CSV beside the analysis; return the values.

    Args:
        report: The analysis.
        found: One pair; or several with one reference, whose tables are joined.
    """
    tables = {one.b: comparison_table(one.comparisons) for one in found}
    curves = {one.b: one.curve.table for one in found}
    several = len(found) > 1
    for name, parts in (("comparison", tables), ("specification", curves)):
        table = next(iter(parts.values()))
        if several:
            table = pd.concat(parts, names=["model"]).reset_index("model")
        write_text(report.folder / f"{name}.csv", table.to_csv(index=False))
    each = [comparison_json(report, one) for one in found]
    values = each[0]
    if several:
        about = {"schema_version": SCHEMA_VERSION, "data": report.data, "reference": found[0].a}
        values = about | {"comparisons": each}
    write_json(report.folder / "comparison.json", values)
    return values
