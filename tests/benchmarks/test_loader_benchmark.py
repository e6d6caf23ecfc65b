"""The loader benchmark: its stages, its limit and its advice."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.loader_advice import LoadingCosts, advice
from benchmarks.loader_stages import DEVICE_STAGES, STAGES, decode_only, measure_stages
from tests.conftest import QUICK, ROOT
from videopool.data.decoding import pyav_reader
from videopool.data.lists.records import read_videos
from videopool.data.loading.dataset import TrainClips
from videopool.data.sampling import ClipSampling
from videopool.prepare.encode import Encoding
from videopool.prepare.transcode import LIST, transcode

SAMPLING = ClipSampling(frames=4, stride=2, scale=(32, 32), crop=32, test_scale=32, test_crop=32)
GOOD_DATA = LoadingCosts(
    milliseconds={"open": 1.0, "decode": 5.0, "convert": 1.0, "other": 1.0},
    span=29,
    decoded=36,
    keyframes=12,
    short_side=256,
    scaled_side=256,
    batch=16,
)


def test_stages_add_up_and_readers_are_restored(motion_videos):
    dataset = TrainClips(read_videos(motion_videos / "train").records, SAMPLING, seed=0)
    before = (pyav_reader.open_container, pyav_reader.PyAVReader.clips, pyav_reader.Outputs.put)
    stages, seconds = measure_stages(dataset, [(0, index) for index in range(8)], batch=4)
    assert (pyav_reader.open_container, pyav_reader.PyAVReader.clips, pyav_reader.Outputs.put) == before
    assert sum(stages.seconds.values()) == pytest.approx(seconds)
    assert all(stages.seconds[name] >= 0 for name in STAGES if name != "other")
    assert min(stages.seconds[name] for name in ("open", "decode", "convert", "collate")) > 0
    assert len(stages.spans) == 8
    assert stages.packets >= 8 * SAMPLING.frames
    for span in stages.spans:
        assert 0 <= span.first_seconds < span.last_seconds < 1.0
        decode_only(span)


@pytest.mark.slow
def test_stages_of_uncompressed_files(motion_videos, tmp_path):
    transcode(read_videos(motion_videos / "train"), tmp_path / "raw", Encoding(uncompressed=True))
    dataset = TrainClips(read_videos(tmp_path / "raw" / LIST).records, SAMPLING, seed=0)
    stages, _ = measure_stages(dataset, [(0, index) for index in range(8)], batch=4)
    assert min(stages.seconds[name] for name in ("open", "decode", "convert", "collate")) > 0
    assert stages.seconds["list"] == stages.packets == 0
    assert len(stages.spans) == 8


def test_good_data_gets_no_advice():
    sentences = advice(GOOD_DATA)
    assert sentences == [
        "Decoding is 62% of the 8.0 ms of processor time per sample.",
        "A worker loads at most 125 samples/s. "
        "With 16 clips, a step of S seconds needs 16 / (125 S) workers per device.",
    ]
    known = advice(dataclasses.replace(GOOD_DATA, step_seconds=0.02))
    assert known[-1].endswith("a step of 0.02 s needs 7 workers per device.")


def test_advice_on_distant_keyframes_and_large_frames():
    milliseconds = {"open": 1.0, "decode": 38.0, "convert": 1.0}
    far = advice(dataclasses.replace(GOOD_DATA, milliseconds=milliseconds, decoded=140, keyframes=250))
    # 29 + 6 of 140 frames remain: 9.5 of 38 ms, so 11.5 of 40 ms
    assert any("Keyframes are 250 frames apart" in line and line.endswith("about 3.5x faster.") for line in far)
    large = advice(dataclasses.replace(GOOD_DATA, milliseconds=milliseconds, short_side=512))
    # a quarter of the pixels: 9.5 of 38 ms
    assert any(
        "Frames of 512 pixels are scaled to 256" in line and line.endswith("about 3.5x faster.") for line in large
    )
    assert not any("Keyframes" in line for line in large)


@pytest.mark.slow
def test_the_tool(motion_videos, tmp_path, tool, process):
    config = ["--config", ROOT / "configs/demo.yaml", *QUICK, f"data.root={motion_videos}"]
    running = process("benchmark", "loader", *config, "--samples", "8", "--to", tmp_path / "result.md")
    _out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    text = (tmp_path / "result.md").read_text()
    for stage in (*STAGES, *DEVICE_STAGES):
        assert f"| {stage} |" in text
    assert "A worker loads at most" in text
    assert str(tmp_path) not in text
    wrong = process("benchmark", "loader", "--files", tmp_path / "none.mp4")
    _, err = wrong.communicate(timeout=120)
    assert wrong.returncode == 2
    assert err.strip() == f"error: {tmp_path}/none.mp4: no such file; give videos after --files"
