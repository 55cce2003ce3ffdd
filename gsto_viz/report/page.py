"""``report.html``: one self-contained page of an analysis, to send to a colleague.

Figures are inside the page; nothing is fetched, no script runs, and every name is shown as text.
"""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from gsto_viz.files import write_text
from gsto_viz.report import Report
from gsto_viz.report.catalogue import Written, write_figures
from gsto_viz.report.folder import shown
from gsto_viz.report.headline import headline_rows, rows_html
from gsto_viz.report.text import (
    ATLAS_NOTE,
    EQUALIZER_NOTE,
    RANDOM_NOTE,
    atlas_table,
    atlas_words,
    comparisons_text,
    difference_words,
    equalizer_table,
    equalizer_words,
    layout_caution,
    transfer_caution,
)
from gsto_viz.text_table import html_table
from gsto_viz.words import NULLS, listed

PAGE = "report.html"

METHOD = (
    "Every object (an annotated instance, or a connected area of one class) gets, from each "
    "branch, the mean percentile of the branch's activity inside it; activity is the channel "
    "average after each channel is divided by its standard deviation, because raw channel means "
    "are arbitrary.",
    "Coarseness q adds up, from branch to branch, how much stronger the coarser branch answers for "
    "the object than the finer one pooled to the same grid, so pooling alone gives exactly 0.",
    "SCI is the probability that of two objects of one image, at least an octave apart in size, "
    "the larger one has the smaller q: 0 is aware of scale, 0.5 is chance, 1 is reversed.",
    "Intervals are 95 % bootstrap intervals over independent images (blocks of frames in a film); "
    "null models break the link to size on purpose and show what the same number says without any "
    "awareness of scale.",
    "Differences are paired over images; each network is one training run, so they speak of these "
    "networks and not of a method.",
)
"""The method in five sentences."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff;
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-size: 13px; width: 100%; }
th, td { text-align: left; padding: .3rem .5rem; border-bottom: 1px solid #ddd;
  vertical-align: top; }
td.number { white-space: nowrap; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
.note { color: #555; font-size: 13px; }
.verdict { border-left: 4px solid #0b5c8a; padding: .4rem .8rem; background: #f3f7fb; }
figure { margin: 1rem 0 2rem; } figure img { max-width: 100%; height: auto; }
figcaption { font-size: 13px; color: #333; }
pre { overflow-x: auto; font-size: 12px; background: #f6f6f6; padding: .6rem; }
"""


COMPARED = ("", "checkpoint", "network", "mIoU here", "read at", "SHA-256")
SELECTIVITY = {
    "selectivity": "G, all gates with a direction",
    "selectivity_untied": "G without ties",
    "selectivity_same_class": "G of pairs of one class",
    "self_edges": "edges to themselves (2 A - 1)",
}
"""Estimates over all gates of a network, by key in the summary."""


def write_page(report: Report, *, quiet: bool = True) -> Path:
    """Draw the figures of an analysis and write its page beside them.

    Args:
        report: The analysis.
        quiet: No progress bar on stderr.

    Returns:
        ``DIR/report.html``.

    Raises:
        GstoVizError: As for ``write_figures``.
    """
    written = write_figures(report, quiet=quiet)
    target = report.folder / PAGE
    write_text(target, page(report, written))
    return target


