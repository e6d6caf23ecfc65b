"""Jester, Something-Something V1, Diving48, EPIC-Kitchens, ActivityNet and 3D-ResNets: their formats and errors."""

from __future__ import annotations

import json

import pytest

from videopool.data.lists.records import VideoList, read_videos
from videopool.errors import InputError


def labeled(videos: VideoList) -> list[tuple[str, str]]:
    return [(record.id, videos.classes[record.label]) for record in videos.records]


# --- Jester and Something-Something V1 -----------------------------------------------------------------------------

GESTURES = "Swiping Left\nDrumming Fingers\nNo gesture\n"
TEMPLATES = "Holding something\nPutting something, something else and something on the table\n"


@pytest.mark.parametrize(
    ("name", "classes", "text", "form"),
    [
        ("jester-v1-labels.csv", GESTURES, "34870;Drumming Fingers\n56557;No gesture\n", "jester"),
        (
            "something-something-v1-labels.csv",
            TEMPLATES,
            "100218;Holding something\n24413;Putting something, something else and something on the table\n",
            "something-something-v1",
        ),
    ],
)
def test_ids_and_classes_with_semicolons(put, name, classes, text, form):
    put(name, classes)
    first, second = (line.split(";")[0] for line in text.splitlines())
    put(f"20bn/{first}/00001.jpg")
    put(f"{second}.webm")
    videos = read_videos(put("train.csv", text))
    assert videos.format == form
    assert videos.classes == tuple(classes.splitlines())
    names = [line.split(";")[1] for line in text.splitlines()]
    assert labeled(videos) == [(f"20bn/{first}", names[0]), (f"{second}.webm", names[1])]
    assert [record.frames for record in videos.records] == [0, None]
    assert videos.note == ""


@pytest.mark.parametrize("text", ["34870\n56557\n", "34870;\n56557;\n"])
def test_the_test_list_of_jester_has_no_labels(put, text):
    put("annotations/jester-v1-labels.csv", GESTURES)
    put("34870/00001.jpg")
    videos = read_videos(put("annotations/jester-v1-test.csv", text), root=put("x").parent)
    assert (videos.format, videos.unlabeled) == ("jester", True)
    assert [record.id for record in videos.records] == ["34870", "56557.webm"]
    assert videos.note == "1 of 2 videos have no file; the list has no labels"


def test_jester_uses_all_frames_of_a_folder(put, tmp_path):
    from PIL import Image

    from videopool.data.decoding.decode import open_video

    put("jester-v1-labels.csv", GESTURES)
    put("5/x")
    for number in range(1, 8):
        Image.new("RGB", (16, 12), (30 * number, 0, 0)).save(tmp_path / f"5/{number:05d}.jpg")
    (record,) = read_videos(put("l.csv", "5;No gesture\n")).records
    with open_video(record, folder_fps=12.0) as video:
        assert (video.timing.frames, video.timing.fps) == (7, 12.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1;Waving\n", r"l\.csv:1: 'Waving' is not a class of jester-v1-labels\.csv\. Correct one of the two"),
        ("1;No gesture\nx;No gesture\n", r"l\.csv:2: 'x;No gesture' is not 'id;class' like the first line"),
        ("1;No gesture\n2\n", r"l\.csv:2: '2\.webm' has no label, but .*l\.csv:1 has one"),
    ],
)
def test_errors_in_jester(put, text, message):
    put("jester-v1-labels.csv", GESTURES)
    put("1.mp4")
    with pytest.raises(InputError, match=message):
        read_videos(put("l.csv", text))


def test_ids_and_classes_need_a_file_of_classes(put):
    put("1.mp4")
    with pytest.raises(
        InputError, match=r"l\.csv looks like a list of Jester or .* needs the file jester-v1-labels\.csv or some"
    ):
        read_videos(put("l.csv", "1;No gesture\n"))
    assert read_videos(put("l.csv", "1;0\n")).format == "list"


# --- Diving48 ------------------------------------------------------------------------------------------------------

