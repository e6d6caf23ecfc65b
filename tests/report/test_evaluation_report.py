"""The numbers and the page of ``videopool report``, on made-up scores and on the videos of a short training."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.report.evaluations import class_names, write_evaluation
from videopool.cli.main import main
from videopool.data.decoding.decode import open_video
from videopool.report.evaluation.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Series, chart, percent, ticks
from videopool.report.evaluation.stored import read_evaluation
from videopool.report.evaluation.strips import FRAMES, SHORT_SIDE, FilmStrips, config_of
from videopool.report.evaluation.tables import calibration, class_rows, confused_pairs, headline, notable_predictions


class Page(html.parser.HTMLParser):
    """The tags of a page with their attributes, and its texts by the tag around them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data.strip()))

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def report(folder: Path, *arguments: object) -> Page:
    assert main(["report", str(folder), *map(str, arguments)]) == 0
    place = folder / "report.html" if (folder / "report.html").exists() else folder / "evaluation/report.html"
    return Page(place.read_text(encoding="utf-8"))


def means(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The mean scores float64 [V,K] and the labels [V]."""
    saved = np.load(folder / "scores.npz")
    videos = len(saved["names"])
    scores = saved["scores"].astype(np.float64).reshape(videos, -1, len(saved["classes"])).mean(1)
    return scores, saved["labels"].reshape(videos, -1)[:, 0]


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_evaluation(tmp_path_factory.mktemp("single"), classes=10, videos=83, crops=3)


def test_numbers_of_one_label(single: Path) -> None:
    stored, (scores, labels) = read_evaluation(single), means(single)
    predicted, probability = scores.argmax(1), scores.max(1)
    bins = calibration(stored)
    gaps = [b.videos / 83 * abs(b.accuracy - b.probability) for b in bins]
    assert sum(gaps) == pytest.approx(stored.metrics["ece"], abs=1e-12)
    for one in bins:
        inside = (probability > one.low) & (probability <= one.high)
        assert one.videos == inside.sum()
        assert one.accuracy == pytest.approx((predicted == labels)[inside].mean())
    rows = class_rows(stored)
    assert [row.videos for row in rows] == np.bincount(labels, minlength=10).tolist()
    assert [row.predicted for row in rows] == np.bincount(predicted, minlength=10).tolist()
    correct = np.bincount(labels[predicted == labels], minlength=10)
    for k, row in enumerate(rows):
        assert row.rates[1] == pytest.approx(correct[k] / row.videos)
    wrong = np.flatnonzero(predicted != labels)
    expected = wrong[np.argsort(-probability[wrong], kind="stable")][:7]
    found = notable_predictions(stored, 7)
    assert [one.video for one in found] == expected.tolist()
    assert [one.probability for one in found] == pytest.approx(probability[expected].tolist())
    assert [one.labels for one in found] == [(stored.classes[label],) for label in labels[expected]]
    top1 = headline(stored)[0]
    assert (top1.name, top1.value) == ("Top-1", pytest.approx((predicted == labels).mean()))
    assert top1.interval is not None
    assert top1.interval[0] < top1.value < top1.interval[1]


def test_confused_pairs() -> None:
    confusion = [[5, 3, 0], [1, 1, 0], [0, 3, 3]]
    pairs = [(p.label, p.predicted, p.videos, p.share) for p in confused_pairs(confusion, ("a", "b", "c"))]
    assert pairs == [("c", "b", 3, 0.5), ("a", "b", 3, 3 / 8), ("b", "a", 1, 0.5)]


def test_numbers_of_several_labels(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path, classes=6, videos=50, kind="several")
    stored, (scores, _) = read_evaluation(folder), means(folder)
    targets = np.load(folder / "scores.npz")["targets"] > 0
    rows = class_rows(stored)
    assert [row.videos for row in rows] == targets.sum(0).tolist()
    assert [row.predicted for row in rows] == (scores >= 0.5).sum(0).tolist()
    assert [row.rates[0] for row in rows] == list(stored.metrics["per_class"].values())
    false = np.where(targets, -1, scores).max(1)
    found = notable_predictions(stored, 100)
    assert len(found) == (false >= 0.5).sum() > 3
    assert [one.probability for one in found] == pytest.approx(np.sort(false[false >= 0.5])[::-1].tolist())
    assert calibration(stored) == []
    page = report(folder)
    assert ("li", "Videos may have several classes, so there is no confusion matrix or calibration.") in page.texts
    assert ("canvas" in dict(page.tags), ("span", "mAP") in page.texts) == (False, True)


def test_without_labels(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path, classes=4, videos=20, kind="unlabeled")
    scores, _ = means(folder)
    found = notable_predictions(read_evaluation(folder), 3)
    assert [one.video for one in found] == np.argsort(scores.max(1), kind="stable")[:3].tolist()
    page = report(folder)
    assert ("h2", "Least certain predictions") in page.texts
    assert ("li", "The list has no labels, so there are no accuracies, confusions or calibration.") in page.texts
    assert ("h2", "Results") not in page.texts


@pytest.mark.parametrize("classes", [2, 10])
def test_the_page_is_one_file_of_escaped_text(classes: int, tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "<b>&", classes=classes, videos=40, crops=3)
    page = report(folder)
    assert page.count("script") == 2  # the data and the script: no class became markup
    assert page.count("b") == 0
    assert ("th", class_names(2)[0]) in page.texts
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", text)
    assert "http" not in text.replace("http-equiv", "")
    assert re.search(r"""default-src 'none'; img-src data:""", text)
    data = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["classes"] == class_names(classes)
    assert [attributes.get("lang") for tag, attributes in page.tags if tag == "html"] == ["en"]
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    assert all(attributes.get("aria-label") for tag, attributes in page.tags if tag in ("svg", "canvas"))
    assert page.count("table") == page.count("thead")
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")


def test_a_folder_of_a_run(trained_evaluation: Path) -> None:
    page = report(trained_evaluation)
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    metrics = json.loads((trained_evaluation / "evaluation/metrics.json").read_text())
    wrong = round(8 * (1 - metrics["video_top1"]))
    assert len(pictures) == wrong > 0
    assert all(str(one["src"]).startswith("data:image/jpeg;base64,") for one in pictures)
    assert {("figcaption", name) for name in ("Loss", "Accuracy", "Learning rate")} <= set(page.texts)
    assert ("th", "optim.lr") in page.texts
    assert len([tag for tag, attributes in page.tags if tag == "img"][:1]) == 1
    fewer = report(trained_evaluation, "--pictures", "1")
    assert fewer.count("img") == 1


@pytest.fixture(scope="module")
def trained_evaluation(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a run, evaluated with 2 clips x 3 crops of 8 videos."""
    run = tmp_path_factory.mktemp("evaluated") / "run"
    shutil.copytree(trained, run)
    assert main(["evaluate", str(run / "checkpoints/last.pt"), "evaluate.resamples=20"]) == 0
    return run


def test_evaluate_writes_the_report(trained: Path, single: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    keys = ["evaluate.clips=1", "evaluate.resamples=0"]
    to = tmp_path / "to"
    assert main(["evaluate", str(trained / "checkpoints/last.pt"), "--to", str(to), "--report", *keys]) == 0
    assert f"written: {to}/report.html" in capsys.readouterr().out
    assert ("dd", "evaluate.clips=1, evaluate.resamples=0") in Page((to / "report.html").read_text()).texts
    assert main(["evaluate", str(trained / "checkpoints/last.pt"), "--to", str(to), *keys]) == 0
    assert not (to / "report.html").exists()  # it was about the earlier evaluation
    stored = ["evaluate", "--from", str(single / "scores.npz"), "--report"]
    assert main(stored) == 2
    assert "--report needs a folder to write to; add --to FOLDER" in capsys.readouterr().err
    assert main([*stored, "--to", str(tmp_path / "again"), *keys[1:]]) == 0
    assert ("h2", "Confusion") in Page((tmp_path / "again/report.html").read_text()).texts
    assert main([*stored[:-1], "--to", str(tmp_path / "again"), *keys[1:]]) == 0
    assert not (tmp_path / "again/report.html").exists()


def test_scores_are_those_of_the_metrics(tmp_path: Path) -> None:
    first = write_evaluation(tmp_path / "first", classes=3, videos=12)
    second = write_evaluation(tmp_path / "second", classes=3, videos=12, seed=1)
    assert main(["evaluate", "--from", str(second / "scores.npz"), "--to", str(first), "evaluate.resamples=0"]) == 0
    assert [file.path for file in read_evaluation(first).files] == [second / "scores.npz"]
    shutil.rmtree(second)
    assert [file.path for file in read_evaluation(first).files] == [first / "scores.npz"]


def test_strips_are_frames_of_the_scored_part(trained_evaluation: Path, motion_videos: Path) -> None:
    stored = read_evaluation(trained_evaluation)
    strips = FilmStrips(stored, config_of(stored, []))
    strip = strips.strip(3)
    assert strip.pixels is not None
    seconds = np.load(trained_evaluation / "evaluation/scores.npz")["seconds"].reshape(8, 6, 2)[3]
    start, end = seconds[:, 0].min(), seconds[:, 1].max()
    times = [max(0.0, start + (n + 0.5) * (end - start) / FRAMES) for n in range(FRAMES)]
    with open_video(motion_videos / "test" / stored.files[0].names[3]) as video:
        frames = video.frames_at(times, SHORT_SIDE)
    width = frames.shape[3]
    assert strip.pixels.shape == (SHORT_SIDE, FRAMES * width + 2 * (FRAMES - 1), 3)
    for n in range(FRAMES):
        part = torch.from_numpy(strip.pixels[:, n * (width + 2) : n * (width + 2) + width])
        assert torch.equal(part.permute(2, 0, 1), frames[:, n])


def test_videos_that_cannot_be_read(
    trained_evaluation: Path, motion_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    page = report(trained_evaluation, f"data.root={tmp_path / 'none'}")
    notes = [text for tag, text in page.texts if tag == "p" and text.startswith("There are no pictures: ")]
    assert len(notes) == 1
    assert f"data.root={tmp_path / 'none'} " in notes[0]
    assert page.count("img") == 0
    moved = tmp_path / "videos"
    shutil.copytree(motion_videos, moved)
    for path in (moved / "test").rglob("*.mp4"):
        path.write_bytes(b"no video")
    page = report(trained_evaluation, f"data.root={moved}")
    assert page.count("img") == 0
    assert sum(tag == "p" and text.startswith("The video ") for tag, text in page.texts) > 0
    shutil.rmtree(moved / "test/left")
    capsys.readouterr()
    assert main(["report", str(trained_evaluation), f"data.root={moved}"]) == 2
    assert "is of another list of videos than data.test=test (8 and 7 videos)" in capsys.readouterr().err
    assert main(["report", str(trained_evaluation), f"data.root={moved}", "--pictures", "0"]) == 0


@pytest.mark.slow
def test_mistakes_in_tensorboard(trained_evaluation: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    report(trained_evaluation, "--tensorboard")
    events = accumulator.EventAccumulator(str(trained_evaluation / "tensorboard")).Reload()
    found = notable_predictions(read_evaluation(trained_evaluation), 24)
    names = [f"mistakes/{n:02d} {one.predicted}" for n, one in enumerate(found, start=1)]
    assert events.Tags()["images"] == names
    step = json.loads((trained_evaluation / "evaluation/metrics.json").read_text())["step"]
    image = events.Images(names[0])[0]
    assert (image.step, image.height) == (step, SHORT_SIDE)
    table = events.Tensors("mistakes/text_summary")[0].tensor_proto.string_val[0].decode()
    assert table.count("\n") == len(found) + 1
    assert f"| 1 | {found[0].predicted} | {100 * found[0].probability:.1f} % | {found[0].labels[0]} |" in table


@pytest.mark.parametrize("removed", ["scores.npz", "metrics.json", "both"])
def test_missing_files(removed: str, single: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    place = tmp_path / "evaluation"
    shutil.copytree(single, place)
    metrics = json.loads((place / "metrics.json").read_text())
    del metrics["scores"]
    (place / "metrics.json").write_text(json.dumps({**metrics, "checkpoint": "run/checkpoints/last.pt"}))
    for name in ("scores.npz", "metrics.json"):
        if removed in (name, "both"):
            (place / name).unlink()
    messages = {
        "scores.npz": f"no scores.npz. Write it with videopool evaluate run/checkpoints/last.pt --to {place}.",
        "metrics.json": f"Write it with videopool evaluate --from {place / 'scores.npz'} --to {place} evaluate.allow_m",
        "both": f"{place} has no scores.npz. Give the folder of a run or of an evaluation, or write one with videopool",
    }
    assert main(["report", str(place)]) == 2
    assert messages[removed] in capsys.readouterr().err


def test_wrong_input(single: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def error(*arguments: object) -> str:
        assert main(["report", *map(str, arguments)]) == 2
        text = capsys.readouterr().err
        assert text.count("\n") == 1
        return text

    assert "none is not a folder. Give the folder of a run" in error(tmp_path / "none")
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints/last.pt").touch()
    assert f"Write it with videopool evaluate {run}/checkpoints/last.pt." in error(run)
    assert "optim.lr=1 has no effect here; only keys of data" in error(single, "optim.lr=1")
    other = write_evaluation(tmp_path / "other", classes=10, videos=20)
    metrics = json.loads((single / "metrics.json").read_text())
    (other / "metrics.json").write_text(json.dumps({**metrics, "scores": []}))
    assert f"{other}/scores.npz is of another list of videos than {other}/metrics.json" in error(other)
    (other / "metrics.json").write_text('{"videos": 3')
    assert "metrics.json is damaged" in error(other)
    (other / "metrics.json").write_text("[]")
    assert "is not the metrics.json of an evaluation" in error(other)


def test_an_ensemble(tmp_path: Path) -> None:
    folders = [write_evaluation(tmp_path / name, classes=5, videos=30, seed=k) for k, name in enumerate("ab")]
    files = [str(folder / "scores.npz") for folder in folders]
    both = tmp_path / "both"
    assert main(["evaluate", "--from", *files, "--average", "logits", "--to", str(both)]) == 0
    stored = read_evaluation(both)
    assert (len(stored.files), stored.average) == (2, "logits")
    scores = np.stack([np.load(file)["logits"].astype(np.float64).reshape(30, 4, 5).mean(1) for file in files]).mean(0)
    assert [row.predicted for row in class_rows(stored)] == np.bincount(scores.argmax(1), minlength=5).tolist()
    assert any(text == f"{files[0]}, {files[1]}" for _, text in report(both).texts)


def test_charts_are_to_scale() -> None:
    points = [(0.0, 1.0), (5.0, 3.0), (10.0, float("nan")), (20.0, 2.0)]
    drawn = chart("t", [Series("s", points, marked=True)], x_label="x", y_label="y", description="")
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    assert drawn.lines[0].marks == (
        (LEFT, bottom, "0: 1"),
        (LEFT + (right - LEFT) / 4, TOP, "5: 3"),
        (right, (TOP + bottom) / 2, "20: 2"),
    )
    assert [text for _, text in drawn.y_ticks] == ["1", "1.5", "2", "2.5", "3"]
    assert [position for position, _ in drawn.x_ticks] == [LEFT + n * (right - LEFT) / 4 for n in range(5)]
    counts = chart("t", [Series("s", [(1, 0.5), (2, 0.7)])], x_label="", y_label="", description="")
    assert [text for _, text in counts.x_ticks] == ["1", "2"]
    flat = chart("t", [Series("s", [(1, 0.96), (2, 0.96)])], x_label="", y_label="", description="", shown=percent)
    assert [text[:-2] for _, text in flat.y_ticks] == ["40", "60", "80", "100"]  # no more than 100 %
    many = chart("t", [Series("s", [(n, n % 2) for n in range(10_000)])], x_label="", y_label="", description="")
    assert many.lines[0].path.count("L") < 300


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.531, 0.534), (-3, 1e6), (1e-9, 2e-9), (0.3, 0.9)])
def test_ticks_enclose_the_range(low: float, high: float) -> None:
    found = ticks(low, high)
    steps = np.diff(found)
    assert found[0] <= low + 1e-12
    assert found[-1] >= high - 1e-12
    assert 3 <= len(found) <= 8
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    assert round(steps[0] / 10 ** np.floor(np.log10(steps[0] * (1 + 1e-9))), 6) in (1, 2, 5)
