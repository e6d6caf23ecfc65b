"""The order of an epoch and the share of each process, for data sets, batches and process counts of any size."""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videopool.data.loading.dataset import TrainClips
from videopool.data.loading.loader import TrainLoader
from videopool.data.order import (
    Order,
    balanced_order,
    choose_order,
    epoch_clips,
    read_video_weights,
    uniform_order,
    weighted_order,
)
from videopool.data.sampling import ClipSampling
from videopool.data.steps import Steps
from videopool.errors import InputError
from videopool.types import Clip, VideoRecord

SAMPLING = ClipSampling(frames=1, stride=1, scale=(8, 8), crop=8, test_scale=8, test_crop=8)
KINDS = ("uniform", "balanced", "weighted")

kinds = st.sampled_from(KINDS)
sizes = st.integers(1, 60)
small = st.integers(0, 5)
label_lists = st.lists(st.integers(0, 6), min_size=1, max_size=80).map(np.array)
weight_lists = st.lists(st.floats(0.01, 100), min_size=1, max_size=80).map(np.array)


def order_of(kind: str, videos: int) -> Order:
    """Return an order of ``videos`` videos, whose labels and weights are derived from their number."""
    if kind == "balanced":
        return functools.partial(balanced_order, labels=np.random.default_rng(videos).integers(0, 5, videos))
    if kind == "weighted":
        return functools.partial(weighted_order, weights=np.random.default_rng(videos).uniform(0.1, 5, videos))
    return functools.partial(uniform_order, videos=videos)


def steps_of(*, videos: int, batch: int, seed: int, epoch: int, order: Order, clips_per_video: int) -> np.ndarray:
    """Return the indices of each step of an epoch: int64 [steps, batch]."""
    steps = Steps(clips=videos * clips_per_video, batch=batch).count(epoch)
    chosen = {"seed": seed, "epoch": epoch, "order": order, "clips_per_video": clips_per_video}
    return epoch_clips(videos=videos, clips=steps * batch, **chosen).reshape(steps, batch)


# --- sharing -------------------------------------------------------------------------------------------------------


