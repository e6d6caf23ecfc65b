"""UCF101, HMDB51, Something-Something V2, Moments and Charades: their formats, classes and errors."""

from __future__ import annotations

import json

import pytest

from videopool.data.lists.records import VideoList, read_videos
from videopool.errors import InputError


def labeled(videos: VideoList) -> list[tuple[str, str]]:
    return [(record.id, videos.classes[record.label]) for record in videos.records]


# --- UCF101 --------------------------------------------------------------------------------------------------------

CLASSES = "1 Zoo\r\n2 HandstandPushups\r\n3 Archery\r\n"
PUSHUPS = "HandstandPushups/v_HandStandPushups_g01_c01.avi"  # the spelling of the data set


def test_ucf_lists_count_from_one_and_follow_their_classes(put):
    put("classInd.txt", CLASSES)
    put(PUSHUPS)
    train = read_videos(put("lists/train.txt", f"{PUSHUPS} 2\nZoo/v_Zoo_g01_c02.avi 1\n"), root=put("x").parent)
    assert train.classes == ("Zoo", "HandstandPushups", "Archery")
    assert train.records.label.tolist() == [1, 0]
    test = read_videos(put("lists/test.txt", f"{PUSHUPS}\n"), root=put("x").parent, classes=["a", *train.classes])
    assert labeled(test) == [(PUSHUPS, "HandstandPushups")]
    assert test.records.label.tolist() == [2]


def test_a_ucf_list_that_counts_from_zero_is_a_plain_one(put):
    put(PUSHUPS)
    lines = f"{PUSHUPS} 1\nZoo/v_Zoo_g01_c02.avi 0\n"
    assert read_videos(put("list.txt", lines)).format == "list"  # without classInd.txt a 0 tells
    put("classInd.txt", CLASSES)
    videos = read_videos(put("list.txt", lines))
    assert videos.format == "list"
    assert videos.records.label.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"{PUSHUPS} 2\nZoo/v_Zoo_g01_c01.avi 3\n",
            r"l\.txt:2: class Zoo has the number 3 here, but 1 in classInd",
        ),
        (f"{PUSHUPS} 2\nBall/v_Ball_g01_c01.avi 3\n", r"l\.txt:2: 'Ball' is not a class of classInd\.txt"),
        (f"{PUSHUPS} 2\nmine.avi 3\n", r"l\.txt:2: 'mine\.avi 3' is not 'Class/v_Class_g01_c01\.avi'"),
    ],
)
def test_errors_in_ucf_lists(put, text, message):
    put("classInd.txt", CLASSES)
    with pytest.raises(InputError, match=message):
        read_videos(put("l.txt", text))


@pytest.mark.parametrize("number", ["", " 1"])
def test_ucf_lists_need_their_classes(put, number):
    with pytest.raises(InputError, match=r"l\.txt looks like a list of UCF101, which needs the file classInd\.txt"):
        read_videos(put("l.txt", f"Zoo/v_Zoo_g01_c01.avi{number}\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 Zoo\n3 Archery\n", r"classInd\.txt: no class has the number 2\. Count from 1"),
        ("1 Zoo\n1 Archery\n", r"classInd\.txt: number 1 is 'Zoo' and 'Archery'"),
        ("1 Zoo\n2 Zoo\n", r"classInd\.txt: class 'Zoo' has the numbers 1 and 2"),
        ("Zoo 1\n", r"classInd\.txt: class '1' has the number 'Zoo'"),
        ("", r"classInd\.txt: no class has the number 1"),
    ],
)
def test_errors_in_the_numbers_of_classes(put, text, message):
    put("classInd.txt", text)
    with pytest.raises(InputError, match=message):
        read_videos(put("l.txt", "Zoo/v_Zoo_g01_c01.avi\n"))


# --- HMDB51 --------------------------------------------------------------------------------------------------------

CLIMB, STAIRS = "Up_climb_f_cm_np1_ri_med_{}.avi", "#1_climb_stairs_f_cm_np1_ba_bad_{}.avi"


