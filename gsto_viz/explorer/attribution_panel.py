"""What stands under the viewer of the page "Attribution": charts, sums, tables, downloads."""

from collections.abc import Mapping

import altair as alt
import pandas as pd
import streamlit as st

from gsto_viz.attribution.shapley import BranchShapley
from gsto_viz.explorer.charts import model_color, model_dash, model_shape
from gsto_viz.explorer.evidence import (
    QUANTITIES,
    Question,
    branch_rows,
    branch_table,
    sum_check,
)
from gsto_viz.explorer.gradient_runs import Run
from gsto_viz.explorer.safe_text import plain
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.words import METHOD_LINKS

FEW_STEPS = 0.05
"""A convergence delta beyond this share of the score asks for more steps."""


def draw_answers(shown: Shown, question: Question, answers: Mapping[str, BranchShapley]) -> None:
    """Draw shares and Shapley values of A and B, and what they add up to."""
    strides = {letter: shown.inspections[letter].strides for letter in LETTERS}
    st.markdown(f"**Explained: the {plain(question.words)}**")
    rows = branch_rows(answers, strides)
    for column, quantity in zip(st.columns(2, gap="medium"), QUANTITIES, strict=True):
        with column:
            _draw_chart(rows, quantity, question.unit)
    for letter in LETTERS:
        st.markdown(plain(sum_check(letter, question, answers[letter])))
    table = branch_table(answers, strides, question.unit)
    numbers = [name for name in table.columns if name not in ("network", "quantity")]
    st.dataframe(
        table,
        hide_index=True,
        width="stretch",
        alt="Shapley values, shares and drops of every branch of A and B, and their sums",
        column_config={n: st.column_config.NumberColumn(format="%.4f") for n in numbers},
    )


def _draw_chart(rows: pd.DataFrame, quantity: str, unit: str) -> None:
    title = QUANTITIES[quantity].format(unit=unit)
    table = rows[["model", "stride", quantity]].dropna().round({quantity: 5})
    zero = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(color="#888888").encode(y="zero:Q")
    line = (
        alt.Chart(table)
        .mark_line(point={"size": 70, "filled": True})
        .encode(
            x=alt.X("stride:O", title="stride of the branch (px)", axis=alt.Axis(labelAngle=0)),
            y=alt.Y(f"{quantity}:Q", title=title),
            color=model_color(),
            shape=model_shape(),
            strokeDash=model_dash(),
        )
    )
    st.altair_chart(
        (zero + line).properties(height=220), width="stretch", alt=f"{title} by stride, A and B"
    )


def draw_runs(shown: Shown, method: str, runs: Mapping[str, Run]) -> None:
    """Draw the totals of Captum's maps and, for integrated gradients, how well they converged."""
    if not runs:
        return
    rows = []
    for letter, run in runs.items():
        cells = zip(shown.inspections[letter].strides, run.totals, strict=True)
        rows.append({"network": letter} | {f"/{s}": float(v) for s, v in cells})
    table = pd.DataFrame(rows)
    st.markdown(f"**Sums of the maps of {METHOD_LINKS[method].key.replace('_', ' ')}**")
    st.dataframe(
        table,
        hide_index=True,
        width="stretch",
        alt="Sum of each branch's map, A and B",
        column_config={n: st.column_config.NumberColumn(format="%.4g") for n in table.columns[1:]},
    )
    for letter, run in runs.items():
        st.markdown(plain(convergence(letter, run, "" if shown.pose else " logits")))


def convergence(letter: str, run: Run, unit: str = " logits") -> str:
    """Describe how long a run took, and how far integrated gradients are from adding up."""
    took = f"{letter}: took {run.seconds:.1f} s."
    if run.delta is None:
        return took
    share = abs(run.delta) / max(abs(run.score), 1e-9)
    advice = " More steps make it smaller." if share > FEW_STEPS else ""
    return (
        f"{took} Convergence delta {run.delta:+.3f}{unit}: what the maps add up to, less the "
        f"change of the score ({run.score:.3f}) when the branches go to those of an image of the "
        f"mean colour.{advice}"
    )
