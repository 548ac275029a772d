"""The house rules that can be read off the source: one-way imports, a light start, nothing forbidden."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "autoreel"

# Each imports only what stands before it, and itself.
ORDER = (
    "errors", "durations", "bounded", "config", "clip", "runs", "media", "models", "data", "evaluation", "generation",
    "training", "report", "film", "service", "preflight", "commands", "cli", "__main__",
)  # fmt: skip
HEAVY = {"torch", "av", "numpy", "PIL", "pydantic", "safetensors", "rich.progress"}
# Modules that a command without a model needs: none of them, nor what they import, may bring torch in.
WITHOUT_TORCH = (
    "autoreel", "autoreel.cli", "autoreel.errors", "autoreel.config", "autoreel.clip", "autoreel.runs",
    "autoreel.preflight", "autoreel.media.decode", "autoreel.media.encode", "autoreel.media.sound",
    "autoreel.data.scan", "autoreel.data.prepare", "autoreel.data.sample", "autoreel.film.storyboard",
    "autoreel.film.document", "autoreel.film.director", "autoreel.training.budget",
)  # fmt: skip
FORBIDDEN_PACKAGES = {
    "torchvision", "torchaudio", "torchcodec", "lpips", "litdata", "torchcfm", "piq", "flow_matching", "pickle",
    "cPickle", "dill", "joblib", "shelve", "marshal",
}  # fmt: skip
FORBIDDEN_FOLDERS = {"utils", "helpers", "base", "common", "util", "helper", "misc"}
TEXT_SUFFIXES = {".py", ".md", ".toml", ".txt", ".cfg", ".yml", ".yaml", ".sh", ".json", ""}


def python_files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def imported(tree: ast.Module, path: Path) -> Iterator[tuple[str, int]]:
    """Every absolute name that a module imports anywhere, also inside functions and for type checking."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; name the package"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def part_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def for_types_only(tree: ast.Module) -> set[int]:
    """Lines under `if TYPE_CHECKING:`, which bind nothing when the program runs."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


@pytest.mark.parametrize("path", list(python_files("src")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_flow_one_way(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        return  # the front door names what is behind it, at first use
    assert part in ORDER, f"{part} has no place in the order of imports; give it one in DESIGN and here"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_lines = for_types_only(tree)
    wrong = []
    for name, line in imported(tree, path):
        names = name.split(".")
        if names[0] != "autoreel" or len(names) < 2 or names[1] in ("__version__", "load") or line in typing_lines:
            continue
        if ORDER.index(names[1]) > ORDER.index(part):
            wrong.append(f"{path.relative_to(ROOT)}:{line}: {part} imports {name}, which stands after it")
    assert not wrong, "\n".join(wrong)


def test_every_folder_has_a_place_in_the_order() -> None:
    parts = {part_of(path) for path in python_files("src")} - {"__init__"}
    assert parts <= set(ORDER)


def test_help_imports_nothing_heavy() -> None:
    loaded = modules_after("from autoreel.cli import main; main(['--help'])")
    assert not HEAVY & loaded


def test_importing_autoreel_is_light() -> None:
    loaded = modules_after("import autoreel; autoreel.load")
    assert not (HEAVY | {"cyclopts"}) & loaded


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_starts_without_torch(module: str) -> None:
    assert "torch" not in modules_after(f"import {module}")


def modules_after(code: str) -> set[str]:
    """The modules that are loaded once the code has run in a fresh process."""
    script = f"{code}\nimport sys\nprint('\\n' + ' '.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT / "src", check=True)
    return set(run.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("path", list(python_files("src", "tests", "tools")), ids=lambda p: str(p.relative_to(ROOT)))
def test_forbidden_packages_are_absent(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = {name.split(".")[0] for name, _ in imported(tree, path)}
    assert not used & FORBIDDEN_PACKAGES
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not calls & {"torch.load", "torch.save", "torch.hub.load", "eval", "exec", "os.system"}


@pytest.mark.parametrize("path", list(python_files("src")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_constructors_name_their_arguments(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            assert node.args.kwarg is None, f"{path}:{node.lineno}: **kwargs in a constructor"


def test_no_drawers_for_odds_and_ends() -> None:
    names = {part.removesuffix(".py") for path in python_files("src", "tests") for part in path.relative_to(ROOT).parts}
    assert not names & FORBIDDEN_FOLDERS


def test_dependencies_are_what_the_code_imports() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [re.split(r"[<>=\[]", text)[0] for text in project["dependencies"]]
    extras = [re.split(r"[<>=\[]", text)[0] for texts in project["optional-dependencies"].values() for text in texts]
    assert not FORBIDDEN_PACKAGES & {name.replace("-", "_") for name in wanted + extras}
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pins = {line.split("==")[0].lower().replace("_", "-") for line in pinned.splitlines() if "==" in line}
    assert {name.lower() for name in wanted} <= pins, "every core dependency has an exact version"
    assert {re.split(r"[<>=\[]", text)[0] for text in project["optional-dependencies"]["dev"]} <= pins


def tracked_texts() -> Iterator[tuple[Path, str]]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.split("\0") if listed.returncode == 0 else []
    for name in filter(None, names):
        path = ROOT / name
        if path.suffix in TEXT_SUFFIXES and path.is_file() and path.name != "LICENSE":
            yield path, path.read_text(encoding="utf-8", errors="strict")


def test_nothing_names_a_place_that_only_some_machine_has() -> None:
    me = Path(__file__).resolve()
    places = r"(?<![\w.])/(?:work|home|Users|root)/\w"
    words = re.compile(places + r"|pypi\.org|pythonhosted|download\.pytorch|\bTODO\b|\bFIXME\b")
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path, text in tracked_texts() if path.resolve() != me
        for number, line in enumerate(text.splitlines(), start=1) if words.search(line)
    ]  # fmt: skip
    assert not wrong, "\n".join(wrong)


def test_no_footage_is_in_the_repository() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    media = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".mp3", ".wav", ".flac")
    assert [name for name in listed if name.endswith(media)] == []