@pytest.fixture
def splits(put):
    put("splits/climb_test_split1.txt", "".join(f"{CLIMB.format(n)} {n} \n" for n in (0, 1, 2)))
    put("splits/climb_stairs_test_split1.txt", f"\n{STAIRS.format(4)} 2\n{STAIRS.format(5)} 1\n")
    return put(f"videos/climb_stairs/{STAIRS.format(5)}").parents[2]


def test_hmdb_parts(splits):
    train = read_videos("../splits#split1/train", root=splits / "videos")
    assert (train.format, train.classes) == ("hmdb51", ("climb", "climb_stairs"))
    assert labeled(train) == [
        (f"climb/{CLIMB.format(1)}", "climb"),
        (f"climb_stairs/{STAIRS.format(5)}", "climb_stairs"),
    ]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("splits", r"contains split files of HMDB51\. .*splits#split1/train or .*#split1/test, not no part"),
        ("splits#train", r"splits#split1/test, not #train"),
        ("splits#split2/test", r"splits has no file that ends in _test_split2\.txt"),
        ("splits/climb_test_split1.txt", r"splits contains split files .* not climb_test_split1\.txt"),
        (
            "videos#split1/train",
            r"videos: #split1/train selects a part, but .* the format directories has no parts",
        ),
    ],
)
def test_errors_in_hmdb_sources(splits, source, message):
    with pytest.raises(InputError, match=message):
        read_videos(source, root=splits)


def test_a_line_of_hmdb_without_a_part(splits, put):
    put("splits/zoo_test_split1.txt", "a_zoo_f_cm_np1_ri_med_1.avi 1\nb.avi 3\n")
    with pytest.raises(InputError, match=r"zoo_test_split1\.txt:2: 'b\.avi 3' is not '<video> <part>'"):
        read_videos("splits#split1/train", root=splits)


def test_a_plain_list_may_be_named_like_a_split_file(put):
    put("a.mp4")
    assert read_videos(put("mine_test_split1.txt", "a.mp4 1\nb.mp4 0\n")).format == "list"


# --- Something-Something V2 ----------------------------------------------------------------------------------------

LABELS = json.dumps({"Throwing something": "1", "Holding something, something else": "0", "Closing something": "2"})
HELD = {"id": "7", "label": "holding a cup, a hat", "template": "Holding [something], [something else]"}
THROWN = {"id": 8, "label": "throwing a hat", "template": "Throwing [something]", "placeholders": ["a hat"]}


@pytest.mark.parametrize("name", ["labels.json", "something-something-v2-labels.json"])
def test_something_something_templates_are_classes(put, name):
    put(name, LABELS)
    put("videos/7.webm")
    source = put("annotations/list.txt", json.dumps([HELD, THROWN]))  # JSON by its content
    videos = read_videos(source, root=put("videos/x").parent)
    assert videos.format == "something-something-v2"
    assert videos.classes == ("Holding something, something else", "Throwing something", "Closing something")
    assert labeled(videos) == [("7.webm", videos.classes[0]), ("8.webm", videos.classes[1])]
    assert videos.note == "1 of 2 videos have no file"


@pytest.mark.parametrize(
    ("labels", "text", "message"),
    [
        (LABELS, json.dumps({"database": {}}), r"l\.json: expected the JSON of Something-Something V2"),
        (LABELS, json.dumps([HELD])[:-1], r"l\.json is not valid JSON"),
        (
            LABELS,
            json.dumps([{"id": 3, "template": "Losing [it]"}]),
            r"video 3: its template 'Losing it' is not a class",
        ),
        ("[]", json.dumps([HELD]), r"labels\.json must be an object from class names to numbers"),
        ('{"Closing something": "1"}', json.dumps([HELD]), r"labels\.json: no class has the number 0"),
        ("", json.dumps([HELD]), r"labels\.json is not valid JSON"),
    ],
)
def test_errors_in_something_something(put, labels, text, message):
    put("labels.json", labels)
    put("7.webm")
    with pytest.raises(InputError, match=message):
        read_videos(put("l.json", text))


