"""What is said about time and memory before a method starts."""

import numpy as np
import pytest
import torch
from torch import nn

from gsto_viz.attribution.gradients import (
    Explainer,
    free_bytes,
    in_words,
)
from gsto_viz.attribution.targets import Entries
from gsto_viz.words import METHODS, methods_at


@pytest.mark.parametrize("method", methods_at("taps"))
def test_the_cost_is_at_least_what_goes_through_the_network(method):
    """Count the images that really go through the first layer."""

    class Counted(nn.Module):
        seen = 0

        def __init__(self) -> None:
            super().__init__()
            self.stem, self.a, self.b = (nn.Conv2d(3, 3, 1) for _ in range(3))

        def forward(self, x):
            Counted.seen += x.shape[0]
            x = self.stem(x)
            return self.a(x) + self.b(x).relu()

    one = np.zeros(1, dtype=np.int64)
    entries = Entries(one, one, one, np.ones(1), 1, (8, 8), margin=False)
    explainer = Explainer(Counted(), torch.rand(1, 3, 8, 8), [entries])
    Counted.seen = 0
    explainer.run(method, ["a", "b"], steps=6)
    expected = METHODS[method].passes(2, 6)
    assert Counted.seen <= expected + 2
    assert expected <= 2.5 * Counted.seen


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "under a second"),
        (3.14159, "about 3.1 s"),
        (61.4, "about 61 s"),
        (99.0, "about 1.6 min"),
        (3600.0, "about 60 min"),
    ],
)
def test_times_are_said_no_more_exactly_than_known(seconds, words):
    assert in_words(seconds) == words


def test_free_memory_is_read_from_the_system(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 100 kB\nMemFree: 7 kB\nMemAvailable:   42 kB\n")
    assert free_bytes(meminfo) == 42 * 1024
    meminfo.write_text("MemTotal: 100 kB\n")
    assert free_bytes(meminfo) is None
    assert free_bytes(tmp_path / "absent") is None
