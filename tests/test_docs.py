"""Whatever the documents show is held to the program: commands, configs, messages, links, help."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from autoreel.cli import COMMANDS, app
from autoreel.config import Config, load_config

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
LAUNCHER_ONLY = {"set-up"}
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def command_lines(page: Path) -> list[str]:
    """Every line that a person could type, from indented blocks and from sentences."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"^```(?:text|python|toml).*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^    ((?:\./)?autoreel [^\n]+)$", text, re.MULTILINE)
    return lines + re.findall(r"`(\./autoreel [^`\n]+)`", text)


@by_page
def test_commands_are_understood(page: Path) -> None:
    for line in command_lines(page):
        tokens = shlex.split(line)[1:]
        if tokens and tokens[0] in LAUNCHER_ONLY:
            continue
        if "..." in tokens or any(token.isupper() and not token.startswith("-") for token in tokens):
            continue  # stands for something
        command, bound, ignored = app.parse_args(tokens, exit_on_error=False, print_error=False)[:3]
        assert callable(command), line
        assert bound is not None, line
        assert not ignored, line


def test_the_readme_shows_every_command() -> None:
    shown = {shlex.split(line)[1] for line in command_lines(ROOT / "README.md")}
    assert set(COMMANDS) <= shown


def test_make_targets_that_are_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for page in PAGES:
        named = re.findall(r"(?:^    |`)make ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(named) <= targets, page
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make test" in ci and "    make test" in (ROOT / "README.md").read_text(encoding="utf-8")


@by_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not target.startswith(("https://", "http://")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@by_page
def test_python_is_python(page: Path) -> None:
    for block in blocks(page, "python"):
        ast.parse(block)


def test_configs_are_read(tmp_path: Path) -> None:
    found = blocks(ROOT / "docs" / "training.md", "toml")
    assert found
    for block in found:
        path = tmp_path / "config.toml"
        path.write_text(block, encoding="utf-8")
        assert load_config(path) != Config()


@by_page
def test_toml_is_toml(page: Path) -> None:
    for block in blocks(page, "toml"):
        tomllib.loads(block)


def test_the_page_of_commands_is_what_the_program_prints() -> None:
    spec = importlib.util.spec_from_file_location("command_help", ROOT / "tools" / "command_help.py")
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert module.page() == written, "`make docs` writes it again"


def all_strings() -> str:
    """Every string of the source, the parts of formatted ones joined where they meet, and the launcher's text."""
    texts = []
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "tools").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    texts.append((ROOT / "autoreel").read_text(encoding="utf-8"))
    return "\n".join(texts)


def test_troubleshooting_quotes_messages_as_they_are() -> None:
    strings = all_strings().replace("`", "")
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### `(.+)`$", text, re.MULTILINE)
    assert len(headings) > 15
    placeholder = r"'?\b(?:[A-Z]{3,})\b'?|--fit crop|\.mp4, .*|\([^)]*uv\).*"
    for heading in headings:
        fragments = [part.strip(" :;,") for part in re.split(placeholder, heading)]
        told = [part for part in fragments if len(part) > 5]
        assert told, heading
        for part in told:
            assert part in strings, f"{heading!r}: no message says {part!r}"


def test_the_launchers_extras_are_documented() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z0-9]+)` \|", page, re.MULTILINE)) == set(project["optional-dependencies"])


def test_only_what_is_tracked_is_linked_as_picture() -> None:
    listed = subprocess.run(["git", "ls-files", "docs"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    for page in PAGES:
        for picture in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            path = (page.parent / picture).resolve().relative_to(ROOT).as_posix()
            assert path in listed, f"{page.name} shows {picture}, which is not in the repository"
