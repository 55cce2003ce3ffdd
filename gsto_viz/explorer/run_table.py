"""The table of training runs."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from gsto_viz.explorer.training_log import TrainingLog


def run_table(logs: Mapping[str, TrainingLog]) -> pd.DataFrame:
    """Lay runs out, one row each.

    Returns:
        ``run``, ``step``, ``epoch`` (so far), ``best mIoU (%)``, ``at epoch``, ``last mIoU (%)``,
        ``last loss``, ``images/s`` (mean so far), ``hours``; empty where not logged yet.
    """
    rows = []
    for run, log in logs.items():
        train, val = log.train, log.val
        best = None if val.empty else val.iloc[int(val["miou"].to_numpy().argmax())]
        rows.append(
            {
                "run": run,
                "step": _greatest(train["step"], val["step"]),
                "epoch": _greatest(train["epoch"], val["epoch"]),
                "best mIoU (%)": np.nan if best is None else best["miou"],
                "at epoch": np.nan if best is None else np.floor(best["epoch"]),
                "last mIoU (%)": np.nan if val.empty else val["miou"].iloc[-1],
                "last loss": np.nan if train.empty else train["loss"].iloc[-1],
                "images/s": np.nan if train.empty else train["images_per_s"].iloc[-1],
                "hours": train["seconds"].max() / 3600,
            }
        )
    whole = dict.fromkeys(("step", "epoch", "at epoch"), "Int64")
    return pd.DataFrame(rows).astype(whole)


def _greatest(*columns: pd.Series) -> float:
    values = pd.concat([column.astype("float64") for column in columns])
    return float(np.floor(values.max())) if values.notna().any() else np.nan
