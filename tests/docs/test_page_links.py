"""The links between the files of the repository, and to their headings."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from pymdownx.slugs import slugify

from tests.conftest import ROOT

SLUG = slugify(case="lower")
FENCE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)|<img[^>]* src=\"([^\"]+)\"")


def markdown_files() -> list[Path]:
    """Return the Markdown files of the repository, and new ones."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [ROOT / name for name in listed if (ROOT / name).exists()]


def headings(path: Path) -> set[str]:
    """Return the anchors of the headings of a page, as hosting pages and the site make them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {SLUG(re.sub(r"`|\[|\]\([^)]*\)", "", title), "-") for title in titles}


@pytest.mark.parametrize("page", markdown_files(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings(page: Path) -> None:
    wrong = []
    for match in LINK.finditer(FENCE.sub("", page.read_text(encoding="utf-8"))):
        address = match[1] or match[2]
        path, _, anchor = address.partition("#")
        if re.match(r"[a-z]+:", address) or (page.name == "index.md" and made_by_the_site(path)):
            continue
        target = page.parent / path if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in headings(target)):
            wrong.append(address)
    assert wrong == []


def made_by_the_site(path: str) -> bool:
    """Return whether a page of the site is generated; the build of the site checks links to it."""
    return path.startswith(("api/", "results/", "gallery/")) or path in ("commands.md", "changelog.md")


def test_the_slugs_of_headings() -> None:
    assert SLUG("Files of a run, and exit codes", "-") == "files-of-a-run-and-exit-codes"
    assert SLUG("The file scores.npz", "-") == "the-file-scoresnpz"
