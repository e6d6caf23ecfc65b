"""Unusual and broken files of the test data, with every decoder: frames or DecodeError.

They are read in another process with a time limit, because a decoder may crash or hang.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.data.conftest import NO_TORCHCODEC, torchcodec_loads
from videopool.data.decoding.decode import DECODERS

BROKEN = {
    "audio_only.mp4",
    "corrupted.mp4",
    "empty.mp4",
    "text.mp4",
    "trunc50_faststart_g12.mp4",
    "truncated.avi",
    "truncated_no_moov.mp4",
    "zeromid10.avi",
    "zeromid10_g12.mp4",
}
REFUSED = {  # intact, but decord and torchcodec would return wrong frames, or hang
    "hmdb51_vtest.avi",
    "tests__data__test.avi",
    "ucf11_sample.mpg",
    "t0.mp4",
    "t3.mp4",
    "t9.mp4",
}
DECORD_MAY_FAIL = {"av1_video.mkv"}  # decord 0.6.0 is built without AV1; its fork decord2 is not

SCRIPT = """
import json, sys
import numpy as np
import torch
from videopool.data.decoding.decode import open_video
from videopool.data.decoding.timeout import with_timeout
from videopool.data.decoding.reader import DecodeError

def read(path, decoder):
    with open_video(path, decoder=decoder) as reader:
        info = reader.info
        for share in (np.linspace(0.9, 1, 5), np.linspace(0, 1, 33)):
            frames = reader.frames_at(share * info.duration_seconds, 64)
            assert frames.dtype == torch.uint8 and frames.shape[:2] == (3, len(share)) and min(frames.shape[2:]) == 64
    return "frames"

for path in sys.argv[2:]:
    try:
        result = with_timeout(lambda: read(path, sys.argv[1]), path=path, seconds=60)
    except DecodeError as error:
        result = error.reason
    print(json.dumps([path, result]), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("decoder", sorted(set(DECODERS) - {"auto"}))  # auto is PyAV
def test_frames_or_decode_error(shared_data, decoder):
    if decoder == "torchcodec" and not torchcodec_loads():
        pytest.skip(NO_TORCHCODEC)
    paths = sorted(str(path) for folder in ("clips", "trimmed") for path in (shared_data / folder).iterdir())
    done = subprocess.run([sys.executable, "-c", SCRIPT, decoder, *paths], capture_output=True, text=True, timeout=240)
    results = dict(json.loads(line) for line in done.stdout.splitlines())
    assert done.returncode == 0, done.stderr
    assert list(results) == paths
    failed = {path.rsplit("/", 1)[1] for path, result in results.items() if result != "frames"}
    refused = REFUSED if decoder in ("decord", "torchcodec") else set()
    assert failed - (DECORD_MAY_FAIL if decoder == "decord" else set()) == BROKEN | refused
    reasons = [result for result in results.values() if result != "frames"]
    assert all("\n" not in reason and "took longer" not in reason for reason in reasons), reasons
    for path, reason in results.items():
        if path.rsplit("/", 1)[1] in refused:
            assert "use the decoder auto" in reason
