"""Hooks of mkdocs: they add generated pages, and turn links between files of the repository into links of the site."""

from __future__ import annotations

import os
import posixpath
import re
import sys
from pathlib import Path

from api import api_pages
from commands import commands_page
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from notebooks import notebook_page
from results import results_index, results_navigation

# Files outside of docs/ that are pages.
_TEXTS = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}
_PAGES = {**_TEXTS, "README.md": "index.md"}
_RESULTS = "benchmarks/results"
_LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#])")
_PAGE_NAME = re.compile(r"(<(code|pre|a)\b.*?</\2>)|\bdocs/(\w+\.md)", re.DOTALL)
_BLOCK_FOLLOWS = re.compile(r"(?:(?<=[.:?)]) )?::(?=\s*</(?:p|td|li)>)")
_ROLE = re.compile(r":(?:func|mod):<code>((?:videopool\.ops\.)?(\w+))</code>")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are generated, and those that are outside of docs/."""
    root = Path(config.config_file_path).parent
    sys.path.insert(0, str(root))
    texts = {"commands.md": commands_page(), **api_pages()}
    for name, uri in _TEXTS.items():
        texts[uri] = (root / name).read_text(encoding="utf-8")
    for notebook in sorted((root / "docs/gallery").glob("*.ipynb")):
        texts[f"gallery/{notebook.stem}.md"] = notebook_page(notebook)
    texts["results/index.md"] = results_index(root / _RESULTS)
    for uri, text in texts.items():
        files.append(File.generated(config, uri, content=text))
    for path in sorted((root / _RESULTS).iterdir()):
        if path.suffix in (".md", ".png", ".svg", ".csv", ".json", ".jsonl") and path.name != "README.md":
            files.append(File.generated(config, f"results/{path.name}", abs_src_path=str(path)))
    for section in config.nav or []:
        if "Results" in section:
            section["Results"] += results_navigation(root / _RESULTS)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the text of a page with links to the pages of the site instead of files of the repository."""
    here = page.file.src_uri
    source = _source(here)
    root = Path(config.config_file_path).parent

    def target(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        uri = _uri(path)
        if uri.startswith("../") and (root / path).is_file():
            uri = f"files/{path}.txt"  # a browser shows it
            if files.get_file_from_path(uri) is None:
                files.append(File.generated(config, uri, abs_src_path=str(root / path)))
        return posixpath.relpath(uri, posixpath.dirname(here) or ".")

    return _LINK.sub(target, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with links in place of ``docs/lists.md``, and without the reStructuredText of docstrings.

    That is roles, such as ``:func:`soft_pool3d```, and the ``::`` before a drawing or formula.
    """

    def link(match: re.Match[str]) -> str:
        file = files.get_file_from_path(match[3] or "")
        return match[0] if file is None else f'<a href="{file.url_relative_to(page.file)}">{match[3]}</a>'

    html = _PAGE_NAME.sub(link, html)
    html = _BLOCK_FOLLOWS.sub(lambda match: ":" if match[0] == "::" else "", html)
    return _ROLE.sub(r'<autoref optional identifier="videopool.ops.\2"><code>\1</code></autoref>', html)


def _source(uri: str) -> str:
    """Return the path in the repository of the page ``uri``."""
    outside = {page: name for name, page in _TEXTS.items()}
    if uri in outside:
        return outside[uri]
    if uri.startswith("results/"):
        return f"{_RESULTS}/{'README.md' if uri == 'results/index.md' else uri.removeprefix('results/')}"
    return f"docs/{uri}"


def _uri(path: str) -> str:
    """Return the page of a file in the repository; for a file without a page, its path below docs/."""
    if path in (_RESULTS, f"{_RESULTS}/README.md"):
        return "results/index.md"
    if path.startswith(f"{_RESULTS}/"):
        return path.replace(_RESULTS, "results")
    return _PAGES.get(path, os.path.relpath(path, "docs"))