def test_something_something_needs_its_labels(put):
    with pytest.raises(InputError, match=r"needs the file something-something-v2-labels\.json or labels\.json\."):
        read_videos(put("l.json", json.dumps([HELD])))


# --- Moments in Time -----------------------------------------------------------------------------------------------


def test_moments(put, tmp_path):
    put("moments_categories.txt", "clapping,1\nbaking,2\nadult+male+singing,0\n")
    put("validation/baking/yt-a_1.mp4")
    put("lists/validationSet.csv", "baking/yt-a_1.mp4,baking,3,0\nclapping/b.mp4,clapping,4,1\n")
    videos = read_videos("lists/validationSet.csv", root=tmp_path)
    assert (videos.format, videos.classes) == ("moments", ("adult+male+singing", "clapping", "baking"))
    assert labeled(videos) == [("validation/baking/yt-a_1.mp4", "baking"), ("validation/clapping/b.mp4", "clapping")]


def test_moments_without_categories_and_folder(put):
    put("clapping/b.mp4")
    videos = read_videos(put("trainingSet.csv", "clapping/b.mp4,clapping,4,1\nbaking/a.mp4,baking,3,0\n"))
    assert videos.classes == ("baking", "clapping")
    assert videos.records[0].id == "clapping/b.mp4"
    with pytest.raises(InputError, match=r"m\.csv:2: 'a\.mp4,x' is not 'path,label,votes,votes'"):
        read_videos(put("m.csv", "clapping/b.mp4,clapping,4,1\na.mp4,x\n"))


# --- Charades ------------------------------------------------------------------------------------------------------

CHARADES = "id,subject,script,actions,length\n"
ACTIONS = "c000 Holding some clothes\nc001 Putting clothes somewhere\nc002 Taking clothes\n"


def test_charades_gives_a_video_several_classes_or_none(put):
    put("Charades_v1_classes.txt", ACTIONS)
    put("videos/46GP8.mp4")
    rows = '46GP8,ann,"cooks, and\neats",c002 11.90 21.20;c000 0.00 12.60;c002 1 2,24.83\nN11GT,bob,sits,,10\n'
    videos = read_videos(put("train.csv", CHARADES + rows))
    assert videos.format == "charades"
    assert videos.several_labels
    assert videos.classes == ("Holding some clothes", "Putting clothes somewhere", "Taking clothes")
    both, none = videos.records
    assert (both.id, both.label, both.labels, both.end_seconds) == ("videos/46GP8.mp4", 0, (0, 2), None)
    assert (none.id, none.label, none.labels) == ("N11GT.mp4", -1, ())
    other = read_videos(put("train.csv", CHARADES + rows), classes=["Taking clothes", "Holding some clothes"])
    assert other.records[0].labels == (0, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CHARADES + "46GP8,ann,x,c157 1 2,3\n", r"l\.csv:2: action 'c157' is not a class of Charades_v1_classes\.txt"),
        (CHARADES + ",ann,x,c000 1 2,3\n", r"l\.csv:2: column id is empty"),
        (CHARADES.replace("id,", "") + "ann,x,c000 1 2,3\n", r"a list of Charades needs a column id"),
        (CHARADES.replace("actions,", "") + "46GP8,ann,x,3\n", r"a list of Charades needs a column actions"),
    ],
)
def test_errors_in_charades(put, text, message):
    put("Charades_v1_classes.txt", ACTIONS)
    with pytest.raises(InputError, match=message):
        read_videos(put("l.csv", text))


def test_charades_needs_its_classes(put):
    with pytest.raises(InputError, match=r"needs the file Charades_v1_classes\.txt\. Put it into"):
        read_videos(put("l.csv", CHARADES + "46GP8,ann,x,c000 1 2,3\n"))
