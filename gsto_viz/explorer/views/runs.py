"""The page "Runs": training curves, and the checkpoints that may become A and B."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import altair as alt
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer import cached
from gsto_viz.explorer import charts as run_charts
from gsto_viz.explorer.checkpoints import Choice, Facts, card_or_reason, checkpoint_table, facts_of
from gsto_viz.explorer.exports.runs import run_exports
from gsto_viz.explorer.folders import RunFolder
from gsto_viz.explorer.page_frame import Page, draw_exports, open_page
from gsto_viz.explorer.shown import LETTERS, check_classes
from gsto_viz.explorer.texts import plain
from gsto_viz.explorer.values.runs import SCORES, TrainingLog, read_log, run_table, scored_by
from gsto_viz.explorer.view_state import MAX_OTHERS
from gsto_viz.files import read_small_text
from gsto_viz.models import shipped_checkpoints
from gsto_viz.words import INDICES

NO_RUNS = (
    "No training runs to show. `gsto-viz train RECIPE --data SPEC --out DIR/NAME` makes one; open "
    "it with `gsto-viz app --runs DIR`."
)
NO_SCI = (
    "Without SCI in the log: {runs}. `gsto-viz train ... --set sci_every=5` measures it every five "
    "epochs."
)
COMPARE, CHECKPOINT = "runs-compare", "runs-checkpoint"
"""Keys of the runs to compare with, and of the checkpoint whose card is shown."""
ENDS = ("best", "last")
"""Which scores of a run its table has."""


def draw_page() -> None:
    """Draw the whole page."""
    page = open_page("runs", "How were the networks trained?")
    if page is None:
        return
    _draw_training(page)
    _draw_checkpoints(page)
    page.write_link()


def _draw_training(page: Page) -> None:
    """Draw the curves of one run or several."""
    st.header("Training", anchor=False)
    folders = {run.key: run for run in page.runs if run.kind == "training"}
    if not folders:
        st.markdown(NO_RUNS)
        return
    keys = list(folders)
    left, right, again = st.columns([2, 3, 1], gap="medium", vertical_alignment="bottom")
    first = page.bound("run", lambda key: left.selectbox("Run", keys, key=key), keys)
    more = _choose_others(page, [key for key in keys if key != first], right)
    again.button("Read again", icon=":material/refresh:", width="stretch")
    logs = _read([folders[key] for key in (first, *more)])
    if not logs:
        return
    st.dataframe(
        run_table(logs),
        hide_index=True,
        width="stretch",
        column_config={
            name: st.column_config.NumberColumn(format="%.2f")
            for name in ("hours", *(f"{n} {t} (%)" for n in ENDS for t in SCORES.values()))
        }
        | {n: st.column_config.NumberColumn(format="%.4f") for n in ("last loss", "last SCI")}
        | {"images/s": st.column_config.NumberColumn(format="%.1f")},
        alt="Steps, epochs, scores, speed and time of the chosen runs",
    )
    _draw_curves(logs)
    runs = [folders[key] for key in (first, *more)]
    draw_exports(partial(run_exports, logs, runs, page.state))
    _draw_settings(folders[first])


def _choose_others(page: Page, others: Sequence[str], place: DeltaGenerator) -> list[str]:
    """Draw the choice of runs to compare with; return their keys."""
    if page.fresh or COMPARE not in st.session_state:
        st.session_state[COMPARE] = (page.state.others or "").split(",")
    st.session_state[COMPARE] = [key for key in st.session_state[COMPARE] if key in others]
    chosen: list[str] = place.multiselect(
        "Compare with", others, key=COMPARE, max_selections=MAX_OTHERS
    )
    # A key with a comma cannot be told from two keys in a link: it is left out there.
    page.note(others=",".join(key for key in chosen if "," not in key) or None)
    return chosen


def _read(runs: Sequence[RunFolder]) -> dict[str, TrainingLog]:
    """Read the logs of runs; say what is wrong with each."""
    logs = {}
    for run in runs:
        try:
            logs[run.key] = _log(run.path / "log.jsonl")
        except GstoVizError as error:
            st.error(plain(str(error)))
            continue
        for sentence in notes_of(logs[run.key]):
            st.warning(f"{plain(run.key)}: {sentence}")
    return logs


def notes_of(log: TrainingLog) -> list[str]:
    """Warn of the parts of a log that were not read."""
    notes = []
    if log.left_out_bytes:
        notes.append(
            f"the log is long; its first {log.left_out_bytes / 2**20:.0f} MiB are left out."
        )
    if log.damaged:
        lines = "1 line is" if log.damaged == 1 else f"{log.damaged} lines are"
        notes.append(f"{lines} damaged and left out.")
    if log.unfinished:
        notes.append("the last line is still being written and is left out.")
    return notes


def _log(path: Path) -> TrainingLog:
    try:
        status = path.stat()
    except OSError as error:
        raise GstoVizError(f"cannot read {path}: {error.strerror}; check it") from error
    return _log_of(path, (status.st_mtime_ns, status.st_size))


@cached.kept(16)
def _log_of(path: Path, stamp: tuple[int, int]) -> TrainingLog:
    return read_log(path)


def _draw_curves(logs: Mapping[str, TrainingLog]) -> None:
    left, right = st.columns(2, gap="medium")
    with left:
        for score in scored_by(logs):
            title = f"{SCORES[score]} on the validation images by epoch"
            _draw_chart(run_charts.scores(logs, score), title, "No evaluation yet.")
    with right:
        title = f"SCI on the validation images by epoch ({INDICES['sci'].axis})"
        _draw_chart(run_charts.confusion(logs), title, None)
        if silent := [run for run, log in logs.items() if log.sci.empty]:
            st.markdown(NO_SCI.format(runs=plain(", ".join(silent))))
    left, right = st.columns(2, gap="medium")
    with left:
        _draw_chart(run_charts.curve(logs, "loss", "loss"), "Loss by step", "No step logged yet.")
    with right:
        chart = run_charts.curve(logs, "lr", "learning rate")
        _draw_chart(chart, "Learning rate by step", "No step logged yet.")
    st.markdown(
        "mIoU: percent, one confusion matrix over the validation images; AP, of networks for pose: "
        "percent, of key points, COCO's. SCI: of the first validation images, their own gains, no "
        "null models. Loss: mean over the steps since the record before, with the losses of "
        "supervised gates. Curves of more than 2000 "
        "points show the lowest and the highest of every stretch."
    )


def _draw_chart(
    chart: alt.Chart | run_charts.Layers | None, alt_text: str, nothing: str | None
) -> None:
    if chart is None:
        if nothing is not None:
            st.markdown(nothing)
        return
    st.markdown(f"**{alt_text}**")
    st.altair_chart(chart, width="stretch", alt=alt_text)


def _draw_settings(run: RunFolder) -> None:
    """Draw what a run was started with."""
    path = run.path / "config.yaml"
    if not path.is_file():
        return
    with st.expander(f"Settings of {plain(run.key)}"):
        try:
            st.code(read_small_text(path, "the settings"), language="yaml")
        except GstoVizError as error:
            st.error(plain(str(error)))


def _draw_checkpoints(page: Page) -> None:
    """Draw the table of checkpoints, and what may be done with one."""
    st.header("Checkpoints", anchor=False)
    facts = [_facts(choice) for choice in page.choices]
    state = page.state
    table = checkpoint_table(facts, cached.fingerprint, state.a, state.b)
    st.dataframe(
        table,
        hide_index=True,
        width="stretch",
        column_config={
            name: st.column_config.NumberColumn(format="%.2f")
            for name in ("mIoU (%)", "AP (%)", "size (MB)")
        },
        alt="Checkpoints that may be chosen: network, training, score, size, licence",
    )
    st.markdown(
        "mIoU and AP: as measured when the checkpoint was written, in the precision that it was "
        "trained in; `gsto-viz evaluate` in full precision can differ in the second decimal."
    )
    _say_what_is_not_offered(page)
    by_key = {one.choice.key: one for one in facts}
    if st.session_state.get(CHECKPOINT) not in by_key:
        st.session_state[CHECKPOINT] = next(iter(by_key))
    left, *buttons = st.columns([4, 1, 1], gap="medium", vertical_alignment="bottom")
    key = left.selectbox("Checkpoint", list(by_key), key=CHECKPOINT)
    for button, letter in zip(buttons, LETTERS, strict=True):
        button.button(
            f"Use as {letter}",
            key=f"use-{letter}",
            disabled=getattr(state, letter.lower()) == key,
            on_click=_use,
            args=(page, letter.lower(), key),
            width="stretch",
        )
    a, b = page.choice("A"), page.choice("B")
    st.markdown(f"All pages show A: {plain(a.key)}, B: {plain(b.key)}.")
    try:
        check_classes(a, b)
    except GstoVizError as error:
        st.warning(plain(str(error)))
    _draw_card(by_key[key])


def _use(page: Page, field: str, key: str) -> None:
    """Make a checkpoint A or B, on this page and on all others."""
    page.note(**{field: key})
    st.session_state[field] = key


@cached.kept(400)
def _facts(choice: Choice) -> Facts:
    return facts_of(choice)


def _say_what_is_not_offered(page: Page) -> None:
    """Explain how checkpoints of the runs get into the table, when they are not in it."""
    offered = {choice.path.resolve() for choice in page.choices}
    missing = [
        run.key
        for run in page.runs
        if (best := run.path / "best.safetensors").is_file() and best.resolve() not in offered
    ]
    if missing:
        st.markdown(
            f"Not in the table: checkpoints of {plain(', '.join(missing))}. Start the explorer "
            "with `--checkpoints` and the folder of the runs to use them."
        )


def _draw_card(facts: Facts) -> None:
    """Draw the card of a checkpoint, and the recipe that its header holds."""
    choice = facts.choice
    if choice.notice:
        st.info(plain(choice.notice), icon=":material/gavel:")
    card, problem = card_or_reason(choice)
    with st.expander("Show card"):
        if problem is not None:
            st.error(plain(problem))
        elif card is None:
            st.markdown("No card (a `.md` file of the same name) lies beside this checkpoint.")
        elif choice.path == shipped_checkpoints().get(choice.key):
            st.markdown(card)
        else:
            # A card of a stranger is shown as it is written.
            st.code(card, language="markdown", wrap_lines=True)
        st.text(f"SHA-256 {cached.fingerprint(choice)}")
    if facts.settings:
        with st.expander("Show recipe"):
            rows = [(str(name), str(value)) for name, value in facts.settings.items()]
            st.dataframe(
                pd.DataFrame(rows, columns=["setting", "value"]),
                hide_index=True,
                width="stretch",
                alt=f"The recipe that {choice.key} was trained with",
            )
