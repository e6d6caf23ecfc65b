"""Data sets and pipelines of mmaction2: videos, clips, augmentation and evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from videopool.migrate.draft import Draft
from videopool.migrate.keys import Keys

Step = dict[str, Any]  # a transform of a pipeline: its type and its arguments
_Handler = Callable[[Step, Draft], None]
# Transforms that read, decode or pack, which videopool does in its own way.
_WITHOUT_EFFECT = (
    "ArrayDecode",
    "DecordDecode",
    "DecordInit",
    "FormatShape",
    "ImageDecode",
    "LoadRGBFromFile",
    "OpenCVDecode",
    "OpenCVInit",
    "PackActionInputs",
    "PIMSDecode",
    "PIMSInit",
    "PyAVDecode",
    "PyAVInit",
    "RawFrameDecode",
)


def set_clips(keys: Keys, draft: Draft) -> None:
    """Set the keys of the data and of training clips."""
    _set_data(keys, draft)
    _set_pixels(keys, draft)
    pipeline = _pipeline(keys, "train_dataloader")
    if not pipeline:
        draft.notes.append("The file has no training pipeline: clips are those of evaluation.")
        pipeline = [step for step in _pipeline(keys, "test_dataloader") if "Crop" not in step["type"]]
    if not pipeline:
        draft.lose("train_pipeline", "there is none; set the keys of clip")
    for step in pipeline:
        if step["type"] in TRAINING:
            _apply(TRAINING, step, draft, "train_pipeline")
        elif step["type"] not in _WITHOUT_EFFECT:
            draft.lose("train_pipeline", f"{step['type']} does not exist here; see augment.target")
    if pipeline and not any(step["type"] == "Flip" for step in pipeline):
        draft.set("clip.flip", value=False, source="no Flip")
    _complete(draft)


def set_evaluation(keys: Keys, draft: Draft) -> None:
    """Set the keys of evaluation."""
    pipeline = _pipeline(keys, "test_dataloader")
    for step in pipeline:
        if step["type"] in TESTING:
            _apply(TESTING, step, draft, "test_pipeline")
        elif step["type"] not in _WITHOUT_EFFECT:
            draft.lose("test_pipeline", f"{step['type']} does not exist here")
    short, crop = draft.values.get("evaluate.scale"), draft.values.get("evaluate.crop")
    if short and crop and crop[0] > short[0]:
        draft.set("evaluate.scale", crop[0], crop[1])
    batch = keys.take("test_dataloader.batch_size", 1)
    if pipeline:
        draft.set("evaluate.batch", batch * _views(draft), "test_dataloader.batch_size x views")


def _apply(handlers: dict[str, _Handler], step: Step, draft: Draft, pipeline: str) -> None:
    """Set the keys of a transform, whose arguments may have any type."""
    try:
        handlers[step["type"]](step, draft)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError):
        arguments = ", ".join(f"{name}={value!r}" for name, value in step.items() if name != "type")
        draft.lose(pipeline, f"{step['type']} does not take {arguments}")


def _views(draft: Draft) -> int:
    clips, crops = draft.values.get("evaluate.clips", (1, "")), draft.values.get("evaluate.crops", (1, ""))
    return int(clips[0] * crops[0])


def _pipeline(keys: Keys, loader: str) -> list[Step]:
    """Return the transforms of a data loader."""
    steps = keys.take(f"{loader}.dataset.pipeline", [])
    return [step for step in steps if isinstance(step, dict) and "type" in step]


def unwrap(values: dict[str, Any], draft: Draft) -> None:
    """Replace the wrapped data sets of ``values``, a configuration, by those inside: RepeatDataset, ConcatDataset."""
    for name in {"train_dataloader", "val_dataloader", "test_dataloader"} & values.keys():
        loader = values[name]
        while isinstance(loader, dict) and isinstance(loader.get("dataset"), dict):
            outer = loader["dataset"]
            several = outer.get("datasets")
            if isinstance(several, list) and several and isinstance(several[0], dict):
                draft.lose(f"{name}.dataset.datasets", f"{len(several)} data sets; concatenate their lists into one")
            elif not isinstance(outer.get("dataset"), dict):
                break
            if outer.get("times", 1) != 1:
                draft.lose(f"{name}.dataset.times", f"multiply train.epochs by {outer['times']}")
            loader = loader | {"dataset": several[0] if several else outer["dataset"]}
        values[name] = loader


def _set_data(keys: Keys, draft: Draft) -> None:
    folders = {}
    for loader, name in (("train_dataloader", "train"), ("val_dataloader", "val"), ("test_dataloader", "test")):
        folders[name] = next(iter(keys.below(f"{loader}.dataset.data_prefix.").values()), "")
        file = keys.take(f"{loader}.dataset.ann_file", "")
        if file:  # that of the test data comes last
            draft.set("data.train" if name == "train" else "data.test", file, f"{loader}.dataset.ann_file")
    if folders["train"] or folders["test"]:
        draft.set("data.root", folders["train"] or folders["test"], "data_prefix")
    if folders["train"] and folders["test"] and folders["train"] != folders["test"]:
        draft.lose(
            "test_dataloader.dataset.data_prefix",
            f"data.root is one folder, {folders['train']}, not also {folders['test']}; set data.root to the folder "
            "above both, and write the names of the folders before the paths in the lists",
        )
    draft.set("data.workers", keys.take("train_dataloader.num_workers", 2), "train_dataloader.num_workers")


def _set_pixels(keys: Keys, draft: Draft) -> None:
    prefix = "model.data_preprocessor."
    for name, default in (("mean", [0, 0, 0]), ("std", [255, 255, 255])):
        numbers = keys.take(prefix + name, default)
        draft.set(f"clip.{name}", [round(number / 255, 6) for number in numbers], f"{prefix}{name} / 255")
    for key, value in keys.below(f"{prefix}blending.").items():
        if key == "type" and value == "RandomBatchAugment":
            continue
        steps = value if key == "augments" else [keys.below(f"{prefix}blending.") | {"type": value}]
        for step in steps if key in ("augments", "type") else []:
            _set_mixing(step, draft)
        if key == "probs":
            draft.lose(f"{prefix}blending.probs", "see augment.mix_switch")


def _set_mixing(step: Step, draft: Draft) -> None:
    kinds = {"MixupBlending": "augment.mixup", "CutmixBlending": "augment.cutmix"}
    if step.get("type") in kinds:
        draft.set(kinds[step["type"]], step.get("alpha", 0.2), f"model.data_preprocessor.blending: {step['type']}")
    else:
        draft.lose("model.data_preprocessor.blending", f"{step.get('type')} does not exist here")


def _complete(draft: Draft) -> None:
    """Set what a pipeline implies."""
    if "clip.crop" not in draft.values:
        return
    crop, scale = draft.get("clip.crop"), draft.values.get("clip.scale", ([0, 0], ""))
    if scale[0][0] < crop:
        draft.set("clip.scale", [crop, max(crop, scale[0][1])], scale[1] or "the crop")


def _frames(step: Step, draft: Draft) -> None:
    """Set the sampling of SampleFrames and DenseSampleFrames."""
    length, clips, kind = step.get("clip_len", 1), step.get("num_clips", 1), step["type"]
    if length == 1 and clips > 1:
        draft.set("clip.frames", clips, f"{kind} num_clips")
        draft.set("clip.sampling", "segments", kind)
    else:
        draft.set("clip.frames", length, f"{kind} clip_len")
        draft.set("clip.stride", step.get("frame_interval", 1), f"{kind} frame_interval")
        draft.set("clip.fps", float(step.get("target_fps") or 0), f"{kind} target_fps")
        if clips > 1 and not step.get("test_mode"):
            draft.lose("train_pipeline", f"{kind} takes {clips} clips of a video; see train.clips_per_video")
    loops = step.get("out_of_bound_opt", "loop") == "loop"
    draft.set("clip.short", "loop" if loops else "hold", f"{kind} out_of_bound_opt")
    if step.get("temporal_jitter"):
        draft.lose("train_pipeline", f"{kind} temporal_jitter: the steps between frames are equal here")


def _segments(step: Step, draft: Draft) -> None:
    draft.set("clip.frames", step.get("clip_len", 8), f"{step['type']} clip_len")
    draft.set("clip.sampling", "segments", step["type"])
    draft.set("clip.short", "loop", step["type"])


def _resize(step: Step, draft: Draft) -> None:
    """Set the shorter side of Resize, or the size of a crop after it."""
    scale = step.get("scale", 256)
    sides = [side for side in (scale if isinstance(scale, (list, tuple)) else [scale]) if side > 0]
    if step.get("keep_ratio", True):
        draft.set("clip.scale", [min(sides), min(sides)], "Resize scale")
    else:
        draft.set("clip.crop", sides[0], "Resize scale")


def _random_scale(step: Step, draft: Draft) -> None:
    draft.set("clip.scale", [*step["scale_range"]], "RandomRescale scale_range")


def _random_region(step: Step, draft: Draft) -> None:
    draft.set("clip.area", [*step.get("area_range", (0.08, 1.0))], "RandomResizedCrop area_range")
    draft.set("clip.ratio", [*step.get("aspect_ratio_range", (3 / 4, 4 / 3))], "RandomResizedCrop aspect_ratio_range")


def _random_crop(step: Step, draft: Draft) -> None:
    draft.set("clip.crop", step["size"], "RandomCrop size")


def _multi_scale_crop(step: Step, draft: Draft) -> None:
    """Set the range of sizes whose crops show as much of a frame as those of MultiScaleCrop."""
    size, scales = step.get("input_size", 224), step.get("scales", (1,))
    side = size[0] if isinstance(size, (list, tuple)) else size
    draft.set("clip.crop", side, "MultiScaleCrop input_size")
    draft.set(
        "clip.scale", [round(side / max(scales)), round(side / min(scales))], "MultiScaleCrop input_size / scales"
    )
    draft.lose(
        "train_pipeline",
        f"MultiScaleCrop has the sizes {list(scales)} at fixed places; here sizes between them, at random places",
    )


def _flip(step: Step, draft: Draft) -> None:
    ratio = step.get("flip_ratio", 0.5)
    draft.set("clip.flip", ratio > 0, "Flip flip_ratio")
    if ratio not in (0, 0.5):
        draft.lose("train_pipeline", f"Flip flip_ratio={ratio}: clips are mirrored with probability 1/2")
    if step.get("flip_label_map"):
        draft.lose(
            "train_pipeline",
            "Flip flip_label_map: mirrored clips keep their class; list such classes in augment.no_flip",
        )


def _color(step: Step, draft: Draft) -> None:
    for name, default in (("brightness", 0.5), ("contrast", 0.5), ("saturation", 0.5), ("hue", 0.1)):
        value = step.get(name, default)
        if isinstance(value, (int, float)):
            draft.set(f"augment.color.{name}", value, "ColorJitter")
        else:
            draft.lose("train_pipeline", f"ColorJitter {name}={value}: a range of a color is symmetric here")


def _erase(step: Step, draft: Draft) -> None:
    draft.set("augment.erase", step.get("erase_prob", 0.5), "RandomErasing erase_prob")
    if step.get("mode", "const") != "rand":
        draft.lose("train_pipeline", "RandomErasing mode: augment.erase fills the box with random pixels")


def _pytorchvideo(step: Step, draft: Draft) -> None:
    if step.get("op") != "RandAugment":
        draft.lose("train_pipeline", f"PytorchVideoWrapper {step.get('op')}: see augment")
        return
    draft.set("augment.rand_augment.operations", step.get("num_layers", 2), "RandAugment num_layers")
    draft.set("augment.rand_augment.magnitude", float(step.get("magnitude", 9)), "RandAugment magnitude")


def _test_frames(step: Step, draft: Draft) -> None:
    clips, positions = step.get("num_clips", 1), step.get("num_sample_positions", 10)
    segments = step.get("clip_len", 1) == 1
    count = 1 if segments else clips * (positions if step["type"] == "DenseSampleFrames" else 1)
    draft.set("evaluate.clips", count, f"test_pipeline {step['type']}")
    frames = draft.values.get("clip.frames", (0, ""))[0]
    if segments and clips != frames:
        draft.lose("test_pipeline", f"{step['type']} tests with {clips} frames; a clip has {frames} here")
    if step.get("twice_sample"):
        draft.set("evaluate.clips", 2 * count, f"test_pipeline {step['type']} twice_sample")


def _test_segments(step: Step, draft: Draft) -> None:
    draft.set("evaluate.clips", step.get("num_clips", 1), f"test_pipeline {step['type']}")


def _test_resize(step: Step, draft: Draft) -> None:
    scale = step.get("scale", 256)
    sides = [side for side in (scale if isinstance(scale, (list, tuple)) else [scale]) if side > 0]
    draft.set("evaluate.scale", min(sides), "test_pipeline Resize")


def _test_crop(step: Step, draft: Draft) -> None:
    draft.set("evaluate.crop", step["crop_size"], f"test_pipeline {step['type']}")
    draft.set("evaluate.crops", 1 if step["type"] == "CenterCrop" else 3, f"test_pipeline {step['type']}")
    if step["type"] == "TenCrop":
        draft.lose("test_pipeline", "TenCrop: three crops along the longer side are tested, not mirrored")


TRAINING: dict[str, _Handler] = {
    "CenterCrop": lambda step, draft: draft.set("clip.crop", step["crop_size"], "CenterCrop crop_size"),
    "ColorJitter": _color,
    "DenseSampleFrames": _frames,
    "Flip": _flip,
    "MultiScaleCrop": _multi_scale_crop,
    "PytorchVideoWrapper": _pytorchvideo,
    "RandomCrop": _random_crop,
    "RandomErasing": _erase,
    "RandomRescale": _random_scale,
    "RandomResizedCrop": _random_region,
    "Resize": _resize,
    "SampleFrames": _frames,
    "UniformSample": _segments,
    "UniformSampleFrames": _segments,
}
TESTING: dict[str, _Handler] = {
    "CenterCrop": _test_crop,
    "DenseSampleFrames": _test_frames,
    "Resize": _test_resize,
    "SampleFrames": _test_frames,
    "TenCrop": _test_crop,
    "ThreeCrop": _test_crop,
    "UniformSample": _test_segments,
    "UniformSampleFrames": _test_segments,
}
