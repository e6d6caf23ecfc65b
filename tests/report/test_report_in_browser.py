"""The page of an evaluation in headless Chromium, as on a desktop and on a phone."""

from __future__ import annotations

import base64
import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.report.evaluations import class_names, write_evaluation
from videopool.cli.main import main
from videopool.types import VideoRecord

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is in the extra dev")
PROGRAMS = [shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")]
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        None in PROGRAMS, reason="needs Chromium and its driver: apt-get install chromium chromium-driver"
    ),
]
PHONE = {"deviceMetrics": {"width": 390, "height": 844, "pixelRatio": 3.0, "mobile": True}}


@contextlib.contextmanager
def browser(page: Path, *, phone: bool = False, dark: bool = False) -> Iterator[Any]:
    """Open ``page``; at the end, no message must be on the console, and nothing must have been requested."""
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = PROGRAMS[0]
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(argument)
    if phone:
        options.add_experimental_option("mobileEmulation", PHONE)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(PROGRAMS[1]))
    try:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        driver.get(page.as_uri())
        yield driver
        assert driver.get_log("browser") == []
        requests = driver.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
        assert [name for name in requests if not name.startswith("data:")] == []
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """``page(10)`` is the report of an evaluation with 10 classes."""
    made: dict[int, Path] = {}

    def report(classes: int) -> Path:
        if classes not in made:
            folder = tmp_path_factory.mktemp(f"classes{classes}")
            write_evaluation(folder, classes=classes, videos=max(30, 3 * classes), crops=3)
            assert main(["report", str(folder)]) == 0
            made[classes] = folder / "report.html"
        return made[classes]

    return report


def text_of(driver: Any, selector: str) -> list[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)"
    return driver.execute_script(script, selector)


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
@pytest.mark.parametrize("classes", [2, 10, 400])
def test_the_page_fits_the_screen(classes: int, phone: bool, page: Callable[[int], Path]) -> None:
    with browser(page(classes), phone=phone, dark=phone) as driver:
        width, inside = driver.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert width <= inside
        assert inside == (390 if phone else 1280)
        driver.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert driver.execute_script("return document.documentElement.scrollWidth") <= inside
        names = text_of(driver, "#classes-table tbody th")
        assert names == class_names(classes)
        canvas = driver.find_element("id", "matrix")
        assert 0.5 * inside < canvas.size["width"] <= inside or not phone
        colored = driver.execute_script(
            "const c = arguments[0]; const p = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "let n = 0; for (let i = 3; i < p.length; i += 4) n += p[i] > 0; return n", canvas
        )  # fmt: skip
        assert colored > classes


@pytest.mark.parametrize("kind", ["several", "unlabeled"])
def test_pages_without_a_matrix(kind: str, tmp_path: Path) -> None:
    write_evaluation(tmp_path, classes=12, videos=60, kind=kind)
    assert main(["report", str(tmp_path)]) == 0
    with browser(tmp_path / "report.html", phone=True) as driver:
        assert driver.execute_script("return document.documentElement.scrollWidth") == 390
        driver.find_element("css selector", "#classes-table th:nth-child(2) button").click()
        counts = [int(text) for text in text_of(driver, "#classes-table tbody td:nth-child(2)")]
        assert counts == sorted(counts, reverse=True)
        assert len(text_of(driver, ".pictures li")) > 0


def test_tables_are_sorted(page: Callable[[int], Path]) -> None:
    with browser(page(10)) as driver:
        header = driver.find_element("css selector", "#classes-table thead th:nth-child(5)")
        assert header.text.startswith("Recall")
        column = "#classes-table tbody td:nth-child(5)"
        before = [float(text) for text in text_of(driver, column)]
        for order in (sorted(before, reverse=True), sorted(before)):
            header.find_element("css selector", "button").click()
            assert [float(text) for text in text_of(driver, column)] == order
        assert header.get_attribute("aria-sort") == "ascending"
        first = driver.find_element("css selector", "#classes-table thead th:first-child")
        first.find_element("css selector", "button").send_keys("\n")  # by keyboard
        assert text_of(driver, "#classes-table tbody th")[2:] == class_names(10)[2:]
        assert (first.get_attribute("aria-sort"), header.get_attribute("aria-sort")) == ("ascending", None)


