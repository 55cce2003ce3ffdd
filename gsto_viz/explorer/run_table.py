"""The table of training runs."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from gsto_viz.explorer.training_log import SCORES, TrainingLog, scored_by


def run_table(logs: Mapping[str, TrainingLog]) -> pd.DataFrame:
    """Lay runs out, one row each.

    Returns:
        ``run``, ``step``, ``epoch`` (so far), ``best mIoU (%)``, ``at epoch``, ``last mIoU (%)``,
        ``last loss``, ``images/s`` (mean so far), ``hours``; empty where not logged yet. Networks
        for pose have AP in place of mIoU.
    """
    rows, measures = [], scored_by(logs)
    for run, log in logs.items():
        train, val = log.train, log.val
        rows.append(
            {
                "run": run,
                "step": _greatest(train["step"], val["step"]),
                "epoch": _greatest(train["epoch"], val["epoch"]),
                **_scores(val, measures),
                "last loss": np.nan if train.empty else train["loss"].iloc[-1],
                "images/s": np.nan if train.empty else train["images_per_s"].iloc[-1],
                "hours": train["seconds"].max() / 3600,
            }
        )
    whole = dict.fromkeys(("step", "epoch", "at epoch"), "Int64")
    return pd.DataFrame(rows).astype(whole)


def _scores(val: pd.DataFrame, measures: Sequence[str]) -> dict[str, float]:
    """Return the best and the last of each score, and the epoch of the best one."""
    best, last, epoch = {}, {}, np.nan
    for name in measures:
        title = SCORES[name]
        known = val.dropna(subset=[name]) if name in val else val.iloc[:0]
        best[f"best {title} (%)"] = last[f"last {title} (%)"] = np.nan
        if not known.empty:
            top = known.iloc[int(known[name].to_numpy().argmax())]
            best[f"best {title} (%)"], epoch = top[name], np.floor(top["epoch"])
            last[f"last {title} (%)"] = known[name].iloc[-1]
    return {**best, "at epoch": epoch, **last}


def _greatest(*columns: pd.Series) -> float:
    values = pd.concat([column.astype("float64") for column in columns])
    return float(np.floor(values.max())) if values.notna().any() else np.nan