def page(report: Report, written: Sequence[Written]) -> str:
    """Return the page as HTML text."""
    title = "Scale confusion: " + listed([*report.names.values()])
    parts = [
        f"<h1>{escape(title)}</h1>",
        _compared(report),
        "<h2>Headline</h2>",
        *(_verdict(report, key) for key in report.keys),
        *_difference(report),
        *(_index_table(report, key) for key in report.keys),
        _null_notes(report),
        "<h2>Figures</h2>",
        *(_figure(one) for one in written),
        *_details(report),
        *_atlas(report),
        "<h2>Method</h2>",
        "<ol>" + "".join(f"<li>{escape(one)}</li>" for one in METHOD) + "</ol>",
        "<h2>Versions</h2>",
        _versions(report),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _compared(report: Report) -> str:
    """Return what was compared on what."""
    rows = []
    for key in report.keys:
        model = report.model(key)
        scores, sha = model["scores"], model["sha256"]
        miou = "-" if scores is None else f"{scores['miou']:.1f} %"
        taps, short = ", ".join(model["taps"]), "-" if sha is None else sha[:12]
        rows.append((key, model["name"], model["network"], miou, taps, short))
    skipped = "".join(
        f"<li>{escape(one['image'])}: {escape(one['reason'])}</li>" for one in report.skipped
    )
    return (
        f"<p>{report.summary['images']} annotated images of <code>{escape(report.data)}</code>, "
        f"{report.independence}.</p>"
        f"<div class=scroll>{html_table(rows, '<<<><', heads=COMPARED)}</div>"
        + (f"<p>Skipped:</p><ul>{skipped}</ul>" if skipped else "")
    )


def _verdict(report: Report, key: str) -> str:
    verdict = report.verdict(key)
    conditions = "".join(
        f"<li>{escape(one.name)}: <b>{escape(one.state)}</b> ({escape(one.why)})</li>"
        for one in verdict.conditions
    )
    sci = shown(report.index(key, "sci"))
    cautions = layout_caution(report, key), transfer_caution(report, key)
    sentences = (verdict.words, *cautions, report.agreement(key))
    words = " ".join(filter(None, sentences))
    return (
        f"<div class=verdict><b>{escape(key)}</b>: SCI {escape(sci)}. {escape(words)}"
        f"<ul class=note>{conditions}</ul></div>"
    )


def _difference(report: Report) -> list[str]:
    found = report.comparisons()
    if not found:
        return []
    words = [difference_words(one, report) for one in found]
    return [
        *(f"<p class=verdict>{escape(one[0].upper() + one[1:])}</p>" for one in words),
        "<details><summary>All paired differences</summary>"
        f"<pre>{escape(comparisons_text(report, found))}</pre></details>",
    ]


def _index_table(report: Report, key: str) -> str:
    missing = report.model(key)["no_pairs"]
    share = report.model(key)["core_pair_share"]
    notes = [] if share is None else [f"{100 * share:.0f} % of the pairs compare two cores."]
    if missing:
        notes.append(f"{len(missing)} images have no pair an octave apart: {', '.join(missing)}.")
    return (
        f"<h3>{escape(key)} = {escape(report.names[key])}</h3><div class=scroll>"
        f"{rows_html(headline_rows(report, key, sizes=True))}</div>"
        f"<p class=note>{escape(' '.join(notes))}</p>"
    )


def _null_notes(report: Report) -> str:
    if not report.has_nulls:
        return (
            "<p class=note>Null models were not computed: without them a value below 0.5 is "
            "not evidence. gsto-viz analyze --nulls computes them.</p>"
        )
    notes = "; ".join(
        [f"{name}: {null.meaning}" for name, null in NULLS.items() if report.has_null(name)]
        + [
            f"{null} of {key} is missing: {why}"
            for key in report.keys
            for null, why in report.missing_nulls(key).items()
        ]
    )
    return f"<p class=note>{escape(notes)}. {escape(RANDOM_NOTE)}</p>"


def _figure(one: Written) -> str:
    if one.reason is not None:
        return f"<p class=note>{escape(one.kind.title)}: left out, {escape(one.reason)}.</p>"
    picture = next(file for file in one.files if file.suffix == ".png")
    content = base64.b64encode(picture.read_bytes()).decode("ascii")
    return (
        f'<figure><img alt="{escape(one.alt)}" src="data:image/png;base64,{content}">'
        f"<figcaption>{escape(one.kind.title)} (data: figures/{escape(one.kind.name)}.csv)"
        "</figcaption></figure>"
    )


def _details(report: Report) -> list[str]:
    """Return the gates' selectivity, where a model has gates."""
    parts = []
    for key in report.keys:
        gates = report.model(key)["gates"]
        if gates is None:
            continue
        rows = [(label, shown(gates[name])) for name, label in SELECTIVITY.items()]
        parts.append(
            f"<h2>Gates of {escape(key)}</h2><p class=note>G is +1 when transfers to coarser "
            "branches open on the larger of two objects and transfers to finer ones on the "
            f"smaller, 0 at chance, -1 reversed.</p>{html_table(rows)}"
        )
    return parts


def _atlas(report: Report) -> list[str]:
    """Return the atlas of every model, and its equalizers, as tables; nothing without it."""
    kinds = (
        ("Features", ATLAS_NOTE, atlas_table, atlas_words),
        ("Scale equalizers", EQUALIZER_NOTE, equalizer_table, equalizer_words),
    )
    parts = []
    for key in report.keys:
        for title, note, table, words in kinds:
            heads, *rows = table(report, key) or [[]]
            if not rows:
                continue
            parts.append(
                f"<h2>{title} of {escape(key)}</h2><p class=note>{escape(note)}</p>"
                f"<div class=scroll>{html_table(rows, heads=heads)}</div>"
                f"<p>{escape(words(report, key))}</p>"
            )
    return parts


def _versions(report: Report) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in report.manifest["versions"].items())
    return (
        f"<p class=note>{escape(versions)}. Seed {report.manifest['seed']}. Gains from the first "
        f"{report.manifest['calibration_images']} images by id of "
        f"<code>{escape(report.manifest['calibration'])}</code>. Sizes: "
        f"{escape(report.manifest['size_unit'])}.</p>"
    )
