"""What users write as input: files, folders, patterns, lists, addresses and cameras."""

from pathlib import Path

import pytest
from PIL import Image

from videopool.errors import InputError
from videopool.inference.inputs import Stream, find_inputs, find_stream, is_address


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.MKV", "walk/c.avi", "walk/notes.txt", "run/d.mp4"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "frames").mkdir()
    for number in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"frames/{number}.jpg")
    return tmp_path


def names(*given: object, **settings: object) -> list[str]:
    return [record.path.name for record in find_inputs([*map(str, given)], **settings).records]


def test_files_folders_and_patterns(folder: Path) -> None:
    assert names(folder / "a.mp4", folder / "a.mp4") == ["a.mp4"]
    assert names(folder) == ["a.mp4", "b.MKV"]
    assert names(folder / "walk") == ["c.avi"]
    assert names(folder / "*.mp4", folder / "walk/*.avi") == ["a.mp4", "c.avi"]
    assert names(f"{folder}/**/*.mp4") == ["a.mp4", "d.mp4"]
    assert names(f"file://{folder}/a.mp4") == ["a.mp4"]


def test_a_folder_of_folders_gives_the_videos_in_them(folder: Path) -> None:
    for name in ("a.mp4", "b.MKV"):
        (folder / name).unlink()
    (folder / "empty").mkdir()
    assert names(folder) == ["frames", "d.mp4", "c.avi"]


def test_a_folder_of_images_is_a_video_or_for_networks_of_images_several(folder: Path) -> None:
    (record,) = find_inputs([str(folder / "frames")]).records
    assert (record.path.name, record.frames) == ("frames", 0)
    assert names(folder / "frames", images=True) == ["0.jpg", "1.jpg", "2.jpg"]


def test_lists_of_videos(folder: Path) -> None:
    (folder / "list.txt").write_text("a.mp4 3\nwalk/c.avi 7\n")
    assert names(folder / "list.txt") == ["a.mp4", "c.avi"]
    (folder / "spans.csv").write_text("path,start_seconds,end_seconds,split\nd.mp4,1,2.5,x\nd.mp4,3,4,y\n")
    found = find_inputs([f"{folder}/spans.csv#x"], root=str(folder / "run")).records
    assert [(record.path, record.start_seconds, record.end_seconds) for record in found] == [
        (folder / "run/d.mp4", 1.0, 2.5)
    ]


@pytest.mark.parametrize("address", ["http://host/a/b.mp4?x=1&y=2", "https://host//double/slash.mp4"])
def test_web_addresses_stay_text(address: str) -> None:
    found = find_inputs([address])
    assert (found.addresses, found.records, found.streams) == ((address,), (), ())
    assert find_inputs([address], live=True).streams == (Stream(address, address),)


@pytest.mark.parametrize("address", ["udp://127.0.0.1:5000?pkt_size=1316", "tcp://h:1", "rtsp://u:p@camera/1"])
def test_other_addresses_are_streams(address: str) -> None:
    assert find_inputs([address]).streams == (Stream(address, address),)


def test_cameras_devices_and_live_files(folder: Path) -> None:
    assert find_stream("/dev/video0") == Stream("/dev/video0", "/dev/video0", "v4l2")
    assert find_stream("v4l2:/dev/video3") == Stream("v4l2:/dev/video3", "/dev/video3", "v4l2")
    given = "lavfi:testsrc2=size=64x48:rate=10"
    assert find_stream(given) == Stream(given, "testsrc2=size=64x48:rate=10", "lavfi", paced=True)
    path = str(folder / "a.mp4")
    assert find_stream(path) is None
    assert find_stream(path, live=True) == Stream(path, path, paced=True)
    assert is_address(given)
    assert not is_address("evaluate.clips=2")
    with pytest.raises(InputError, match="is not a file"):
        find_stream(str(folder), live=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("*.webm", "no file matches this pattern"),
        ("empty", "has no videos or frames (it is empty)"),
        ("walk2", "has no videos or frames (it has notes.md)"),
        ("none.csv", "no such file"),
    ],
)
def test_what_holds_no_video_is_refused(given: str, message: str, folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "walk2").mkdir()
    (folder / "walk2/notes.md").touch()
    with pytest.raises(InputError) as caught:
        find_inputs([f"{folder}/{given}"])
    assert message in str(caught.value)
    assert given in str(caught.value)
