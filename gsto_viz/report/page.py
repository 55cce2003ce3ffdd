"""``report.html``: one self-contained page of an analysis, to send to a colleague.

The answer comes first. Figures and a viewer of a few images are inside the page; nothing is
fetched, no script but the viewer's runs, and every name is shown as text.
"""

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path

from gsto_viz.files import write_text
from gsto_viz.report import Report
from gsto_viz.report.catalogue import Written, write_figures
from gsto_viz.report.folder import shown
from gsto_viz.report.headline import headline_rows, headline_value, rows_html
from gsto_viz.report.inline import inline_svg
from gsto_viz.report.linked import DATA, viewer_json, viewer_script, viewer_style
from gsto_viz.report.text import (
    ATLAS_NOTE,
    EQUALIZER_NOTE,
    LISTED,
    RANDOM_NOTE,
    answer_words,
    atlas_table,
    atlas_words,
    comparisons_text,
    equalizer_table,
    equalizer_words,
    layout_caution,
    transfer_caution,
)
from gsto_viz.stats import selectivity_words
from gsto_viz.text_table import html_table
from gsto_viz.words import NULLS, counted, first_few, listed

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

POLICY = (
    "default-src 'none'; script-src 'sha256-{}'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
"""What a browser lets the page do: its own script, its own styles, pictures inside it."""
ANSWER = "sci_dots"
"""The figure beside the answer."""
LONG = 300
"""Names of more characters are shown to scroll, or cut where they are one of many."""
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
    shown_images = viewer_json(report)
    script = viewer_script() if shown_images else ""
    first = [one for one in written if one.kind.name == ANSWER]
    others = [one for one in written if one not in first]
    viewed = [one for one in others if one.kind.viewed and shown_images]
    sections = {
        "Answer": [
            *(f"<p class='verdict answer'>{escape(one)}</p>" for one in answer_words(report)),
            *(_figure(one) for one in first),
        ],
        "Images": _viewer(shown_images, viewed),
        "Networks and indices": [
            _compared(report),
            *(_verdict(report, key) for key in report.keys),
            *_differences(report),
            *(_index_table(report, key) for key in report.keys),
            _null_notes(report),
        ],
        "Figures": [*(_figure(one) for one in others if one not in viewed)],
        "Gates": _gates(report),
        "Features of the branches": _atlas(report),
        "Method": ["<ol>" + "".join(f"<li>{escape(one)}</li>" for one in METHOD) + "</ol>"],
        "Versions": [_versions(report)],
    }
    parts = [f"<h1>{escape(title)}</h1>", _contents([*filter(sections.get, sections)])]
    for heading, content in sections.items():
        if content:
            parts += [f'<h2 id="{_anchor(heading)}">{heading}</h2>', *content]
    return _document(title, "\n".join(parts), shown_images, script)


def _document(title: str, body: str, data: str, script: str) -> str:
    """Return the whole document; the policy names its one script by what is in it."""
    digest = hashlib.sha256(script.encode()).digest()
    policy = POLICY.format(base64.b64encode(digest).decode("ascii"))
    own = resources.files("gsto_viz") / "report" / "page.css"
    style = own.read_text(encoding="utf-8") + (viewer_style() if script else "")
    scripts = ""
    if script:
        scripts = (
            f'<script type="application/json" id="{DATA}">{data}</script>\n'
            f'<script type="module">{script}</script>\n'
        )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"{body}\n{scripts}</body>\n</html>\n"
    )


def _anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")


def _contents(headings: Sequence[str]) -> str:
    items = "".join(f'<li><a href="#{_anchor(one)}">{one}</a></li>' for one in headings)
    return f'<nav aria-label="Contents"><ul>{items}</ul></nav>'


