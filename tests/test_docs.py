"""The documents: the site builds from them, and what they name exists."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from echoexport import runtime

ROOT = Path(__file__).parent.parent
ROOMS = ("calibration", "export", "profiles", "runtime", "targets")
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *DOCS,
    ROOT / "findings" / "README.md",
    ROOT / "tests" / "fakes" / "README.md",
    ROOT / "export" / "demo" / "data" / "MODEL_CARD.md",
]
MOST_WORDS = 1200
# What a browser fetches by itself; a link that someone clicks may lead outside.
FETCHED = (
    r'<(?:script|img|iframe|source)\b[^>]*\bsrc="?(?:https?:)?//',
    r"<link\b(?![^>]*canonical)[^>]*\bhref=\"?(?:https?:)?//",
)
FETCHED_BY_STYLES = r"(?:@import|url\()\s*[\"']?(?:https?:)?//"


def place_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def strip_fences(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)


def code_spans(text: str) -> Iterator[str]:
    """What stands between backticks, as one line each."""
    for code in re.findall(r"`([^`]+)`", strip_fences(text)):
        yield " ".join(code.split())


def paths_of(text: str) -> Iterator[str]:
    """Files and folders of the repository that a page names."""
    for code in code_spans(text):
        path = re.match(r"[\w./-]+$", code)
        first = code.split("/")[0]
        if path and (code.endswith(".py") or ("/" in code and first in TOP)):
            yield code


def modules_of(text: str) -> set[str]:
    """Dotted names of ours, in prose and in code."""
    return set(re.findall(rf"\bechoexport\.(?:{'|'.join(ROOMS)})\b(?:\.\w+)*", text))


def exists_as_path(name: str) -> bool:
    """Whether the repository has it, from its top or, for a module, from a folder within.

    ``NAME.py`` stands for any file: its folder has to exist.
    """
    if (ROOT / name.removesuffix("NAME.py")).exists():
        return True
    return name.endswith(".py") and any(place.endswith(f"/{name}") for place in MODULES)


def exists_as_module(name: str) -> bool:
    """Whether a dotted name is a module, or something that a module defines."""
    path = ROOT.joinpath(*name.split(".")[1:])
    if path.is_dir() or path.with_suffix(".py").exists():
        return True
    module = path.parent.with_suffix(".py")
    source = module.read_text(encoding="utf-8") if module.exists() else ""
    return re.search(rf"^(?:def |class |){path.name}\b", source, re.MULTILINE) is not None


def links_of(text: str) -> set[str]:
    """Where a page's links and pictures lead within the repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", strip_fences(text))
    return {link.split("#")[0] for link in found if "://" not in link and not link.startswith("#")}


def build_site(root: Path, *, into: Path) -> subprocess.CompletedProcess[str]:
    """The site, as ``make docs`` builds it."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(into)],
        cwd=root,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def require_mkdocs() -> None:
    pytest.importorskip("mkdocs", reason="the site is built where mkdocs is installed")


TOP = {*ROOMS, "tests", "docs", "findings"}
MODULES = [place_of(path) for room in (*ROOMS, "tests") for path in (ROOT / room).rglob("*.py")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    require_mkdocs()
    folder = tmp_path_factory.mktemp("docs") / "site"
    built = build_site(ROOT, into=folder)
    assert built.returncode == 0, built.stderr
    return folder


def test_the_site_has_a_page_for_every_document(site: Path) -> None:
    assert {path.stem for path in DOCS} <= {path.stem for path in site.glob("*.html")}


def test_the_site_fetches_nothing_from_outside(site: Path) -> None:
    pages = {path.name: path.read_text("utf-8") for path in site.rglob("*.html")}
    styles = {path.name: path.read_text("utf-8") for path in site.rglob("*.css")}
    assert pages and styles
    assert [name for name, text in pages.items() for like in FETCHED if re.search(like, text)] == []
    assert [name for name, text in styles.items() if re.search(FETCHED_BY_STYLES, text)] == []


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://outside.example/a.js">',
        '<link rel="stylesheet" href="//outside.example/a.css">',
        '<link rel=preconnect href="https://outside.example">',
        '<img alt="x" src="http://outside.example/a.png">',
    ],
)
def test_what_a_page_would_fetch_from_outside_is_seen(page: str) -> None:
    assert any(re.search(like, page) for like in FETCHED)


def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    require_mkdocs()
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    with (tmp_path / "docs" / "run.md").open("a", encoding="utf-8") as page:
        page.write("\n[nowhere](build.md#no-such-heading)\n")
    built = build_site(tmp_path, into=tmp_path / "site")
    assert built.returncode != 0
    assert "no-such-heading" in built.stderr


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").split()) <= MOST_WORDS


@pytest.mark.parametrize("page", PAGES, ids=place_of)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    links = links_of(page.read_text("utf-8"))
    assert {link for link in links if not (page.parent / link).exists()} == set()


@pytest.mark.parametrize("page", PAGES, ids=place_of)
def test_every_file_that_a_document_names_exists(page: Path) -> None:
    assert [name for name in paths_of(page.read_text("utf-8")) if not exists_as_path(name)] == []


@pytest.mark.parametrize("page", PAGES, ids=place_of)
def test_every_module_that_a_document_names_exists(page: Path) -> None:
    names = modules_of(page.read_text("utf-8"))
    assert {name for name in names if not exists_as_module(name)} == set()


def test_a_file_or_a_module_that_moved_away_is_seen() -> None:
    text = "`runtime/session.py`, `no_such.py` and `runtime/sinks/` of `echoexport.runtime.session`"
    assert [name for name in paths_of(text) if not exists_as_path(name)] == [
        "runtime/session.py",
        "no_such.py",
    ]
    assert [name for name in modules_of(text) if not exists_as_module(name)] == [
        "echoexport.runtime.session"
    ]


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "python.md"], ids=place_of)
def test_the_examples_import_from_the_public_face_alone(page: Path) -> None:
    text = page.read_text("utf-8")
    fences = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    nodes = [node for fence in fences for node in ast.walk(ast.parse(fence))]
    modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    names = {a.name for node in nodes if isinstance(node, ast.ImportFrom) for a in node.names}
    assert modules == {"echoexport.runtime"}
    assert names - set(runtime.__all__) == set()
    assert not any(isinstance(node, ast.Import) for node in nodes)
