"""The site builds without warnings, needs no other server, and shows every public name, key and command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.conftest import ROOT
from videopool.cli.main import SUBCOMMANDS
from videopool.config.keys import keys_of
from videopool.config.schema import Config

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

# Attributes with which a page loads something.
LOADS = {
    "script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src", "video": "src", "audio": "src",
}  # fmt: skip


class Loads(HTMLParser):
    """Collects the addresses of everything that a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and given.get("rel") in ("canonical", "next", "prev"):
            return
        if given.get(LOADS.get(tag, "")):
            self.addresses.append(str(given[LOADS[tag]]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site."""
    pytest.importorskip("material", reason="needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return folder


def pages(site: Path) -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each page."""
    for path in sorted(site.rglob("*.html")):
        yield path.relative_to(site).as_posix(), path.read_text(encoding="utf-8")


def test_pages_load_nothing_from_other_servers(site: Path) -> None:
    foreign = []
    for name, text in pages(site):
        parser = Loads()
        parser.feed(text)
        foreign += [(name, each) for each in parser.addresses if re.match(r"(?:[a-z]+:)?//", each)]
    for path in site.rglob("*.css"):
        named = re.findall(r"(?:url\(|@import )[\"']?((?:https?:)?//[^\"')]+)", path.read_text(encoding="utf-8"))
        foreign += [(path.name, each) for each in named]
    assert foreign == []


def test_pages_of_the_reference_are_complete(site: Path) -> None:
    shown = "".join(text for name, text in pages(site) if name.startswith("api/"))
    public = (ROOT / "tests/public_names.txt").read_text().split()
    assert [name for name in public if f'id="{name}"' not in shown] == []
    keys = (site / "configuration.html").read_text()
    assert [key.name for key in keys_of(Config) if f"<code>{key.name}</code>" not in keys] == []
    commands = (site / "commands.html").read_text()
    assert [subcommand for subcommand in SUBCOMMANDS if f'id="videopool-{subcommand}"' not in commands] == []


def test_pages_have_no_markup_left(site: Path) -> None:
    """Such as lists that need an empty line before them, and roles of docstrings."""
    left = []
    for name, text in pages(site):
        body = re.sub(r"<(pre|code)\b.*?</\1>", "", text, flags=re.DOTALL)
        found = re.findall(r"(?:^|<p>)(?:[-*] \S.*|\d\. \S.*|\|.*\|$|#+ .*)", body, re.MULTILINE)
        found += re.findall(r":(?:func|mod|class|meth):\S*|\]\[[\w.]+\]|\*\*\w.*?\*\*", body)
        found += re.findall(r".*::\s*</(?:p|td|li)>", body)
        left += [(name, each) for each in found]
    assert left == []


def test_search_finds_pages(site: Path) -> None:
    index = (site / "search/search_index.json").read_text(encoding="utf-8")
    for text in ("videopool.ops.soft_pool3d", "data.decode_timeout", "--calibrate-on", "Moments in Time"):
        assert text in index


def test_no_page_is_twice_in_the_navigation(site: Path) -> None:
    text = (site / "numerics.html").read_text(encoding="utf-8")
    primary = text[text.index('data-md-type="navigation"') : text.index('data-md-type="toc"')]
    links = re.findall(r'href="([^"#]+)" class="md-nav__link"', primary)
    assert len(links) > 50
    assert sorted(links) == sorted(set(links))


def test_results_have_a_date_and_a_command(site: Path) -> None:
    index = (site / "results/index.html").read_text(encoding="utf-8")
    for path in (ROOT / "benchmarks/results").glob("2*.md"):
        assert f'href="{path.stem}.html"' in index, path.name