def _viewer(data: str, viewed: Sequence[Written]) -> list[str]:
    """Return where the viewer is mounted; nothing without images."""
    if not data:
        return []
    files = [f"figures/{one.kind.name}" for one in viewed if one.reason is None]
    also = f" On paper: {', '.join(files)}." if files else ""
    return [
        "<p>Hover to read every map at that place, click an object to hold it there; plus, minus "
        "and 0 zoom, arrow keys move.</p><noscript><p class=note>The viewer needs JavaScript, "
        "which this browser does not run.</p></noscript>",
        '<div id="linked"><div class="viewer"></div></div>',
        "<details hidden><summary>Worst pairs: far apart in size and far in the wrong order"
        '</summary><ol id="pairs"></ol></details>',
        f"<p class=note>Square: the larger object of a pair.{escape(also)}</p>",
    ]


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
        f"<li class=long>{escape(one['image'])}: {escape(one['reason'])}</li>"
        for one in report.skipped
    )
    return (
        f"<p>{counted(report.summary['images'], 'annotated image')} of "
        f"<code>{escape(report.data)}</code>, {report.independence}.</p>"
        f"<div class=scroll>{html_table(rows, '<<<><', heads=COMPARED)}</div>"
        + (f"<p>Skipped:</p><ul>{skipped}</ul>" if skipped else "")
    )


def _verdict(report: Report, key: str) -> str:
    verdict = report.verdict(key)
    conditions = "".join(
        f"<li>{escape(one.name)}: <b>{escape(one.state)}</b> ({escape(one.why)})</li>"
        for one in verdict.conditions
    )
    sci = headline_value(report.index(key, "sci"))
    cautions = layout_caution(report, key), transfer_caution(report, key)
    sentences = (verdict.words, *cautions, report.agreement(key))
    words = " ".join(filter(None, sentences))
    return (
        f"<div class=verdict><b>{escape(key)}</b>: SCI {escape(sci)}. {escape(words)}"
        f"<ul class=note>{conditions}</ul></div>"
    )


def _differences(report: Report) -> list[str]:
    if not (found := report.comparisons()):
        return []
    return [
        "<details><summary>All paired differences</summary>"
        f"<pre>{escape(comparisons_text(report, found))}</pre></details>"
    ]


def _index_table(report: Report, key: str) -> str:
    missing = report.model(key)["no_pairs"]
    share = report.model(key)["core_pair_share"]
    notes = [] if share is None else [f"{100 * share:.0f} % of the pairs compare two cores."]
    if missing:
        short = [one if len(one) <= LONG else f"{one[:LONG]}..." for one in missing]
        has = f"{counted(len(missing), 'image has', 'images have')} no pair an octave apart"
        notes.append(f"{has}: {first_few(short, LISTED)}.")
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
    by_suffix = {file.suffix: file for file in one.files}
    if (drawn := by_suffix.get(".svg")) is not None:
        picture = inline_svg(drawn.read_text(encoding="utf-8"), one.kind.name, one.alt)
        picture = f'<div class="scroll">{picture}</div>'
    else:
        content = base64.b64encode(by_suffix[".png"].read_bytes()).decode("ascii")
        picture = f'<img alt="{escape(one.alt)}" src="data:image/png;base64,{content}">'
    return (
        f"<figure>{picture}"
        f"<figcaption>{escape(one.kind.title)} (data: figures/{escape(one.kind.name)}.csv)"
        "</figcaption></figure>"
    )


def _gates(report: Report) -> list[str]:
    """Return the gates' selectivity, and in words what it says, where a model has gates."""
    parts = []
    for key in report.keys:
        gates = report.model(key)["gates"]
        if gates is None:
            continue
        found = gates["selectivity"]
        rows = [(label, shown(gates[name])) for name, label in SELECTIVITY.items()]
        parts.append(
            f"<h3>Gates of {escape(key)}</h3><p class=verdict>G = {escape(shown(found))}. "
            f"{escape(selectivity_words(found))}</p><p class=note>G is +1 when transfers to "
            "coarser branches open on the larger of two objects and transfers to finer ones on "
            f"the smaller, 0 at chance, -1 reversed.</p>{html_table(rows)}"
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
                f"<h3>{title} of {escape(key)}</h3><p class=note>{escape(note)}</p>"
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