DIVES = [
    {"vid_name": "_8Vy3dlHg2w_00000", "label": 2, "start_frame": 3000, "end_frame": 3155},
    {"vid_name": "_8Vy3dlHg2w_00001", "label": 0, "start_frame": 0, "end_frame": 150},
]
VOCABULARY = [
    ["Back", "15som", "05Twis", "FREE"],
    ["Back", "15som", "15Twis", "FREE"],
    ["Forward", "Dive", "NoTwis", "PIKE"],
]


def test_diving48_uses_whole_files(put):
    put("rgb/_8Vy3dlHg2w_00000.mp4")
    source = put("Diving48_V2_train.json", json.dumps(DIVES))
    numbered = read_videos(source)
    assert (numbered.format, numbered.classes) == ("diving48", ("0", "1", "2"))
    put("Diving48_vocab.json", json.dumps(VOCABULARY))
    videos = read_videos(source)
    assert videos.classes == ("Back 15som 05Twis FREE", "Back 15som 15Twis FREE", "Forward Dive NoTwis PIKE")
    assert labeled(videos) == [
        ("rgb/_8Vy3dlHg2w_00000.mp4", "Forward Dive NoTwis PIKE"),
        ("_8Vy3dlHg2w_00001.mp4", "Back 15som 05Twis FREE"),
    ]
    assert not {"start", "end", "start_frame", "end_frame"} & videos.records.columns.keys()


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([{"vid_name": "a", "label": 3}], r"video a: Diving48_vocab\.json has 3 classes, and no number 3"),
        (
            [{"vid_name": "a", "label": "dive"}],
            r"video a needs vid_name and a label that counts from 0; its label is 'dive'",
        ),
        ([{"vid_name": "a"}], r"video a needs vid_name and a label that counts from 0; its label is ''"),
    ],
)
def test_errors_in_diving48(put, items, message):
    put("Diving48_vocab.json", json.dumps(VOCABULARY))
    with pytest.raises(InputError, match=message):
        read_videos(put("l.json", json.dumps(items)))


# --- EPIC-Kitchens -------------------------------------------------------------------------------------------------

TIMES = "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame"
EPIC = f"{TIMES},narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes\n"
ROWS = (
    "P01_01_0,P01,P01_01,00:00:01.089,00:00:00.14,00:00:03.37,8,202,open door,open,1,door,2,['door'],[2]\n"
    "P01_01_1,P01,P01_01,00:01:01.089,01:01:00,01:01:03.5,9,203,take cup,take,0,cup,0,\"['cup', 'tea']\",\"[0, 1]\"\n"
    "P02_03_0,P02,P02_03,00:01:01.089,1,2,9,203,take cup,take,0,cup,0,['cup'],[0]\n"
)


def test_epic_kitchens_verbs_and_nouns(put, tmp_path):
    put("EPIC-KITCHENS/P01/videos/P01_01.MP4")
    source = put("annotations/EPIC_100_train.csv", EPIC + ROWS)
    verbs = read_videos(f"{source}#verb", root=tmp_path / "EPIC-KITCHENS")
    assert (verbs.format, verbs.classes) == ("epic-kitchens", ("0", "1"))
    put(
        "annotations/EPIC_100_noun_classes.csv",
        "id,key,instances,category\n0,cup,\"['cup']\",c\n1,tea,[],d\n2,door,[],f\n",
    )
    nouns = read_videos(f"{source}#noun", root=tmp_path / "EPIC-KITCHENS")
    assert nouns.classes == ("cup", "tea", "door")
    assert [nouns.classes[label] for label in nouns.records.label] == ["door", "cup", "cup"]
    assert [(one.path.name, one.start_seconds, one.end_seconds) for one in nouns.records] == [
        ("P01_01.MP4", 0.14, 3.37),
        ("P01_01.MP4", 3660.0, 3663.5),
        ("P02_03.MP4", 1.0, 2.0),
    ]
    assert "start_frame" not in nouns.records.columns  # of the published images
    assert nouns.note == "1 of 3 videos have no file"


