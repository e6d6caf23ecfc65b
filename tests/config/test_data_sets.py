"""The lists of every data set that has recipes are found under the names of its recipes, and classes are in order."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.model_costs import CLASSES, recipes, soft_form
from videopool.config import load
from videopool.engine.builders.parts import read_list

Files = dict[str, str]  # by path: the lists; videos are empty files


def kinetics() -> Files:
    row = "{},{},1,11,{},0\n"
    head = "label,youtube_id,time_start,time_end,split,is_cc\n"
    train = row.format("abseiling", "a" * 11, "train") + row.format("zumba", "b" * 11, "train")
    return {
        "train.csv": head + train,
        "val.csv": head + row.format("zumba", "c" * 11, "val"),
        **{
            f"{name}/{letter * 11}_000001_000011.mp4": ""
            for name, letter in (("train", "a"), ("train", "b"), ("val", "c"))
        },
    }


def hacs() -> Files:
    head = "classname,youtube_id,subset,start,end,label\n"
    rows = [("Archery", "a", "training"), ("Zumba", "b", "training"), ("Zumba", "c", "validation")]
    text = head + "".join(f"{name},{letter * 11},{subset},1.5,3.5,1\n" for name, letter, subset in rows)
    return {"HACS_clips_v1.1.1.csv": text, **{f"v_{letter * 11}.mp4": "" for letter in "abc"}}


def moments() -> Files:
    return {
        "moments_categories.txt": "zooming,0\nbaking,1\n",
        "trainingSet.csv": "baking/a.mp4,baking,3,0\nzooming/b.mp4,zooming,3,0\n",
        "validationSet.csv": "baking/c.mp4,baking,3,0\n",
        "training/baking/a.mp4": "",
        "training/zooming/b.mp4": "",
        "validation/baking/c.mp4": "",
    }


def ssv2() -> Files:
    def entries(*pairs: tuple[str, str]) -> str:
        return json.dumps([{"id": number, "label": "", "template": name, "placeholders": []} for number, name in pairs])

    return {
        "something-something-v2-labels.json": json.dumps({"Zipping something": "0", "Holding something": "1"}),
        "something-something-v2-train.json": entries(("1", "Holding [something]"), ("2", "Zipping [something]")),
        "something-something-v2-validation.json": entries(("3", "Zipping [something]")),
        **{f"{number}.webm": "" for number in (1, 2, 3)},
    }


def charades() -> Files:
    head = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\n"
    row = "{},S,Kitchen,6,7,Yes,A person.,food,Cooking.,{},24.83\n"
    return {
        "Charades_v1_classes.txt": "c000 Holding some clothes\nc001 Putting clothes somewhere\n",
        "Charades_v1_train.csv": head + row.format("AAAA1", "c001 1 2;c000 0 2") + row.format("BBBB2", ""),
        "Charades_v1_test.csv": head + row.format("CCCC3", "c001 1 2"),
        **{f"{name}.mp4": "" for name in ("AAAA1", "BBBB2", "CCCC3")},
    }


def diving48() -> Files:
    def entries(*pairs: tuple[str, int]) -> str:
        return json.dumps(
            [{"vid_name": name, "label": label, "start_frame": 0, "end_frame": 9} for name, label in pairs]
        )

    return {
        "Diving48_vocab.json": json.dumps([["Back", "15som"], ["Forward", "25som"]]),
        "Diving48_V2_train.json": entries(("x_00000", 1), ("x_00001", 0)),
        "Diving48_V2_test.json": entries(("x_00002", 1)),
        **{f"x_0000{number}.mp4": "" for number in range(3)},
    }


def ucf101() -> Files:
    videos = [f"{name}/v_{name}_g0{group}_c01.avi" for name, group in (("Zoo", 1), ("Archery", 2), ("Zoo", 3))]
    return {
        "classInd.txt": "1 Zoo\n2 Archery\n",
        "trainlist01.txt": f"{videos[0]} 1\n{videos[1]} 2\n",
        "testlist01.txt": f"{videos[2]}\n",
        **dict.fromkeys(videos, ""),
    }


def hmdb51() -> Files:
    videos = {"wave": ("a.avi 1", "b.avi 2"), "brush_hair": ("c.avi 1", "d.avi 0")}
    files = {f"../splits/{name}_test_split1.txt": "\n".join(lines) for name, lines in videos.items()}
    return files | {f"{name}/{line[:5]}": "" for name, lines in videos.items() for line in lines}


def own() -> Files:
    return {"train/wave/a.mp4": "", "train/jump/b.mp4": "", "test/wave/c.mp4": ""}


# The files of a data set, its classes in order, and the labels of its training and test lists.
DATA_SETS: dict[str, tuple[Callable[[], Files], tuple[str, ...], list[int], list[int]]] = {
    "kinetics400": (kinetics, ("abseiling", "zumba"), [0, 1], [1]),
    "kinetics600": (kinetics, ("abseiling", "zumba"), [0, 1], [1]),
    "kinetics700": (kinetics, ("abseiling", "zumba"), [0, 1], [1]),
    "hacs": (hacs, ("Archery", "Zumba"), [0, 1], [1]),
    "moments": (moments, ("zooming", "baking"), [1, 0], [1]),
    "ssv2": (ssv2, ("Zipping something", "Holding something"), [1, 0], [0]),
    "charades": (charades, ("Holding some clothes", "Putting clothes somewhere"), [], []),
    "diving48": (diving48, ("Back 15som", "Forward 25som"), [1, 0], [1]),
    "ucf101": (ucf101, ("Zoo", "Archery"), [0, 1], [0]),
    "hmdb51": (hmdb51, ("brush_hair", "wave"), [0, 1], [1]),
    "finetune": (own, ("jump", "wave"), [0, 1], [1]),
}


def test_every_data_set_is_here() -> None:
    assert list(DATA_SETS) == list(CLASSES)


@pytest.mark.slow
@pytest.mark.parametrize("folder", DATA_SETS)
def test_lists_of_the_recipes_are_found(folder: str, tmp_path: Path) -> None:
    files, classes, train, test = DATA_SETS[folder]
    root = tmp_path / "root"
    for name, text in files().items():
        path = (root / name).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    names = [each for recipe in recipes() for each in (recipe, soft_form(recipe)) if recipe.startswith(f"{folder}/")]
    sources = {(load(name).data.train, load(name).data.test) for name in names if name}
    assert len(sources) == 1  # all recipes of a data set read the same lists
    config = load(names[0], [f"data.root={root}"])
    videos = read_list(config, config.data.train, None)
    tests = read_list(config, config.data.test, videos.classes)
    assert videos.classes == classes
    assert all(Path(record.path).is_file() for each in (videos, tests) for record in each.records)
    if videos.several_labels:
        assert folder == "charades"
        assert [record.labels for record in videos.records] == [(0, 1), ()]
        assert config.optim.loss == "bce"
    else:
        assert sorted(record.label for record in videos.records) == sorted(train)
        assert [record.label for record in tests.records] == test
