"""Numbers of the page "Sizes", against loops over images, pairs and pixels."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gsto_viz.data import CAMVID_CLASSES, load_data
from gsto_viz.data.scenes import render_scene
from gsto_viz.explorer.charts import limits_of
from gsto_viz.explorer.folders import Place, place_of
from gsto_viz.explorer.pictures import scene_picture
from gsto_viz.explorer.shown import cut_regions
from gsto_viz.explorer.texts import ends_of
from gsto_viz.explorer.values import sizes as size_report
from gsto_viz.explorer.values.images import has_region, image_nulls, inner_point, regions_of
from gsto_viz.explorer.values.probe import region_numbers
from gsto_viz.explorer.values.sizes import (
    PAIRED_COLUMNS,
    Choices,
    SizeSource,
    confusion,
    in_box,
    index_table,
    narrowed,
    of_report,
    of_shown,
    pair_words,
    paired_table,
    paired_words,
    random_draws,
    region_rows,
    responses,
    thinned,
    tuning_table,
    tuning_words,
    tunings,
    worst_rows,
    wrong_pairs,
)
from gsto_viz.explorer.values.tiles import DIMMED, INNER, OUTER, marked
from gsto_viz.regions import prepare_regions, region_arrays, region_table
from gsto_viz.report import Report, load_report
from gsto_viz.report.headline import headline_rows, null_text
from gsto_viz.report.text import write_comparisons
from gsto_viz.stats.nulls import toroidal_shift
from gsto_viz.words import INDICES, NULLS, index_label

CHOICES = (
    Choices(),
    Choices(gap=2.0),
    Choices(size="inscribed", gap=1.5),
    Choices(cls="Tree"),
    Choices(cls="Pole", size="inscribed"),
)


@pytest.fixture(scope="module")
def report(analysis) -> Report:
    """The same, read from its folder."""
    return load_report(analysis.folder)


@pytest.fixture(scope="module")
def source(report) -> SizeSource:
    return of_report(report, "made up")


def sci_by_loop(table: pd.DataFrame, choices: Choices) -> tuple[float | None, int]:
    """SCI of one network: every ordered pair of regions of every image, one after the other."""
    names = CAMVID_CLASSES.names
    means, count = [], 0
    for _, image in table.groupby("image"):
        wrong, pairs = 0.0, 0
        rows = [r for r in image.itertuples() if r.qualifies and not np.isnan(r.q)]
        rows = [r for r in rows if choices.cls in (None, names[r.class_id])]
        for x in rows:
            for y in rows:
                if choices.size == "area":
                    far = y.area_px >= 4.0**choices.gap * x.area_px
                else:
                    far = y.max_distance_px**2 >= 4.0**choices.gap * x.max_distance_px**2 - 1e-6
                if far:
                    pairs += 1
                    wrong += 1.0 if y.q < x.q - 1e-9 else 0.5 if abs(y.q - x.q) <= 1e-9 else 0.0
        if pairs:
            means.append(wrong / pairs)
            count += pairs
    return (float(np.mean(means)) if means else None), count


@pytest.mark.parametrize("choices", CHOICES)
def test_sci_under_the_filters_is_what_a_loop_counts(source, choices):
    found = confusion(source, choices)
    for letter, table in source.tables.items():
        value, pairs = sci_by_loop(table, choices)
        one = found.by_model[letter]
        assert one.n_pairs == pairs
        assert one.value == (None if value is None else pytest.approx(value, abs=1e-12))
        if one.low is None:
            assert one.reason
    assert found.comparison is not None
    assert any(found.by_model[letter].value is not None for letter in "AB")


def test_without_filters_sci_is_that_of_the_report(source, report):
    found = confusion(source, Choices())
    assert found.by_model == {letter: report.index(letter, "sci") for letter in "AB"}
    assert found.comparison is not None
    assert found.comparison.difference == report.compare().sci
    draws = random_draws(source, Choices()).sci
    for letter in "AB":
        assert draws[letter] == pytest.approx(report.nulls(letter)["sci"]["N3"].values)


def test_a_class_without_pairs_has_no_value_but_a_reason(source):
    found = confusion(source, Choices(cls="Sky", gap=4.0))
    assert found.by_model["A"].value is None
    assert found.by_model["A"].reason


def test_one_network_has_no_difference(source):
    alone = replace(source, tables={"A": source.tables["A"]})
    assert confusion(alone, Choices()).comparison is None
    assert list(region_rows(alone, Choices()).columns)[-1] == "q_A"


@pytest.mark.parametrize("choices", CHOICES[1:])
def test_narrowing_keeps_the_class_and_takes_the_size(source, choices):
    table = source.tables["B"]
    kept = narrowed(table, source.classes, choices)
    expected = {}
    for row in table.itertuples():
        octave = row.size_octave if choices.size == "area" else row.inscribed_octave
        if choices.cls in (None, CAMVID_CLASSES.names[row.class_id]) and not np.isnan(octave):
            expected[row.image, row.region] = octave
    found = {(r.image, r.region): r.size_octave for r in kept.itertuples()}
    assert found == expected


def test_responses_are_those_of_the_report(source, report):
    frames = responses(source, Choices())
    for letter in "AB":
        stored = report.frame(letter, "response_by_octave")
        columns = ["branch", "octave", "mean", "low", "high", "n_regions"]
        pd.testing.assert_frame_equal(
            frames[letter][columns], stored[columns].astype(frames[letter][columns].dtypes)
        )
    draws = random_draws(source, Choices()).responses
    assert [len(draws[letter]) for letter in "AB"] == [2, 2]
    assert draws["A"][0]["low"].isna().all()
    # Without --nulls there is no table of draws.
    assert random_draws(replace(source, folder=None), Choices()).sci == {}


def test_rows_hold_every_region_that_counts(source):
    rows = region_rows(source, Choices())
    expected = {}
    for letter, table in source.tables.items():
        for row in table.itertuples():
            if row.qualifies and not np.isnan(row.q):
                expected.setdefault((row.image, row.region), {})[letter] = row
    assert len(rows) == len(expected)
    for row in rows.itertuples():
        known = expected[row.image, row.region]
        for letter in "AB":
            q = getattr(row, f"q_{letter}")
            assert q == known[letter].q if letter in known else np.isnan(q)
        one = next(iter(known.values()))
        assert row.size_px == pytest.approx(np.sqrt(one.area_px))
    assert list(rows["class"]) == [
        CAMVID_CLASSES.names[next(iter(expected[k].values())).class_id]
        for k in zip(rows["image"], rows["region"], strict=True)
    ]
    (left, right), (low, high) = limits_of(rows, "AB")
    assert left <= rows["octave"].min() < rows["octave"].max() < right
    q = rows[["q_A", "q_B"]]
    assert low <= q.min(axis=None) <= q.max(axis=None) <= high


def test_thinning_is_even_and_always_the_same():
    rows = pd.DataFrame({"k": range(1000)})
    assert thinned(rows, 1000) is rows
    kept = thinned(rows, 300)["k"].tolist()
    assert kept == [k * 1000 // 300 for k in range(300)]
    assert len(set(kept)) == 300


def test_a_box_holds_what_lies_in_it(source):
    rows = region_rows(source, Choices())
    box = ((3.5, 5.0), (-0.2, 0.3))
    expected = [
        3.5 <= octave <= 5.0 and -0.2 <= q <= 0.3
        for octave, q in zip(rows["octave"], rows["q_B"], strict=True)
    ]
    assert in_box(rows, "B", box).tolist() == expected
    assert 0 < sum(expected) < len(rows)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([1, 2.5], (1.0, 2.5)),
        ((3, -1), (-1.0, 3.0)),
        ("x", None),
        ([1], None),
        ([1, None], None),
        ([True, False], None),
        ([float("nan"), 1.0], None),
        ([0.0, float("inf")], None),
        (None, None),
    ],
)
def test_ends_of_a_box_are_two_numbers_or_nothing(sent, expected):
    assert ends_of(sent) == expected


def greedy_by_loop(table: pd.DataFrame, gap: float) -> list[tuple[int, int]]:
    """Wrong pairs, gap times error first, none with a region that was used before."""
    rows = [r for r in table.itertuples() if r.qualifies and not np.isnan(r.q)]
    pairs = [
        (-(y.size_octave - x.size_octave) * (x.q - y.q), y.region, x.region)
        for x in rows
        for y in rows
        if y.area_px >= 4.0**gap * x.area_px and y.q < x.q - 1e-9
    ]
    used: set[int] = set()
    found = []
    for _, large, small in sorted(pairs):
        if not used & {large, small}:
            used |= {large, small}
            found.append((small, large))
    return found


def test_wrong_pairs_of_an_image_are_ranked_by_gap_times_error(made_up):
    shown = made_up(height=108, width=196)
    one = of_shown(shown, region_numbers(shown, cut_regions(shown)))
    pairs = wrong_pairs(one, Choices(), count=5)
    for letter in "AB":
        found = [(p.small_region, p.large_region) for p in pairs if p.model == letter]
        assert found == greedy_by_loop(one.tables[letter], 1.0)[:5]
        assert found
    assert all(p.gap_octaves >= 1.0 and p.q_small > p.q_large for p in pairs)
    assert wrong_pairs(one, Choices(gap=4.0)) == []


@pytest.mark.parametrize("size", ["area", "inscribed"])
def test_both_regions_of_a_pair_are_named_with_their_size(made_up, size):
    shown = made_up(height=108, width=196)
    cut = cut_regions(shown)
    one = of_shown(shown, region_numbers(shown, cut))
    choices = Choices(size=size)
    pair = wrong_pairs(one, choices)[0]
    expected = []
    for which, number, q in (
        ("Smaller", pair.small_region, pair.q_small),
        ("Larger", pair.large_region, pair.q_large),
    ):
        mask = cut.regions.ids == number
        (class_id,) = set(shown.sample.labels[mask].tolist())
        # The inscribed disc has twice the largest distance to the outside as its diameter.
        disc = 2 * cut.regions.distance_px[mask].max()
        side = mask.sum() ** 0.5 if size == "area" else disc
        name = CAMVID_CLASSES.names[class_id]
        expected.append(f"{which}: {name}, {side:.0f} px, q {q:+.3f}.")
    assert pair_words(one, choices, pair) == " ".join(expected)
    unknown = replace(pair, small_region=10_000)
    assert pair_words(one, choices, unknown).startswith("Smaller: region 10000, q ")


def test_an_image_has_the_table_of_the_library(made_up):
    shown = made_up()
    one = of_shown(shown, region_numbers(shown, cut_regions(shown)))
    expected = region_table(
        shown.sample.labels,
        shown.inspections["B"].activity,
        instances=shown.sample.instances,
        image=shown.sample.id,
    )
    pd.testing.assert_frame_equal(one.tables["B"], expected[list(one.tables["B"].columns)])
    assert one.names == {"A": "A", "B": "B"}
    found = confusion(one, Choices())
    assert found.by_model["A"].value is not None
    assert found.by_model["A"].low is None
    assert "1 independent image," in str(found.by_model["A"].reason)
    kept = expected[expected["qualifies"]]["class_id"]
    assert one.class_names == tuple(CAMVID_CLASSES.names[k] for k in sorted(set(kept)))


def test_null_models_of_an_image_are_what_a_loop_counts(made_up):
    shown = made_up(height=108, width=196)
    cut = cut_regions(shown)
    partner = replace(shown.sample, labels=np.roll(shown.sample.labels, (20, 50), (0, 1)))
    table = image_nulls(shown, cut, partner, Choices())
    found = table.set_index(["model", "source"])
    least = 32
    for letter in "AB":
        maps = shown.inspections[letter].activity
        own, swapped = (
            sci_by_loop(
                region_table(one.labels, maps, instances=one.instances, image="made-up"), Choices()
            )[0]
            for one in (shown.sample, partner)
        )
        assert found["value"][letter, "model"] == pytest.approx(own)
        assert found["value"][letter, "N2"] == pytest.approx(swapped)
        row = found.loc[(letter, "N1")]
        assert row["low"] < row["value"] < row["high"]
        draws = []
        for draw in range(10):
            shift = toroidal_shift((108, 196), least, image="made-up", seed=0, draw=draw)
            labels = np.roll(shown.sample.labels, shift, (0, 1))
            ids = np.roll(cut.regions.ids, shift, (0, 1))
            pieces = prepare_regions(
                labels,
                (4, 8, 16, 32),
                regions=replace(
                    cut.regions,
                    ids=ids,
                    distance_px=np.roll(cut.regions.distance_px, shift, (0, 1)),
                ),
            )
            one = pd.DataFrame(region_arrays(pieces, maps)).assign(image="made-up")
            draws.append(sci_by_loop(one, Choices())[0])
        assert row["value"] == pytest.approx(np.mean(draws))
        assert (row["low"], row["high"]) == pytest.approx((min(draws), max(draws)))
    alone = image_nulls(shown, cut, None, Choices())
    assert set(alone["source"]) == {"model", "N1"}


# the report's own numbers


def test_index_table_says_what_the_report_says(report):
    table = index_table(report, "B")
    labels = [one.label for one in INDICES.values()]
    assert list(table["index"]) == [*labels, "SCI, layout out"]
    for name, row in zip(INDICES, table.itertuples(), strict=False):
        one = report.index("B", name)
        assert (row.value, row.low, row.images) == (one.value, one.low, one.n_images)
    random = report.nulls("B")["sci"]["N3"].values
    assert table["N3"].iloc[0] == f"{min(random):.2f} to {max(random):.2f}"
    assert table["N5"].iloc[0] == "0.50"
    # Depths are not permuted, so this index has no such null.
    assert table.set_index("index").loc["SCI_edge", "N4"] == ""
    assert null_text("N1", None) == ""


def test_only_null_models_that_were_computed_are_named(report, monkeypatch):
    assert size_report.null_names(report, "AB") == list(NULLS)

    def some(one, letter):
        rows = [replace(row, nulls=dict(row.nulls)) for row in headline_rows(one, letter)]
        for row in rows:
            row.nulls.pop("N3", None)
        return rows

    monkeypatch.setattr(size_report, "headline_rows", some)
    assert size_report.null_names(report, "AB") == [name for name in NULLS if name != "N3"]
    assert "N3" not in index_table(report, "A").columns


def copied(report: Report, folder: Path) -> Report:
    shutil.copytree(report.folder, folder)
    return load_report(folder)


def test_differences_are_taken_from_the_folder_or_computed(report, tmp_path, monkeypatch):
    own = copied(report, tmp_path / "own")
    computed = paired_table(own, "A", "B")
    write_comparisons(own, [report.compare()])
    path = own.folder / "comparison.json"
    stored = json.loads(path.read_text())

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("computed")

    monkeypatch.setattr(Report, "differences", refuse)
    pd.testing.assert_frame_equal(paired_table(own, "A", "B"), computed, check_dtype=False)
    # Of other weights, or damaged: computed.
    for content in (
        json.dumps(stored | {"b": stored["b"] | {"sha256": "0" * 64}}),
        json.dumps(stored | {"indices": [{"index": "sci"}]}),
        json.dumps([1]),
        "{",
    ):
        path.write_text(content)
        with pytest.raises(RuntimeError, match="computed"):
            paired_table(own, "A", "B")
    path.write_text(json.dumps(stored))
    os.utime(path, ns=(0, 0))
    with pytest.raises(RuntimeError, match="computed"):
        paired_table(own, "A", "B")


def test_worst_pairs_are_those_that_were_kept(report):
    rows = worst_rows(report, ("A", "B"))
    kept = [pair for example in report.examples for pair in example.pairs]
    assert len(rows) == len(kept) > 0
    order = [(p.model, -p.gap_octaves * (p.q_small - p.q_large)) for p in (r.pair for r in rows)]
    assert order == sorted(order)
    for row in rows:
        assert (row.regions == row.pair.small_region).sum() * 4 <= (
            row.regions == row.pair.large_region
        ).sum()
    assert all(row.pair.model == "A" for row in worst_rows(report, ("A",)))


def test_tuning_table_has_a_row_for_each_branch_span_and_slope(source):
    found = tunings(source, Choices())
    table = tuning_table(found)
    assert len(table) == 2 * (4 + 2)
    # Twelve images are fewer than the 30 that an octave needs.
    assert table["value"].isna().all()
    assert table["reason"].str.contains("size octaves").all()
    sentence = tuning_words(table)
    assert sentence is not None
    assert sentence.startswith("No centre, span or slope: ")
    assert tuning_words(table.assign(value=[0.5, *table["value"][1:]])) is None


def test_index_names():
    assert (index_label("sci"), index_label("sci_c")) == ("SCI", "SCI_C")
    assert index_label("stp") == "STP, twice as large"
    assert index_label("sci_gap_1_2") == "SCI, 1 to 2 octaves"
    assert index_label("sci_gap_3_up") == "SCI, 3 octaves or more"


# places and pictures


def test_images_of_an_analysis_are_found_again():
    scenes = "scenes:count=20,seed=0,size=256x512"
    assert place_of("scene-1000000-00007", scenes, False, None) == Place("scene", scene=7)
    assert Place("scene", scene=7).query() == {"source": "scene", "scene": "7"}
    data = load_data("scenes:count=3,seed=5,size=64x96")
    found = place_of(data.ids[1], data.name, False, data)
    assert found == Place("data", image=data.ids[1])
    assert found.query() == {"source": "data", "image": data.ids[1]}
    for image, spec, resized, what in (
        ("scene-1000000-00007", scenes, True, "--size"),
        ("scene-1000001-00007", "scenes:count=20,seed=1,size=256x512", False, "seed 0"),
        ("scene-1000000-00007", "scenes:count=20,seed=0,size=96x160", False, "256x512"),
        ("scene-decorrelated-1000000-00007", f"{scenes},decorrelated=1", False, "ordinary scenes"),
        ("scene-1000000-12000", "scenes:count=20000,seed=0,size=256x512", False, "9999"),
        ("Seq05VD_f00000", "camvid:PATH:eval", False, "--data camvid:PATH"),
    ):
        why = place_of(image, spec, resized, None)
        assert isinstance(why, str)
        assert what in why


def test_a_region_is_found_by_number_and_area():
    picture = scene_picture(3)
    regions = regions_of(picture, (4, 8, 16, 32))
    assert regions is not None
    assert regions_of(replace(picture, sample=replace(picture.sample, labels=None)), (4,)) is None
    scene = render_scene(1_000_000, 3, 256, 512)
    table = region_table(
        scene.labels, [np.ones((64, 128)), np.ones((32, 64))], (4, 8), scene.instances
    )
    for row in table.itertuples():
        assert has_region(regions, row.region, row.area_px)
        point = inner_point(regions, row.region)
        assert regions.regions.ids[point.y, point.x] == row.region
        inside = regions.regions.ids == row.region
        assert (
            regions.regions.distance_px[inside].max()
            == (regions.regions.distance_px[point.y, point.x])
        )
    assert not has_region(regions, 1, int(table["area_px"].iloc[0]) + 1)
    assert not has_region(regions, 0, 5)
    assert not has_region(regions, len(table) + 1, 5)


def test_chosen_regions_stand_out():
    rng = np.random.default_rng(0)
    image = rng.integers(1, 255, (6, 7, 3), dtype=np.uint8)
    ids = rng.integers(0, 4, (6, 7))
    assert np.array_equal(marked(image, ids, ()), image.repeat(2, 0).repeat(2, 1))
    found = marked(image, ids, {1, 3})
    shown = np.where(np.isin(ids, [1, 3]), ids, 0).repeat(2, 0).repeat(2, 1)
    for y in range(12):
        for x in range(14):
            around = [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
            edge = any(
                0 <= v < 12 and 0 <= u < 14 and shown[v, u] != shown[y, x] for v, u in around
            )
            pixel = image[y // 2, x // 2]
            if edge:
                expected = INNER if shown[y, x] else OUTER
            else:
                expected = pixel if shown[y, x] else np.round(DIMMED * pixel)
            assert tuple(found[y, x]) == tuple(expected)


def test_differences_are_read_in_words():
    rows = [
        ("sci", "confirmatory", 0.5, 0.3, -0.2, -0.3, -0.1, 1e-4, 4e-4, False, 40, 99, None),
        ("a_last", "confirmatory", 0.5, 0.5, 0.0, -0.01, 0.01, 2e-4, 6e-4, True, 40, 99, None),
        ("c_fine", "exploratory", *[np.nan] * 7, None, 0, 0, "few"),
    ]
    found = paired_words(pd.DataFrame(rows, columns=list(PAIRED_COLUMNS)), "A", "B")
    assert list(found) == [
        *("index", "family", "A (0 to 1)", "B (0 to 1)", "B - A", "95 % from", "95 % to", "p"),
        *("p, adjusted", "equivalent (within 0.05)", "images", "pairs", "why a number is missing"),
    ]
    assert found["p"].tolist() == ["<= 0.0001", "0.0002", "-"]
    # What is four times a bound is a bound; three times a number is a number.
    assert found["p, adjusted"].tolist() == ["<= 0.0004", "0.0006", "-"]
    assert found["equivalent (within 0.05)"].tolist() == ["no", "yes", "-"]
    assert found["why a number is missing"].tolist() == ["", "", "few"]
    whole = paired_words(pd.DataFrame(rows[:2], columns=list(PAIRED_COLUMNS)), "A", "B")
    assert list(whole) == list(found)[:-1]