def test_the_test_table_of_epic_kitchens_has_no_labels(put):
    put("P01_01.MP4")
    row = "P01_01_0,P01,P01_01,00:00:01.089,00:00:00.14,00:00:03.37,8,202\n"
    videos = read_videos(put("EPIC_100_test_timestamps.csv", f"{TIMES}\n{row}"))
    assert videos.unlabeled
    assert videos.records[0].id == "P01_01.MP4@0.14-3.37"


@pytest.mark.parametrize(
    ("part", "text", "message"),
    [
        ("", EPIC + ROWS, r"l\.csv: actions have a verb and a noun\. Select .*l\.csv#verb or .*l\.csv#noun"),
        ("#action", EPIC + ROWS, r"actions have a verb and a noun\. Select"),
        ("#verb", EPIC + ROWS.replace("open,1", "open,x"), r"l\.csv:2: verb_class='x' must be a class number below 2"),
        (
            "#verb",
            EPIC + ROWS.replace("open,1", "open,97"),
            r"l\.csv:2: verb_class='97' must be a class number below 2",
        ),
        ("#verb", EPIC + ROWS.replace("00:00:00.14", ""), r"l\.csv:2: column start_timestamp is empty"),
        (
            "#verb",
            EPIC + ROWS.replace("00:00:00.14", "soon"),
            r"l\.csv:2: start_timestamp='soon' must be a time",
        ),
        (
            "#verb",
            EPIC.replace("stop_timestamp,", "") + "a\n",
            r"EPIC-KITCHENS needs a column stop_timestamp",
        ),
        ("#verb", f"{TIMES}\na\n", r"l\.csv:1: the header has no column verb_class\. Leave out #verb"),
    ],
)
def test_errors_in_epic_kitchens(put, part, text, message):
    put("P01_01.MP4")
    put("EPIC_100_verb_classes.csv", "id,key\n0,take\n1,open\n")
    with pytest.raises(InputError, match=message):
        read_videos(f"{put('l.csv', text)}{part}")


# --- ActivityNet ---------------------------------------------------------------------------------------------------

ACTIVITIES = {
    "version": "VERSION 1.3",
    "taxonomy": [{"nodeName": "Root"}],
    "database": {
        "aaaaaaaaaaa": {
            "subset": "training",
            "duration": 82.7,
            "annotations": [
                {"segment": [0.01, 24.5], "label": "Mowing the lawn"},
                {"segment": [30, 60.25], "label": "Archery"},
                {"segment": [70.0, 70.0], "label": "Archery"},
            ],
        },
        "bbbbbbbbbbb": {"subset": "training", "annotations": []},
        "ccccccccccc": {"subset": "validation", "annotations": [{"segment": [1, 2], "label": "Archery"}]},
        "ddddddddddd": {"subset": "testing", "annotations": []},
        "eeeeeeeeeee": {"subset": "testing", "annotations": []},
    },
}


def test_activitynet_annotations_are_entries(put, tmp_path):
    put("videos/v_aaaaaaaaaaa.mp4")
    put("ddddddddddd.mkv")
    put("activity_net.v1-3.min.json", json.dumps(ACTIVITIES))
    videos = read_videos("activity_net.v1-3.min.json#training", root=tmp_path)
    assert (videos.format, videos.classes) == ("activitynet", ("Archery", "Mowing the lawn"))
    assert labeled(videos) == [
        ("videos/v_aaaaaaaaaaa.mp4@0.01-24.5", "Mowing the lawn"),
        ("videos/v_aaaaaaaaaaa.mp4@30-60.25", "Archery"),
    ]
    assert videos.note == "1 video without annotations left out; 1 annotation with an empty span left out"
    tests = read_videos("activity_net.v1-3.min.json#testing", root=tmp_path, classes=videos.classes)
    assert tests.unlabeled
    assert [record.id for record in tests.records] == ["ddddddddddd.mkv", "v_eeeeeeeeeee.mp4"]


