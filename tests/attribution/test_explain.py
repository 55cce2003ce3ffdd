"""One target explained by every method, and the command that writes it."""

import argparse
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from gsto_viz.attribution import Target, constant, head_pass, intervene, resolve, zero_baseline
from gsto_viz.attribution.areas import RankedRegion, SizeBin
from gsto_viz.attribution.explain import asked_classes, explain_target, path_effects
from gsto_viz.cli import main
from gsto_viz.commands import attribute as command
from gsto_viz.commands.attribute_work import as_text
from gsto_viz.errors import GstoVizError
from gsto_viz.files import sha256_of

SHAPE = (1, 4, 18, 26)


@pytest.fixture(name="explained", scope="module")
def _explained(toy):
    from gsto_viz.attribution import View

    labels = toy.annotation()
    view = View(np.where(labels == 255, 0, labels), ("road", "car", "pole", "sky"), labels)
    model = toy.network()
    baselines = [zero_baseline(model)]
    target = Target(RankedRegion("car"))
    found = explain_target(model, toy.picture(), view, target, baselines, steps=2)
    return model, view, target, found


def test_the_table_of_branches(explained):
    rows = explained[3].branches.set_index("method")
    assert rows.index.tolist() == [
        "shapley", "share", "removal", "gradient_x_activation", "grad_cam", "integrated_gradients",
    ]  # fmt: skip
    assert rows.loc["shapley", "sum"] == pytest.approx(rows.loc["shapley", "expected"])
    assert rows.loc["share", "sum"] == pytest.approx(1)
    assert rows.loc[["share", "grad_cam"], "infidelity"].isna().all()
    assert (rows["infidelity"].dropna() >= 0).all()


def test_removals_by_algebra_are_removals_by_intervention(explained):
    found = explained[3]
    removal = found.branches.set_index("method").loc["removal"]
    after = found.paths[found.paths["kind"] == "branch after fusion"]
    np.testing.assert_allclose(
        after["drop"].astype(float), [removal[f"branch_{r}"] for r in range(4)], atol=1e-9
    )


def test_paths_are_what_the_network_says_with_them_closed(explained, toy):
    model, view, target, found = explained
    entries = resolve(target, view, SHAPE)
    assert (found.paths["kind"].value_counts().to_dict()) == {
        "transfer": 19, "gate": 18, "branch before fusion": 4, "branch after fusion": 4,
        "all gates": 2,
    }  # fmt: skip
    paths = found.paths.set_index("place")
    for place, value in (("stage4.m0.gate[2->0]", 0.5), ("transition2.transfer[1->2]", 0.0)):
        with torch.no_grad(), intervene(model, constant(place, value)):
            logits = model(toy.picture()).logits[0].flatten(1)
        score = float(entries.scores(logits)[0])
        assert paths.loc[place, "score"] == pytest.approx(score)
        assert paths.loc[place, "drop"] == pytest.approx(found.score - score)
    assert (paths.loc["stage4.m0.gate[2->0]", ["source", "target"]] == [2, 0]).all()


