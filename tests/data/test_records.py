"""Lists of videos in every format, and what is said about those that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from videopool.data.records import VideoList, read_videos
from videopool.errors import InputError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def labelled(videos: VideoList) -> list[tuple[str, str]]:
    return [(record.id, videos.classes[record.label]) for record in videos.records]


def test_class_folders_are_sorted_and_walked_to_the_bottom(tmp_path):
    touch(tmp_path, "high jump/b.MP4", "high jump/deep/er/a.avi", "bowling/z.mkv", "bowling/notes.txt", ".git/x.mp4")
    touch(tmp_path, "empty class/readme.md", "stray.mp4")
    videos = read_videos(tmp_path)
    assert videos.format == "directories"
    assert videos.classes == ("bowling", "high jump")
    assert labelled(videos) == [
        ("bowling/z.mkv", "bowling"),
        ("high jump/b.MP4", "high jump"),
        ("high jump/deep/er/a.avi", "high jump"),
    ]
    assert videos.records[0].path == tmp_path / "bowling/z.mkv"


def test_numbered_class_folders_keep_their_names(tmp_path):
    touch(tmp_path, "1/a.mp4", "2/b.mp4")
    assert read_videos(tmp_path).classes == ("1", "2")


def test_folders_map_to_given_classes(tmp_path):
    touch(tmp_path, "b/1.mp4", "a/2.mp4")
    videos = read_videos(tmp_path, classes=["b", "unused", "a"])
    assert [record.label for record in videos.records] == [2, 0]
    with pytest.raises(InputError, match=r"'b' is not among the 1 classes"):
        read_videos(tmp_path, classes=["a"])


@pytest.mark.parametrize(
    ("line", "path", "label"),
    [
        ("run/a.mp4 7", "run/a.mp4", "7"),
        ("run/a.mp4\t7", "run/a.mp4", "7"),
        ("run/a.mp4,7", "run/a.mp4", "7"),
        ("run/a.mp4, high jump", "run/a.mp4", "high jump"),
        ("run/a.mp4 high jump", "run/a.mp4", "high jump"),
        ("my videos/a b.AVI high jump ", "my videos/a b.AVI", "high jump"),
        ('"my videos/a b.avi" "high jump"', "my videos/a b.avi", "high jump"),
        ('"odd.mp4 name" dive', "odd.mp4 name", "dive"),
        ("a.mp4 copy.mp4 dive", "a.mp4 copy.mp4", "dive"),
        ("a,b.mp4,putting, then taking", "a,b.mp4", "putting, then taking"),
        ("clip 12\thigh jump", "clip 12", "high jump"),
        ("clip 12,high jump", "clip 12", "high jump"),
        ("clip 12 dive", "clip 12", "dive"),
    ],
)
def test_list_lines(tmp_path, line, path, label):
    touch(tmp_path, "other.mp4")
    videos = read_videos(write(tmp_path / "list.txt", f"# a comment\n\nother.mp4 zzz\n{line}\n"))
    assert videos.format == "list"
    assert labelled(videos) == [("other.mp4", "zzz"), (path, label)]


def test_numbers_count_from_zero_and_keep_their_place(tmp_path):
    touch(tmp_path, "a.mp4")
    videos = read_videos(write(tmp_path / "list.csv", "a.mp4 3\na.mp4 0\n"))
    assert videos.format == "list"  # the name says csv, but there is no header
    assert videos.classes == ("0", "1", "2", "3")
    assert [record.label for record in videos.records] == [3, 0]


def test_relative_and_absolute_paths(tmp_path):
    touch(tmp_path, "videos/a.mp4", "elsewhere/b.mp4")
    text = f"a.mp4 x\n{tmp_path}/elsewhere/b.mp4 y\n"
    source = write(tmp_path / "list.txt", text)
    paths = [record.path for record in read_videos(source, root=tmp_path / "videos").records]
    assert paths == [tmp_path / "videos/a.mp4", tmp_path / "elsewhere/b.mp4"]


def test_source_is_looked_for_below_root(tmp_path, monkeypatch):
    touch(tmp_path, "set/x/a.mp4")
    write(tmp_path / "set/train.txt", "x/a.mp4 x\n")
    monkeypatch.chdir(tmp_path)
    assert read_videos("train.txt", root="set").records[0].path.exists()
    assert read_videos("set/train.txt").records[0].path.exists()


def test_table_by_name_with_spans_and_other_columns(tmp_path):
    touch(tmp_path, "a b.mp4")
    text = 'subject,Label,video,start,end_seconds\nann,"high jump, wet",a b.mp4,1.5,4\nbob,dive,a b.mp4,,\n'
    videos = read_videos(write(tmp_path / "t.csv", text))
    assert (videos.format, videos.classes) == ("csv", ("dive", "high jump, wet"))
    first, second = videos.records
    assert (first.id, first.label, first.start_seconds, first.end_seconds) == ("a b.mp4@1.5-4", 1, 1.5, 4.0)
    assert (second.label, second.start_seconds, second.end_seconds) == (0, None, None)


def test_table_classes_follow_label_id(tmp_path):
    touch(tmp_path, "a.mp4")
    text = "path\tlabel\tlabel_id\na.mp4\tzebra\t0\na.mp4\tant\t2\na.mp4\tzebra\t0\n"
    videos = read_videos(write(tmp_path / "t.tsv", text))
    assert videos.classes == ("zebra", "1", "ant")
    assert [record.label for record in videos.records] == [0, 2, 0]


def test_table_with_label_id_alone(tmp_path):
    touch(tmp_path, "a.mp4")
    assert read_videos(write(tmp_path / "t.csv", "file,label_id\na.mp4,2\n")).classes == ("0", "1", "2")


def test_names_win_over_numbers_in_given_classes(tmp_path):
    touch(tmp_path, "a.mp4")
    videos = read_videos(write(tmp_path / "l.txt", "a.mp4 10\na.mp4 0\n"), classes=["10", "20"])
    assert [record.label for record in videos.records] == [0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.mp4 0\na.mp4\n", r"list\.txt:2: 'a\.mp4' has no label"),
        ("a.mp4 0\nmy a.mp4\n", r"list\.txt:2: 'my a\.mp4' has no label"),
        ('a.mp4 0\na.mp4 ""\n', r"list\.txt:2: path or label is empty"),
        ("\n# nothing\n", r"no videos found"),
        ("a.mp4 99999999\n", r"list\.txt:1: label 99999999 is no class number"),
        ("path label\na.mp4 0\n", r"list\.txt:1: .*separated by commas or tabs"),
        ("label,youtube_id,time_start\nx,abc,3\n", r"list\.txt:1: the header has no column path, video or file"),
        ("path,subject\na.mp4,ann\n", r"list\.txt:1: the header has no column label, class or label_id"),
        ("path,label\na.mp4,x\na.mp4,x,y\n", r"list\.txt:3: 3 columns, the header has 2"),
        ("path,label\na.mp4,\n", r"list\.txt:2: column label is empty"),
        ("path,label\n", r"no videos found"),
        ("path,label,start\na.mp4,x,soon\n", r"list\.txt:2: 'soon' is no time in seconds"),
        ("path,label,start,end\na.mp4,x,4,2\n", r"list\.txt:2: the span from 4 to 2 s is empty"),
        ("path,label,label_id\na.mp4,x,-1\n", r"list\.txt:2: label_id '-1'"),
        ("path,label,label_id\na.mp4,x,0\na.mp4,y,0\n", r"list\.txt:3: label_id 0 is 'y' here, 'x' above"),
        ("path,label,label_id\na.mp4,x,0\na.mp4,x,1\n", r"list\.txt:3: 'x' is label_id 1 here, 0 above"),
        ("gone.mp4 0\nlost.mp4 1\n", r"none of the 2 videos exists, the first being gone\.mp4 below"),
    ],
)
def test_faults_name_file_and_line(tmp_path, text, message):
    touch(tmp_path, "a.mp4")
    with pytest.raises(InputError, match=message):
        read_videos(write(tmp_path / "list.txt", text))


@pytest.mark.parametrize("label", ["2", "skiing", "-1"])
def test_label_outside_of_the_given_classes(tmp_path, label):
    touch(tmp_path, "a.mp4")
    with pytest.raises(InputError, match=rf"list\.txt:2: label '{label}' is not among the 2 classes \(run, walk\)"):
        read_videos(write(tmp_path / "list.txt", f"a.mp4 1\na.mp4 {label}\n"), classes=["run", "walk"])


def test_a_missing_video_among_others_is_left_to_the_decoder(tmp_path):
    touch(tmp_path, "a.mp4")
    assert len(read_videos(write(tmp_path / "list.txt", "gone.mp4 0\na.mp4 0\n")).records) == 2


def test_missing_source_root_and_binary_list(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        read_videos(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"data\.root=.*absent: no such folder"):
        read_videos("train.txt", root=tmp_path / "absent")
    with pytest.raises(InputError, match="no videos found; expected folders named after the classes"):
        read_videos(tmp_path)
    (tmp_path / "video.mp4").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="cannot be read as text"):
        read_videos(tmp_path / "video.mp4")


def test_weizmann_table_and_folders_agree(shared_data):
    root = shared_data / "weizmann"
    table, tree = read_videos("all.csv", root=root), read_videos(root)
    assert table.format == "csv"
    assert tree.format == "directories"
    assert table.classes == tree.classes
    assert sorted(labelled(table)) == sorted(labelled(tree))
    test = read_videos("test.csv", root=root, classes=table.classes)
    assert len(test.records) == 30
    assert all(
        record.path.exists() and record.path.parent.name == test.classes[record.label] for record in test.records
    )


def test_published_lists(shared_data, tmp_path):
    ucf = shared_data / "annotations" / "ucf101"
    touch(tmp_path, "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi")
    names = [line.split()[1] for line in (ucf / "classInd.txt").read_text().splitlines()]
    videos = read_videos(ucf / "trainlist01.txt", root=tmp_path, classes=["(none)", *names])
    assert len(videos.records) == 9537
    assert all(record.path.parent.name == videos.classes[record.label] for record in videos.records)
    with pytest.raises(InputError, match=r"trainlist01\.txt:\d+: label '101' is not among the 101 classes"):
        read_videos(ucf / "trainlist01.txt", root=tmp_path, classes=names)
    with pytest.raises(InputError, match=r"testlist01\.txt:1: .* has no label"):
        read_videos(ucf / "testlist01.txt", root=tmp_path)
    kinetics = shared_data / "annotations" / "kinetics" / "kinetics-400_val.csv"
    with pytest.raises(InputError, match=r"val\.csv:1: the header has no column path, video or file; it has label"):
        read_videos(kinetics)
    hmdb = shared_data / "annotations" / "hmdb51" / "brush_hair_test_split1.txt"
    touch(tmp_path, "April_09_brush_hair_u_nm_np1_ba_goo_0.avi")
    assert read_videos(hmdb, root=tmp_path).classes == ("0", "1", "2")