def one_activity(**video: object) -> str:
    return json.dumps({"database": {"a": {"subset": "training", **video}}})


@pytest.mark.parametrize(
    ("source", "text", "message"),
    [
        (
            "l.json",
            json.dumps(ACTIVITIES),
            r"l\.json has the subsets training, validation, testing\. Select one, such as .*#tra",
        ),
        (
            "l.json#train",
            json.dumps(ACTIVITIES),
            r"l\.json has no subset 'train'\. Select one of training, valid",
        ),
        ("l.json", one_activity(annotations=[{"label": "x"}]), r"video a: expected annotations with label and segment"),
        (
            "l.json",
            one_activity(annotations=[{"label": "x", "segment": [-1, "2"]}]),
            r"video a: segment \[-1, '2'\] must have a start and an end of 0 or more seconds",
        ),
        ("l.json", '{"database": {"a": []}}', r"video a must be an object with subset and annotations"),
        (
            "l.json",
            '{"database": {}}',
            r"l\.json: expected the JSON of Something-Something V2 .*, but found an object with data",
        ),
    ],
)
def test_errors_in_activitynet(put, tmp_path, source, text, message):
    put("v_a.mp4")
    put("l.json", text)
    with pytest.raises(InputError, match=message):
        read_videos(source, root=tmp_path)


# --- 3D-ResNets ----------------------------------------------------------------------------------------------------

RESNETS = {
    "labels": ["yoga", "abseiling"],
    "database": {
        "a_000001_000011": {"subset": "training", "annotations": {"label": "abseiling", "segment": [1, 251]}},
        "b_000001_000011": {"subset": "training", "annotations": {"label": "yoga", "segment": [31, 61]}},
        "c_000001_000011": {"subset": "training", "annotations": {"label": "yoga", "segment": [1, 1]}},
        "d_000001_000011": {"subset": "testing", "annotations": {"segment": [1, 100]}},
    },
}


def test_3d_resnets_segments_are_frames_from_one(put, tmp_path):
    put("jpg/abseiling/a_000001_000011/image_00001.jpg")
    put("jpg/yoga/b_000001_000011.mp4")
    put("kinetics.json", json.dumps(RESNETS))
    videos = read_videos("../kinetics.json#training", root=tmp_path / "jpg")
    assert (videos.format, videos.classes) == ("3d-resnets", ("yoga", "abseiling"))
    assert [(one.path, one.label, one.frames, one.start_frame, one.end_frame) for one in videos.records] == [
        (tmp_path / "jpg/abseiling/a_000001_000011", 1, 0, 0, 250),
        (tmp_path / "jpg/yoga/b_000001_000011.mp4", 0, None, 30, 60),
    ]
    assert videos.note == "1 video without frames (segment [1, 1]) left out"


def test_3d_resnets_without_labels(put, tmp_path):
    put("test/d_000001_000011/image_00001.jpg")
    put("kinetics.json", json.dumps(RESNETS))
    videos = read_videos("kinetics.json#testing", root=tmp_path)
    assert videos.unlabeled
    assert videos.records[0].id == "test/d_000001_000011@f0-99"


@pytest.mark.parametrize(
    ("annotations", "labels", "message"),
    [
        ({"label": "run", "segment": [1, 5]}, ["yoga"], r"video a: label 'run' is not among the 'labels' of the file"),
        ({"label": "yoga", "segment": [0, 5]}, ["yoga"], r"video a: segment \[0, 5\] must be \[first, end\] in frames"),
        ({"label": "yoga", "segment": [1.5, 5]}, ["yoga"], r"video a: segment \[1\.5, 5\] must be"),
        ({"label": "yoga"}, [], r"l\.json: 'labels' next to 'database' must be a list of class names"),
    ],
)
def test_errors_in_3d_resnets(put, annotations, labels, message):
    put("a.mp4")
    content = {"labels": labels, "database": {"a": {"subset": "training", "annotations": annotations}}}
    with pytest.raises(InputError, match=message):
        read_videos(put("l.json", json.dumps(content)))