def test_maps_and_outline(explained):
    found = explained[3]
    names = [f"shapley/zero/branch{r}" for r in range(4)]
    assert list(found.maps)[:4] == names
    assert {found.map_strides[n] for n in names} == {4}
    assert found.map_strides["grad_cam/stage4.branch3"] == 32
    assert found.maps["grad_cam/stage4.branch3"].shape == (3, 4)
    assert (found.outline > 0).sum() == 600
    total = sum(found.maps[n] for n in names)
    weights = np.zeros((18, 26))
    for y, x in np.argwhere(found.outline == 1):
        weights[y // 4, x // 4] += 1 / 600
    expected = found.branches.set_index("method").loc["shapley", "sum"]
    assert (total * weights).sum() == pytest.approx(expected, rel=1e-5)
    assert found.sum_error < 1e-12
    assert found.efficiency_error < 1e-9


def test_ungated_networks_and_stage_heads(toy, view):
    plain = toy.network("hrnetv2-tiny")
    entries = resolve(Target(RankedRegion("car")), view, SHAPE)
    assert set(path_effects(plain, toy.picture(), entries)["kind"]) == {
        "transfer", "branch before fusion", "branch after fusion",
    }  # fmt: skip
    gated = toy.network()
    target = Target(RankedRegion("car"), head="stage3")
    found = explain_target(
        gated, toy.picture(), view, target, [zero_baseline(gated, "stage3")], methods=["grad_cam"]
    )
    assert found.strides == (4, 8, 16)
    # Nothing behind the head is closed, and everything before it counts.
    late = found.paths["place"].str.startswith(("stage4", "transition3"))
    assert not late.any()
    assert set(found.paths["kind"]) == {
        "transfer", "branch before fusion", "branch after fusion", "gate", "all gates",
    }  # fmt: skip
    assert (found.paths["drop"].abs() > 0).mean() > 0.5


@pytest.mark.parametrize(("head", "branches"), [("stage3", 3), ("stage2", 2)])
def test_other_heads_through_the_command(files, tmp_path, head, branches):
    words = ("--target", "pixel:20,20", "--head", head, "--method", "conductance", "--sanity")
    assert call(files, *words, "--out", tmp_path / "a") == 0
    rows = pd.read_csv(tmp_path / "a" / "table.csv").set_index("method")
    assert f"branch_{branches - 1}" in rows
    assert f"branch_{branches}" not in rows
    assert (tmp_path / "a" / "figure.png").stat().st_size > 1000
    places = pd.read_csv(tmp_path / "a" / "paths.csv")["place"]
    assert not places.str.startswith(f"stage{branches + 1}").any()


def test_conductance_says_what_it_must_add_up_to(explained, toy):
    model, view, target, _ = explained
    given = {}
    for steps in (2, 64):
        found = explain_target(
            model, toy.picture(), view, target, [zero_baseline(model)],
            methods=["conductance"], steps=steps,
        )  # fmt: skip
        given[steps] = found.branches.set_index("method").loc["conductance"], found.notes
    entries = resolve(target, view, SHAPE)
    with torch.no_grad():
        change = [
            float(entries.scores(model(image).logits[0].flatten(1).double())[0])
            for image in (toy.picture(), torch.zeros_like(toy.picture()))
        ]
    for row, _ in given.values():
        assert row["expected"] == pytest.approx(change[0] - change[1], rel=1e-4)
    off = {n: abs(row["sum"] - row["expected"]) for n, (row, _) in given.items()}
    assert off[64] < off[2]
    assert off[2] > 0.05 * abs(given[2][0]["expected"])
    assert "with 2 steps" in given[2][1][0]


def test_classes_of_maps(toy, view):
    seen = head_pass(toy.network(), toy.picture())
    one = resolve(Target(RankedRegion("pole")), view, SHAPE)
    assert (asked_classes(seen, one) == 2).all()
    many = resolve(Target(SizeBin(3.0, 6.0)), view, SHAPE)
    classes = asked_classes(seen, many)
    assert classes[10, 5] == 1  # inside the large car
    predicted = seen.logits[0].argmax(dim=0).numpy()
    untouched = np.ones((18, 26), bool)
    untouched.ravel()[many.cell] = False
    np.testing.assert_array_equal(classes[untouched], predicted[untouched])


def test_numbers_of_any_size_stand_apart_on_the_screen(explained):
    found = explained[3]
    numbers = found.branches.select_dtypes("number").columns
    large = found.branches.copy()
    large[numbers] *= -12345678.9
    paths = found.paths.assign(drop=-1.25e9, place="stage4.m0.transfer[0->1]" * 3)
    lines = as_text(replace(found, branches=large, paths=paths)).splitlines()
    for row in large.to_dict("records"):
        line = next(line for line in lines if line.startswith(f"{row['method']} "))
        words = [word for word in line.split("  ") if word]
        names = [*(f"branch_{r}" for r in range(4)), "sum", "expected"]
        assert [word.strip() for word in words[:2]] == [row["method"], row["baseline"]]
        for word, name in zip(words[2:], names, strict=True):
            known = not np.isnan(row[name])
            assert float(word) == pytest.approx(row[name], rel=1e-3) if known else "-" in word
    assert sum(line.endswith("  -1.25e+09") for line in lines) == 8
    tables = "\n".join(lines).split("\n\n")[1:3]
    for table in tables:
        assert len({len(line) for line in table.splitlines()}) == 1


def test_wrong_requests(explained, toy):
    model, view, target, _ = explained
    with pytest.raises(GstoVizError, match="no baseline was given"):
        explain_target(model, toy.picture(), view, target, [])
    with pytest.raises(GstoVizError, match="unknown method 'lime'"):
        explain_target(model, toy.picture(), view, target, [zero_baseline(model)], methods=["lime"])


def call(files, *words):
    parser = argparse.ArgumentParser()
    parser.add_argument("--quiet", action="store_true")
    command.add_arguments(parser)
    given = [files / "tiny.safetensors", files / "photo.png", "--steps", 2, "--device", "cpu"]
    return command.run(parser.parse_args([*map(str, (*given, *words))]))


@pytest.mark.slow
def test_everything_that_can_be_asked(files, tmp_path, capsys):
    out = tmp_path / "run"
    words = ("--target", "region:car:largest", "--labels", files / "labels.png", "--out", out)
    more = ("--other", files / "photo.png", "--sanity", "--erf", "--method", "grad_cam")
    assert call(files, *words, *more) == 0
    printed = capsys.readouterr().out
    assert "margin of region:car:largest at head main" in printed
    assert "branch split against the network's logits" in printed
    assert "rank correlation, random from head on" in printed
    assert sorted(p.name for p in out.iterdir()) == [
        "erf.csv", "erf.pdf", "erf.png", "figure.pdf", "figure.png", "manifest.json", "maps.npz",
        "paths.csv", "sanity.csv", "table.csv",
    ]  # fmt: skip
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["image"]["sha256"] == sha256_of(files / "photo.png")
    assert manifest["regions_from"] == "labels"
    assert manifest["checks"]["sum_error"] < 1e-4
    assert str(files) not in json.dumps(manifest)
    table = pd.read_csv(out / "table.csv")
    assert table["baseline"].drop_duplicates().tolist()[:3] == [
        "mean of this image", "zero", "another image",
    ]  # fmt: skip
    # The other image is the image itself: nothing changes, and the share is not defined.
    same = table[table["baseline"] == "another image"].set_index("method")
    assert same.loc["shapley", "branch_0"] == pytest.approx(0, abs=1e-4)
    with np.load(out / "maps.npz", allow_pickle=False) as maps:
        assert maps["shapley/zero/branch1"].shape == (16, 20)
        assert set(maps.files) == set(manifest["maps"])
    checks = pd.read_csv(out / "sanity.csv").set_index(["subject", "check"])
    last = checks.loc[("grad_cam/stage4.branch3", "rank correlation, random from stem on")]
    assert last["cells"] == 2 * 3
    assert checks.loc[("shapley", "sensitivity (max)")].isna()["cells"]
    fields = pd.read_csv(out / "erf.csv")
    assert len(fields) == 16
    # The slope of a line through four points, by the textbook's sums.
    for condition, rows in fields.groupby("condition"):
        x, y = np.log2(rows["stride"]), np.log2(rows["erf_px"])
        slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
        line = next(line for line in printed.splitlines() if line.startswith(condition))
        assert float(line.split()[-1]) == pytest.approx(slope, abs=0.006)
    assert (fields["erf_px"] > 0).all()


def test_changes_that_were_asked_for_come_first(files, tmp_path, capsys):
    words = ("--target", "class:car", "--labels", files / "labels.png", "--method", "activation")
    changes = ("--change", "stage4.m0.gate[2->0]=closed", "--change", "stem=blur:1")
    assert call(files, *words, *changes, "--out", tmp_path / "a") == 0
    printed = capsys.readouterr().out.splitlines()
    at = next(k for k, line in enumerate(printed) if line.startswith("closed path"))
    assert printed[at + 1].split()[:2] == ["stage4.m0.gate[2->0]", "closed"]
    assert printed[at + 2].split()[:2] == ["stem", "blur:1"]
    paths = pd.read_csv(tmp_path / "a" / "paths.csv")
    assert paths["kind"].tolist()[:3] == ["asked", "asked", "branch before fusion"]
    gate = paths[paths["place"] == "stage4.m0.gate[2->0]"]
    assert gate["kind"].tolist() == ["asked", "gate"]
    assert gate["score"].iloc[0] == gate["score"].iloc[1]
    assert paths["score"][1] != pytest.approx(paths["score"][1] + paths["drop"][1], abs=1e-6)


def test_taps_and_the_image(files, tmp_path, capsys):
    out = tmp_path / "a"
    words = ("--target", "pixel:30,20:car", "--method", "gradient_x_activation")
    more = ("--method", "saliency", "--tap", "transition2.*", "--tap", "stage3.m0.gate.2to0")
    assert call(files, *words, *more, "--out", out) == 0
    printed = capsys.readouterr().out.splitlines()
    assert sorted(p.name for p in out.iterdir()) == [
        "figure.pdf", "figure.png", "manifest.json", "maps.npz", "paths.csv", "table.csv",
        "taps.csv", "taps.pdf", "taps.png",
    ]  # fmt: skip
    table = pd.read_csv(out / "taps.csv")
    assert table.columns.tolist() == ["method", "tap", "stride", "total", "delta", "infidelity"]
    assert table["tap"].tolist() == ["transition2.gate", "stage3.m0.gate[2->0]", "input"]
    assert table["stride"].tolist() == [8, 16, 1]
    assert table["delta"].isna().all()
    at = next(k for k, line in enumerate(printed) if "infidelity" in line)
    for line, row in zip(printed[at + 1 : at + 4], table.itertuples(), strict=True):
        assert line.split()[:3] == [row.method, row.tap, str(row.stride)]
        assert float(line.split()[3]) == pytest.approx(row.total, rel=1e-3)
    manifest = json.loads((out / "manifest.json").read_text())
    with np.load(out / "maps.npz", allow_pickle=False) as maps:
        assert set(maps.files) == set(manifest["maps"]) == set(manifest["map_strides"])
        assert maps["gradient_x_activation/transition2.gate"].shape == (8, 10)
        assert maps["saliency/input"].shape == (64, 80)
        total = maps["saliency/input"].sum(dtype=np.float64)
        assert total == pytest.approx(table["total"][2], rel=1e-4)
    assert manifest["map_strides"]["gradient_x_activation/stage3.m0.gate[2->0]"] == 16


def test_a_figure_that_fails_leaves_no_folder(files, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    words = ("--target", "pixel:30,20:car", "--method", "saliency", "--out", tmp_path / "a")
    monkeypatch.setattr("gsto_viz.commands.attribute_work.figure_taps", fail)
    with pytest.raises(GstoVizError, match="No space left on device; free or choose a place"):
        call(files, *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("--tap", "stage9.branch0"), ("--method", "lime")])
def test_wrong_taps_and_methods_are_one_line_and_status_2(files, tmp_path, words, capsys):
    given = [files / "tiny.safetensors", files / "photo.png", "--target", "pixel:1,1"]
    assert main(["attribute", *map(str, (*given, *words, "--out", tmp_path / "a"))]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words[1] in err
    assert list(tmp_path.iterdir()) == []


def test_json_alone_on_stdout(files, tmp_path, capsys):
    words = ("--target", "pixel:3,4:sky", "--out", tmp_path / "a", "--json", "-")
    assert call(files, *words, "--method", "activation", "--score", "mean") == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["method"] == "shapley"
    assert rows[-1]["infidelity"] is None
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        "figure.pdf", "figure.png", "manifest.json", "maps.npz", "paths.csv", "table.csv",
    ]  # fmt: skip
    with pytest.raises(GstoVizError, match="is not empty; --overwrite replaces it"):
        call(files, *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--target", "car"), "'car' is not a target; write one of pixel:X,Y"),
        (("--target", "pixel:80,3"), r"x=80 lies outside axis 1 of the image \(64, 80\)"),
        (("--target", "pixel:1,1:tram"), "there is no class 'tram'; choose one of Sky"),
        (("--target", "pixel:1,1", "--head", "stage9"), "no head 'stage9'; it has main, stage3"),
        (("--target", "pixel:1,1", "--method", "lime"), "unknown method 'lime'; choose activation"),
        (("--target", "pixel:1,1", "--tap", "stage2.brnch0"), "did you mean stage2.branch0"),
        (("--target", "pixel:1,1", "--method", "saliency", "--tap", "stem"), "no method for taps"),
        (
            ("--target", "pixel:1,1", "--head", "stage2", "--tap", "stage3.m0.branch0"),
            "the logits of head stage2 do not depend on stage3.m0.branch0",
        ),
        (("--target", "pixel:1,1", "--steps", "0"), "--steps 0: give 1 or more"),
        (("--target", "pixel:1,1", "--memory", "nan"), "--memory nan: give GiB above 0"),
        (("--target", "pixel:1,1", "--instances", "x.png"), "--instances needs --labels"),
        (("--target", "pixel:1,1", "--change", "stem"), "'stem' is not an intervention"),
        (("--target", "pixel:1,1", "--change", "stem=blur:99"), "give 1 to 13 octaves"),
        (("--target", "pixel:1,1", "--change", "head=1e39"), "give a number below 1e"),
        (("--target", "pixel:1,1", "--ignore", "11"), "--ignore needs --labels"),
        (("--target", "pixel:1,1", "--ignore", "-1"), "--ignore -1: give a number from 0"),
    ],
)
def test_wrong_words_write_nothing(files, tmp_path, words, message):
    with pytest.raises(GstoVizError, match=message):
        call(files, *words, "--out", tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_a_number_that_is_no_class_can_be_ignored(files, tmp_path, capsys):
    labels = np.array(Image.open(files / "labels.png"))
    labels[20:50, 10:30] = 11
    Image.fromarray(labels).save(tmp_path / "void.png")
    words = ("--target", "region:car:largest", "--labels", tmp_path / "void.png")
    quick = ("--method", "activation", "--json", "-")
    with pytest.raises(GstoVizError, match="holds label 11"):
        call(files, *words, *quick, "--out", tmp_path / "a")
    assert call(files, *words, *quick, "--out", tmp_path / "a", "--ignore", 11) == 0
    ignored = json.loads(capsys.readouterr().out)
    labels[20:50, 10:30] = 255
    Image.fromarray(labels).save(tmp_path / "void.png")
    assert call(files, *words, *quick, "--out", tmp_path / "b") == 0
    assert json.loads(capsys.readouterr().out) == ignored


def test_labels_of_another_image(files, tmp_path):
    words = ("--target", "pixel:1,1", "--labels", files / "small.png", "--out", tmp_path / "none")
    with pytest.raises(GstoVizError, match="--labels: the map has 9x80 pixels and the image 64x80"):
        call(files, *words)
