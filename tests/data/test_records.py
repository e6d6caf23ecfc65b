"""Reading lists: formats, classes, parts and errors."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from videopool.data.lists.formats.classes import read_classes, write_classes
from videopool.data.lists.records import VideoList, read_videos
from videopool.data.lists.table import VideoTable
from videopool.errors import InputError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def labeled(videos: VideoList) -> list[tuple[str, str]]:
    return [(record.id, videos.classes[record.label]) for record in videos.records]


def test_class_folders_are_sorted_and_include_deeper_folders(tmp_path):
    touch(tmp_path, "high jump/b.MP4", "high jump/deep/er/a.avi", "bowling/z.mkv", "bowling/notes.txt", ".git/x.mp4")
    touch(tmp_path, "stray.mp4", "__MACOSX/bowling/z.mkv")
    videos = read_videos(tmp_path)
    assert videos.format == "directories"
    assert videos.classes == ("bowling", "high jump")
    assert labeled(videos) == [
        ("bowling/z.mkv", "bowling"),
        ("high jump/b.MP4", "high jump"),
        ("high jump/deep/er/a.avi", "high jump"),
    ]
    assert videos.records[0].path == tmp_path / "bowling/z.mkv"
    assert videos.note == "skipped 1 file: 1 .txt; skipped stray.mp4, outside of class folders"


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
    assert labeled(videos) == [("other.mp4", "zzz"), (path, label)]


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


def test_a_number_is_a_name_if_class_names_are_numbers(tmp_path):
    touch(tmp_path, "a.mp4", "test/1/a.mp4", "test/2/b.mp4")
    videos = read_videos(write(tmp_path / "l.txt", "a.mp4 20\na.mp4 10\n"), classes=["10", "20"])
    assert [record.label for record in videos.records] == [1, 0]
    with pytest.raises(InputError, match=r"l\.txt:2: label '0' is not among the 2 classes \(10, 20\)"):
        read_videos(write(tmp_path / "l.txt", "a.mp4 10\na.mp4 0\n"), classes=["10", "20"])
    with pytest.raises(InputError, match=r"label '2' is not among the 3 classes \(1, 3, 4\)"):
        read_videos(tmp_path / "test", classes=["1", "3", "4"])
    with pytest.raises(InputError, match=r"label '1' is not among the 2 classes \(run, walk\)"):  # a folder has a name
        read_videos(tmp_path / "test", classes=["run", "walk"])
    (tmp_path / "classes.txt").write_text("1\n2\n3\n")
    with pytest.raises(InputError, match=r"l\.txt:1: label '0' is not among the 3 classes \(1, 2, 3\)"):
        read_videos(write(tmp_path / "l.txt", "a.mp4 0\na.mp4 1\n"))
    (tmp_path / "classes.txt").unlink()
    padded = read_videos(write(tmp_path / "l.txt", "a.mp4 002\na.mp4 0\n"), classes=["0", "1", "2"])
    assert [record.label for record in padded.records] == [2, 0]


def test_train_and_test_folders_are_not_classes(tmp_path):
    touch(tmp_path, "train/run/a.mp4", "train/walk/b.mp4", "test/run/c.mp4")
    with pytest.raises(
        InputError, match=r"test, train are parts of a data set, not classes\. Give one of them, such as .*/train\.$"
    ):
        read_videos(tmp_path)
    touch(tmp_path / "words", "train/a.mp4", "bus/b.mp4")  # a train is a train
    assert read_videos(tmp_path / "words").classes == ("bus", "train")


def test_folders_are_read_once_and_unreadable_ones_are_errors(tmp_path):
    touch(tmp_path, "run/a.mp4", "run/.hidden/b.mp4", "walk/c.mp4")
    (tmp_path / "run" / "again").symlink_to(tmp_path / "run")
    assert [record.id for record in read_videos(tmp_path).records] == ["run/a.mp4", "walk/c.mp4"]
    walk = os.walk

    def refused(top, **settings):
        if Path(top).name == "walk":
            settings["onerror"](PermissionError(13, "Permission denied", str(top)))
        return walk(top, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "walk", refused)
        with pytest.raises(InputError, match=r"walk: the folder cannot be read \(Permission denied\)"):
            read_videos(tmp_path)


def test_a_path_that_the_system_refuses_is_no_error_here(tmp_path):
    touch(tmp_path, "a.mp4")
    videos = read_videos(write(tmp_path / "l.txt", f"{'x' * 300}.mp4 0\na.mp4 1\n"))
    assert len(videos.records) == 2


def test_comments_before_a_header(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    videos = read_videos(write(tmp_path / "l.csv", "# of 2026\n\npath,label\na.mp4,run\nb.mp4,walk\n"))
    assert videos.classes == ("run", "walk")
    assert [record.id for record in videos.records] == ["a.mp4", "b.mp4"]


def test_a_table_column_marks_files_that_may_be_cut(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    text = "path,label,start_seconds,end_seconds,may_be_cut\na.mp4,x,417.0,421.0,1\nb.mp4,x,,,0\n"
    assert [record.may_be_cut for record in read_videos(write(tmp_path / "l.csv", text)).records] == [True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.mp4 0\na.mp4\n", r"list\.txt:2: 'a\.mp4' has no label"),
        ("a.mp4 0\nmy a.mp4\n", r"list\.txt:2: 'my a\.mp4' has no label"),
        ('a.mp4 0\na.mp4 ""\n', r"list\.txt:2: path or label is empty"),
        ("\n# nothing\n", r"no videos found"),
        ("a.mp4 99999999\n", r"list\.txt:1: label 99999999 is too large"),
        ("a.mp4 0\na.mp4 -1\n", r"list\.txt:2: label -1 must be a whole number of 0 or more"),
        ("path,label\na.mp4,1.0\na.mp4,2.0\n", r"list\.txt:2: label 1\.0 must be a whole number"),
        ("a.mp4,0,\na.mp4,1,\n", r"list\.txt:1: '0,' is not a class; expected one"),
        ("a.mp4 1 x\na.mp4 0\n", r"list\.txt:1: '1 x' is not a class"),
        ("a.mp4,3,train\n", r"list\.txt:1: '3,train' is not a class"),
        ("filename,target\na.mp4,2\na.mp4,10\n", r"list\.txt:1: 'filename,target' is not a video, but the lines after"),
        ("name category\na.mp4 2\n", r"list\.txt:1: 'name category' is not a video"),
        ('path,label\na.mp4,run\na.mp4,"walk\na.mp4,run\n', r"list\.txt:5: .*Look for a quote that is not closed"),
        ("path,label,label_id\na.mp4,run,0\na.mp4,run,\n", r"list\.txt:3: label_id is empty, but not in other rows"),
        ("path,label,may_be_cut\na.mp4,run,yes\n", r"list\.txt:2: may_be_cut='yes' must be 0 or 1"),
        ("path label\na.mp4 0\n", r"list\.txt:1: .*must be separated by commas or tabs"),
        ("label,subject\nx,ann\n", r"list\.txt:1: the header has no column path, video or file"),
        ("path,subject\na.mp4,ann\n", r"list\.txt:1: the header has no column label, class or label_id"),
        ("path,label\na.mp4,x\na.mp4,x,y\n", r"list\.txt:3: 3 columns, but the header has 2"),
        ("path,label\na.mp4,\n", r"list\.txt:2: column label is empty"),
        ("path,label\n", r"no videos found"),
        ("path,label,start\na.mp4,x,soon\n", r"list\.txt:2: start='soon' must be a time"),
        ("path,label,start,end\na.mp4,x,4,2\n", r"list\.txt:2: the span from 4 to 2 s is empty"),
        ("path,label,label_id\na.mp4,x,-1\n", r"list\.txt:2: label_id='-1'"),
        ("path,label,label_id\na.mp4,x,0\na.mp4,y,0\n", r"list\.txt:3: label_id 0 is 'y' here, but 'x' above"),
        ("path,label,label_id\na.mp4,x,0\na.mp4,x,1\n", r"list\.txt:3: 'x' has label_id 1 here, but 0 above"),
        ("gone.mp4 0\nlost.mp4 1\n", r"none of the 2 videos exists; the first is gone\.mp4 below"),
    ],
)
def test_errors_name_file_and_line(tmp_path, text, message):
    touch(tmp_path, "a.mp4")
    with pytest.raises(InputError, match=message):
        read_videos(write(tmp_path / "list.txt", text))


@pytest.mark.parametrize("label", ["2", "skiing", "-1"])
def test_label_outside_of_the_given_classes(tmp_path, label):
    touch(tmp_path, "a.mp4")
    with pytest.raises(InputError, match=rf"list\.txt:2: label '{label}' is not among the 2 classes \(run, walk\)"):
        read_videos(write(tmp_path / "list.txt", f"a.mp4 1\na.mp4 {label}\n"), classes=["run", "walk"])


def test_a_single_missing_video_is_no_error_here(tmp_path):
    touch(tmp_path, "a.mp4")
    assert len(read_videos(write(tmp_path / "list.txt", "gone.mp4 0\na.mp4 0\n")).records) == 2


def test_missing_source_root_and_binary_list(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        read_videos(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"root=.*absent is not a folder"):
        read_videos("train.txt", root=tmp_path / "absent")
    with pytest.raises(InputError, match="no videos found; expected a folder for each class with files that end in"):
        read_videos(tmp_path)
    (tmp_path / "video.mp4").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="is not read as a list"):
        read_videos(tmp_path / "video.mp4")


def test_weizmann_table_and_folders_agree(shared_data):
    root = shared_data / "weizmann"
    table, tree = read_videos("all.csv", root=root), read_videos(root)
    assert table.format == "csv"
    assert tree.format == "directories"
    assert table.classes == tree.classes
    assert sorted(labeled(table)) == sorted(labeled(tree))
    test = read_videos("test.csv", root=root, classes=table.classes)
    assert len(test.records) == 30
    assert all(
        record.path.exists() and record.path.parent.name == test.classes[record.label] for record in test.records
    )


# --- the order of classes ------------------------------------------------------------------------------------------


def test_classes_txt_gives_the_order(tmp_path):
    touch(tmp_path, "a.mp4", "set/train/ant/a.mp4", "set/train/bee/b.mp4", "set/val/bee/c.mp4")
    write(tmp_path / "classes.txt", "zebra\nhigh jump\nant\n")
    videos = read_videos(write(tmp_path / "list.txt", "a.mp4 high jump\na.mp4 zebra\na.mp4 2\n"))
    assert videos.classes == ("zebra", "high jump", "ant")
    assert videos.records.label.tolist() == [1, 0, 2]
    write(tmp_path / "set/classes.txt", "bee\nant\n")  # above the folder of the classes
    assert read_videos(tmp_path / "set/train").records.label.tolist() == [1, 0]
    write(tmp_path / "set/val/classes.txt", "cat\nbee\n")  # in it
    assert read_videos(tmp_path / "set/val").classes == ("cat", "bee")
    with pytest.raises(InputError, match=r"label 'fish' is not among the 3 classes \(zebra, .*\) of .*classes\.txt"):
        read_videos(write(tmp_path / "list.txt", "a.mp4 fish\n"))


def test_classes_txt_goes_before_the_order_of_the_data_set(tmp_path):
    touch(tmp_path, "Zoo/v_Zoo_g01_c01.avi")
    write(tmp_path / "classInd.txt", "1 Zoo\n2 Archery\n")
    source = write(tmp_path / "list.txt", "Zoo/v_Zoo_g01_c01.avi 1\n")
    assert read_videos(source).classes == ("Zoo", "Archery")
    write(tmp_path / "classes.txt", "Archery\nZoo\n")
    assert read_videos(source).records.label.tolist() == [1]


def test_numbers_next_to_classes_txt_are_checked_by_name(tmp_path):
    touch(tmp_path, "a.mp4")
    write(tmp_path / "classes.txt", "walk\nrun\n")
    source = write(tmp_path / "list.txt", "a.mp4 0\na.mp4 1\n")
    assert read_videos(source).classes == ("walk", "run")
    assert read_videos(source, classes=["run", "walk", "sit"]).records.label.tolist() == [1, 0]  # another order
    with pytest.raises(InputError, match=r"list\.txt:2: label '1' \('run' in .*classes\.txt\) is not among the 2"):
        read_videos(source, classes=["walk", "sit"])
    with pytest.raises(InputError, match=r"list\.txt:1: label '2' is not among the 3 classes"):
        read_videos(write(tmp_path / "list.txt", "a.mp4 2\n"), classes=["run", "walk", "sit"])


@given(st.lists(st.text(min_size=1).filter(lambda name: name == name.strip()), min_size=1, unique=True))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_classes_are_written_and_read(tmp_path, names):
    path = tmp_path / "classes.txt"
    if any(character in name for name in names for character in "\r\n\0"):
        with pytest.raises(InputError, match=r"cannot be a class name\. Write one name on each line"):
            write_classes(path, names)
    else:
        assume(not names[0].startswith("\ufeff"))  # the mark that editors put before a text
        write_classes(path, names)
        assert read_classes(path) == tuple(names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run\n\nwalk\n", r"classes\.txt:2: '' cannot be a class name"),
        ("", r"classes\.txt:1: '' cannot be a class name"),
        ("run\nwalk\nrun\n", r"classes\.txt:3: class 'run' is already on line 1"),
    ],
)
def test_errors_in_files_of_classes(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_classes(write(tmp_path / "classes.txt", text))


# --- large lists, parts, columns -----------------------------------------------------------------------------------


def test_part_of_a_table(tmp_path):
    touch(tmp_path, "a.mp4")
    source = write(tmp_path / "t.csv", "path,label,split\na.mp4,x,train\na.mp4,y,val\na.mp4,x,val\n")
    assert len(read_videos(source).records) == 3
    assert labeled(read_videos("t.csv#val", root=tmp_path)) == [("a.mp4", "y"), ("a.mp4", "x")]
    with pytest.raises(InputError, match=r"t\.csv: no row has 'test' in the column split; it has train, val"):
        read_videos(f"{source}#test")
    with pytest.raises(
        InputError, match=r"u\.csv: #val selects rows by the column split or subset, which the table does not"
    ):
        read_videos(f"{write(tmp_path / 'u.csv', 'path,label')}#val")
    with pytest.raises(InputError, match=r"l\.txt: #val selects a part, but a source of the format list has no parts"):
        read_videos(f"{write(tmp_path / 'l.txt', 'a.mp4 1')}#val")


def test_names_may_contain_the_sign_of_a_part(tmp_path):
    touch(tmp_path, "take #2/a.mp4")
    assert labeled(read_videos(write(tmp_path / "list #1.txt", '"take #2/a.mp4" 0\n'))) == [("take #2/a.mp4", "0")]
    assert len(read_videos("list #1.txt", root=tmp_path).records) == 1


def test_columns_equal_those_of_the_records(tmp_path):
    touch(tmp_path, "a.mp4", "b/img_1.jpg")
    table = f"path,label,start,end\na.mp4,x,1,2\n{tmp_path}/a.mp4,y,,3\n/elsewhere/a.mp4,x,,\n"
    for text in ("a.mp4 run\nb.mp4 walk\n", table, "b 5 1\nc 6 0\n"):
        records = read_videos(write(tmp_path / "list.txt", text)).records
        again = VideoTable.from_records(list(records), tmp_path)
        assert records.columns.keys() == again.columns.keys()
        for name, column in records.columns.items():
            np.testing.assert_array_equal(column, again.columns[name], err_msg=name)
            assert column.dtype == again.columns[name].dtype


def test_the_search_for_an_existing_video_stops_at_the_first(tmp_path, monkeypatch):
    touch(tmp_path, "a1.mp4")
    source = write(tmp_path / "list.txt", "".join(f"a{number}.mp4 {number % 3}\n" for number in range(1000)))
    asked: list[str] = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **how: asked.append(str(path)) or stat(path, **how))
    assert len(read_videos(source).records) == 1000
    assert sum(name.endswith(".mp4") for name in asked) == 2