@given(kinds, sizes, st.integers(1, 20), st.integers(1, 3), small, small)
def test_an_epoch_is_the_order_with_several_clips_of_a_video(kind, videos, units, clips, seed, epoch):
    order, batch = order_of(kind, videos), units * clips
    keys = steps_of(videos=videos, batch=batch, seed=seed, epoch=epoch, order=order, clips_per_video=clips)
    assert keys.shape == (max(1, videos * clips // batch), batch)
    assert len(np.unique(keys)) == keys.size  # no index twice
    drawn = order(draws=len(keys) * units, seed=seed, epoch=epoch)
    np.testing.assert_array_equal(keys.ravel()[::clips] % videos, drawn)


@given(kinds, sizes, st.integers(1, 12), st.integers(1, 3), small)
def test_indices_count_the_draws_of_a_video(kind, videos, units, clips, epoch):
    keys = steps_of(
        videos=videos, batch=units * clips, seed=0, epoch=epoch, order=order_of(kind, videos), clips_per_video=clips
    ).ravel()
    came: Counter[int] = Counter()
    for index in keys.tolist():
        video = index % videos
        assert index // videos == came[video]
        came[video] += 1


@given(kinds, st.integers(1, 20), st.integers(1, 4), st.integers(2, 4), small)
def test_clips_of_a_video_are_consecutive(kind, videos, units, clips, seed):
    keys = steps_of(
        videos=videos, batch=units * clips, seed=seed, epoch=1, order=order_of(kind, videos), clips_per_video=clips
    )
    groups = keys.reshape(len(keys), units, clips)
    assert (groups % videos == groups[..., :1] % videos).all()
    assert (np.diff(groups, axis=2) == videos).all()


@pytest.mark.parametrize("kind", KINDS)
def test_every_epoch_and_seed_has_its_own_order(kind):
    order = order_of(kind, 50)
    orders = [tuple(order(draws=50, seed=seed, epoch=epoch)) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(orders)) == 4
    assert tuple(order(draws=50, seed=1, epoch=0)) == orders[2]


class Numbered(TrainClips):
    """Clips that contain (epoch, index) in place of a video."""

    def __getitem__(self, key: tuple[int, int]) -> Clip:
        frames = torch.tensor(key, dtype=torch.uint8).view(1, 2, 1, 1)
        return Clip(frames, 0, key[1] % len(self), 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("clips", [1, 2])
def test_an_epoch_resumes_at_any_step(kind, clips):
    dataset = Numbered([VideoRecord("a", Path("a"), 0)] * 11, SAMPLING, seed=4)
    loader = TrainLoader(dataset, batch=4, seed=4, workers=0, order=order_of(kind, 11), clips_per_video=clips)
    whole = [batch.clips for batch in loader.batches(3)]
    assert len(whole) == loader.steps_per_epoch == 11 * clips // 4
    for start in range(len(whole) + 1):
        rest = [batch.clips for batch in loader.batches(3, start=start)]
        assert len(rest) == len(whole) - start
        assert all(map(torch.equal, rest, whole[start:]))
    assert {int(clip[0, 0, 0, 0]) for batch in whole for clip in batch} == {3}


def test_clips_per_video_divide_the_batch():
    dataset = Numbered([VideoRecord("a", Path("a"), 0)], SAMPLING, seed=0)
    for clips, expected in ((0, "must be 1 or more"), (3, "must divide batch=4")):
        with pytest.raises(InputError, match=f"clips_per_video={clips} {expected}"):
            TrainLoader(dataset, batch=4, seed=0, clips_per_video=clips)


# --- uniform -------------------------------------------------------------------------------------------------------


@given(sizes, st.integers(1, 100), small, small)
def test_uniform_draws_every_video_before_any_repeats(videos, draws, seed, epoch):
    drawn = uniform_order(videos=videos, draws=draws, seed=seed, epoch=epoch)
    assert len(drawn) == draws
    assert np.ptp(np.bincount(drawn, minlength=videos)) <= 1
    # Checkpoints of earlier versions rely on these numbers.
    permutation = np.random.default_rng((0x0DE2, seed, epoch)).permutation(videos)
    assert drawn.tolist() == [permutation[i % videos] for i in range(draws)]


# --- balanced ------------------------------------------------------------------------------------------------------


@given(label_lists, st.integers(1, 200), small, small)
def test_balanced_classes_differ_by_one_at_most(labels, draws, seed, epoch):
    drawn = balanced_order(labels=labels, draws=draws, seed=seed, epoch=epoch)
    assert drawn.shape == (draws,)
    _, counts = np.unique(labels[drawn], return_counts=True)
    classes = len(np.unique(labels))
    assert set(counts) <= {draws // classes, -(-draws // classes)}
    assert len(counts) == min(classes, draws)
    for round_of in range(0, draws, classes):  # each class at most once in a round
        there = labels[drawn[round_of : round_of + classes]]
        assert len(set(there)) == len(there)


@given(label_lists, st.integers(1, 10), small)
def test_balanced_uses_all_videos_of_a_class_across_epochs(labels, rounds, seed):
    draws = rounds * len(np.unique(labels))
    came = np.zeros(len(labels), dtype=int)
    for epoch in range(5):
        for video in balanced_order(labels=labels, draws=draws, seed=seed, epoch=epoch):
            came[video] += 1
            assert came[video] <= came[labels == labels[video]].min() + 1  # all videos of its class before it repeats


def test_balanced_draws_look_random():
    labels = np.array([0] * 6 + [1] * 2)
    firsts = [balanced_order(labels=labels, draws=8, seed=seed, epoch=0) for seed in range(1200)]
    large = np.bincount([order[labels[order] == 0][0] for order in firsts], minlength=6)
    assert ((large - 200) ** 2 / 200).sum() < 20.5  # chi squared, 5 degrees of freedom, p = 0.001
    turns = {tuple(labels[balanced_order(labels=labels, draws=8, seed=0, epoch=epoch)]) for epoch in range(20)}
    assert len(turns) > 10  # of 16 possible orders of four rounds of two classes
    assert 520 < sum(labels[order[0]] for order in firsts) < 680  # which class is first: 600 +- 4.6 standard deviations


# --- weighted ------------------------------------------------------------------------------------------------------


@given(weight_lists, st.integers(1, 200), small, small)
def test_weighted_counts_are_expected_counts_rounded_up_or_down(weights, draws, seed, epoch):
    drawn = weighted_order(weights=weights, draws=draws, seed=seed, epoch=epoch)
    assert len(drawn) == draws
    due = draws * weights / weights.sum()
    counts = np.bincount(drawn, minlength=len(weights))
    assert (counts >= np.floor(due - 1e-9)).all()
    assert (counts <= np.ceil(due + 1e-9)).all()


def test_weighted_counts_are_right_on_average_and_in_random_order():
    weights, epochs = np.array([1.0, 2.0, 3.0, 0.5, 5.0, 0.1]), 3000
    drawn = np.stack([weighted_order(weights=weights, draws=6, seed=0, epoch=epoch) for epoch in range(epochs)])
    due = 6 * weights / weights.sum()
    found = np.stack([np.bincount(row, minlength=6) for row in drawn]).mean(0)
    part = due % 1
    assert (np.abs(found - due) < 4.5 * np.sqrt(part * (1 - part) / epochs) + 1e-9).all()
    where = np.array([np.flatnonzero(row == 4).mean() for row in drawn])  # drawn two or three times, anywhere
    assert where.mean() == pytest.approx(2.5, abs=4.5 * where.std() / np.sqrt(epochs))


def test_weighted_videos_are_drawn_next_to_any_others():
    weights = np.array([1.0, 1.0, 4.0])
    orders = [tuple(weighted_order(weights=weights, draws=3, seed=0, epoch=epoch)) for epoch in range(300)]
    assert {(2, 0, 2), (2, 1, 2), (0, 2, 2), (2, 2, 1)} <= set(orders)  # not only next to each other
    pairs = [set(weighted_order(weights=np.ones(4), draws=2, seed=0, epoch=epoch)) for epoch in range(300)]
    assert {frozenset(pair) for pair in pairs} == {frozenset((i, j)) for i in range(4) for j in range(i)}


def test_equal_weights_draw_every_video_once():
    drawn = weighted_order(weights=np.full(40, 0.3), draws=40, seed=1, epoch=1)
    assert sorted(drawn) == list(range(40))


def test_the_order_of_a_sampler(tmp_path):
    path, labels = tmp_path / "weights.txt", np.array([0, 0, 0, 1])
    path.write_text("1\n1\n1\n5\n")
    orders = {
        "uniform": uniform_order(videos=4, draws=8, seed=1, epoch=2),
        "balanced": balanced_order(labels=labels, draws=8, seed=1, epoch=2),
        "weighted": weighted_order(weights=np.array([1.0, 1, 1, 5]), draws=8, seed=1, epoch=2),
    }
    for sampler, expected in orders.items():
        order = choose_order(sampler, labels=labels, weights=path, several_labels=sampler == "weighted")
        np.testing.assert_array_equal(order(draws=8, seed=1, epoch=2), expected)
    with pytest.raises(InputError, match=r"sampler=balanced .* several classes each"):
        choose_order("balanced", labels=labels, weights=path, several_labels=True)


def test_weights_are_read_one_per_line(tmp_path):
    path = tmp_path / "weights.txt"
    path.write_text("1\n0.5\n 2e1 \n\n")
    assert read_video_weights(path, 3).tolist() == [1.0, 0.5, 20.0]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1\n2\n", r"has 2 lines for 3 videos"),
        ("1\n2\n3\n4\n", r"has 4 lines for 3 videos"),
        ("1\nx\n3\n", r"weights\.txt:2: 'x' must be a number above 0\. To exclude a video, remove it"),
        ("1\n2\n0\n", r"weights\.txt:3: '0' must be"),
        ("-1\n2\n3\n", r"weights\.txt:1: '-1' must be"),
        ("1\nnan\n3\n", r"weights\.txt:2: 'nan' must be"),
        ("1\ninf\n3\n", r"weights\.txt:2: 'inf' must be"),
        ("1\n\n3\n", r"weights\.txt:2: '' must be"),
        (None, r"weights\.txt cannot be read .*\. Give a text file"),
    ],
)
def test_errors_in_weights(tmp_path, text, sentence):
    path = tmp_path / "weights.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=sentence) as error:
        read_video_weights(path, 3)
    assert error.value.setting == "weights"