def test_the_matrix_is_ordered_and_read(page: Callable[[int], Path]) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.support.ui import Select

    saved = np.load(page(10).parent / "scores.npz")
    labels = saved["labels"].reshape(30, -1)[:, 0]
    predicted = saved["scores"].astype(float).reshape(30, -1, 10).mean(1).argmax(1)
    recall = [(predicted[labels == k] == k).mean() for k in range(10)]
    names = class_names(10)
    with browser(page(10)) as driver:
        canvas = driver.find_element("id", "matrix")
        select = Select(driver.find_element("id", "order"))
        for order, last in (("recall", max(range(10), key=lambda k: (recall[k], k))), ("list", 9)):
            select.select_by_value(order)
            driver.execute_script("arguments[0].scrollIntoView({block: 'end'})", canvas)
            size = canvas.size
            corner = (size["width"] // 2 - 12, size["height"] // 2 - 12)  # in the last cell
            ActionChains(driver).move_to_element_with_offset(canvas, *corner).perform()
            count = int(((labels == last) & (predicted == last)).sum())
            expected = f"{names[last]} predicted as {names[last]}: {count} of 3 videos"
            assert text_of(driver, "#cell") == [expected]
        for order in ("name", "videos", "similar"):
            select.select_by_value(order)


def test_classes_are_found(page: Callable[[int], Path]) -> None:
    with browser(page(400), phone=True) as driver:
        driver.find_element("id", "find").send_keys("CLASS 07")
        shown = driver.execute_script(
            "return [...document.querySelectorAll('#classes-table tbody tr')].filter((row) => !row.hidden)"
            ".map((row) => row.cells[0].textContent)"
        )
        assert shown == [f"class {k:03d}" for k in range(70, 80)]
        assert text_of(driver, "#found") == ["10 classes"]


def test_dark_and_printed(page: Callable[[int], Path]) -> None:
    background = "return getComputedStyle(document.documentElement).backgroundColor"
    with browser(page(10), dark=True) as driver:
        dark = driver.execute_script(background)
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        printed = driver.execute_script(background)
        assert (dark, printed) == ("rgb(20, 23, 27)", "rgb(255, 255, 255)")
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
        document = driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
        assert base64.b64decode(document["data"]).startswith(b"%PDF")
        assert all(driver.execute_script("return [...document.querySelectorAll('details')].map((one) => one.open)"))


def test_400_classes_with_pictures_are_small(motion_videos: Path, tmp_path: Path) -> None:
    """The size of a full page: 400 classes with long names, and 24 film strips."""
    names = [f"{k:03d} a class with a rather long name" for k in range(400)]
    files = sorted((motion_videos / "test").rglob("*.mp4"))
    lines = [f"{files[v % 8]},{names[v % 400]}" for v in range(4000)]
    (tmp_path / "test.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    (tmp_path / "classes.txt").write_text("\n".join(names) + "\n")
    config = {"data": {"root": str(tmp_path), "train": "test.csv", "test": "test.csv"}, "out": str(tmp_path)}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    from videopool.data.lists.records import read_videos

    records: list[VideoRecord] = list(read_videos("test.csv", tmp_path, names).records)
    folder = write_evaluation(tmp_path / "evaluation", classes=400, videos=4000, records=records, names=names)
    assert main(["report", str(tmp_path)]) == 0
    report = folder / "report.html"
    assert report.stat().st_size < 8_000_000
    with browser(report) as driver:
        sizes = driver.execute_script("return [...document.images].map((one) => [one.naturalWidth, one.naturalHeight])")
        assert len(sizes) == 24
        assert all(height == 112 for _, height in sizes)
