"""Classify a video with model.onnx: needs numpy, onnxruntime, PyAV and Pillow, but neither torch nor videopool.

    python predict_onnx.py model.onnx video.mp4

It scores one clip from the middle of the video and its center crop, as ``videopool predict`` does with evaluate.clips=1
and evaluate.crops=1. It reads progressive videos with square pixels.
"""

import json
import math
import sys

import av
import numpy as np
import onnxruntime
from PIL import Image


def main(model: str, video: str) -> None:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["videopool"])
    logits = session.run(["logits"], {"clips": read_clip(video, about)[None]})[0][0].astype(np.float64)
    if about["several_labels"]:
        probabilities = 1 / (1 + np.exp(-logits))
    else:
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
    for index in np.argsort(-probabilities)[:5]:
        print(f"{probabilities[index]:.4f}  {about['classes'][index]}")


def read_clip(video: str, about: dict) -> np.ndarray:
    """Return a clip from the middle of the video, uint8 [3,T,crop,crop], RGB."""
    with av.open(video) as container:
        stream = container.streams.video[0]
        fps = float(stream.average_rate)
        starts = np.array([float(packet.pts * stream.time_base) for packet in container.demux(stream) if packet.size])
    starts = np.sort(starts) - starts.min()
    duration = starts[-1] + 1 / fps
    wanted = np.searchsorted(starts, clip_times(duration, fps, about), side="right") - 1
    frames = {}
    with av.open(video) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                frames[index] = prepare(frame.to_image(), about["short_side"], about["crop"])
    return np.stack([frames[index] for index in wanted], axis=1)


def clip_times(duration: float, fps: float, about: dict) -> np.ndarray:
    """Return the times of the frames of the clip, [T] in seconds."""
    count = about["frames"]
    if about["sampling"] == "segments":
        times = (np.arange(count) + 0.5) * duration / count
    else:
        dense = about["sampling"] == "dense"
        step = about["window"] / count if dense else about["stride"] / (about["fps"] or fps)
        span = about["window"] if dense else (count - 1) * step + 1 / fps
        start = max(0, math.floor((duration - span) * fps / 2 + 1e-6)) / fps
        times = start + np.arange(count) * step + 0.5 / fps  # the middle of the time in which a frame is shown
    return times % duration if about["short"] == "loop" else np.minimum(times, duration - 0.5 / fps)


def prepare(image: Image.Image, short_side: int, crop: int) -> np.ndarray:
    """Return the center of a scaled frame, uint8 [3,crop,crop]. Pillow's resize uses antialiasing."""
    short = min(image.size)
    width, height = (max(1, round(side * short_side / short)) for side in image.size)
    left, top = (width - crop) // 2, (height - crop) // 2
    scaled = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(scaled.crop((left, top, left + crop, top + crop))).transpose(2, 0, 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
