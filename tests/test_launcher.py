"""The launcher: quick and silent when all is set up, and careful with what it did not make itself."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
PARTS = ("autoreel", "pyproject.toml", "constraints.txt", "tools/environment.py")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The launcher and what it needs, in a folder with a space in its name."""
    folder = tmp_path / "my films"
    for part in PARTS:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / part, folder / part)
    return folder


@pytest.fixture
def environment(copy: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tools/environment.py of the copy, which records what it would run instead of running it."""
    spec = importlib.util.spec_from_file_location("environment", copy / "tools" / "environment.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delenv("AUTOREEL_TORCH_INDEX", raising=False)
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    monkeypatch.setattr(module.platform, "system", lambda: "Linux")
    return module


def fingerprint_of(folder: Path) -> str:
    """As the launcher computes it."""
    names = ("pyproject.toml", "constraints.txt", "tools/environment.py")
    data = b"".join((folder / name).read_bytes() for name in names)
    sums = subprocess.run(["cksum"], input=data, capture_output=True, check=True).stdout.decode().strip()
    return f"{sums} {folder.resolve()}"


def pretend_ready(folder: Path, extras: str = "") -> None:
    """A finished environment whose Python only shows its arguments."""
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    starts = f'[ "$1" = -I ] && exec {sys.executable} "$@"'  # what the launcher asks to see whether it runs
    python.write_text(f'#!/bin/sh\n{starts}\nfor argument in "$@"; do echo "<$argument>"; done\nexit 7\n')
    python.chmod(0o755)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (folder / ".venv" / "lib" / version).mkdir(parents=True)
    (folder / ".venv" / "made-by-autoreel").touch()
    (folder / ".venv" / "autoreel-ready").write_text(f"{fingerprint_of(folder)}\n{extras}\n")


def launch(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(folder / "autoreel"), *arguments], capture_output=True, text=True, env={**os.environ, **variables}
    )


def test_a_ready_environment_is_used_at_once_with_every_argument_as_given(copy: Path) -> None:
    pretend_ready(copy)
    ran = launch(copy, "film", "a folder/", "--title", 'Two "words" $HOME', "")
    assert ran.returncode == 7
    assert ran.stdout.splitlines() == [
        "<-P>", "<-m>", "<autoreel>", "<film>", "<a folder/>", "<--title>", '<Two "words" $HOME>', "<>",
    ]  # fmt: skip
    assert ran.stderr == ""


def test_it_works_through_a_link_from_elsewhere(copy: Path, tmp_path: Path) -> None:
    pretend_ready(copy)
    (tmp_path / "link").symlink_to(copy / "autoreel")
    ran = subprocess.run([str(tmp_path / "link"), "--version"], capture_output=True, text=True, cwd="/")
    assert ran.stdout.splitlines()[-1] == "<--version>"


def test_an_extra_that_is_there_is_not_set_up_again(copy: Path) -> None:
    pretend_ready(copy, "dev serve")
    ran = launch(copy, "set-up", "serve")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@pytest.mark.parametrize("change", ["constraints.txt", "pyproject.toml"])
def test_other_requirements_make_it_anew(copy: Path, change: str) -> None:
    pretend_ready(copy)
    with (copy / change).open("a") as file:
        file.write("\n# changed\n")
    fake = copy / "fake-python"
    fake.write_text('#!/bin/sh\ncase "$1" in -c) exit 0 ;; esac\necho "set up: $1 for $2"\nexit 5\n')
    fake.chmod(0o755)
    ran = launch(copy, "--version", AUTOREEL_PYTHON=str(fake))
    assert ran.returncode == 5
    assert ran.stdout.strip() == f"set up: {copy.resolve()}/tools/environment.py for {fingerprint_of(copy)}"


def only_tools(folder: Path) -> Path:
    """A folder for PATH with what the launcher needs, and no Python."""
    folder.mkdir()
    for name in ("readlink", "dirname", "cat", "cksum", "sh"):
        (folder / name).symlink_to(shutil.which(name) or name)
    return folder


def test_without_any_python_it_says_what_to_do(copy: Path, tmp_path: Path) -> None:
    ran = launch(copy, "--version", PATH=str(only_tools(tmp_path / "bin")))
    assert ran.returncode == 1
    assert ran.stderr.strip() == (
        "autoreel: no Python 3.11 or newer found; install one (or uv), or name it: AUTOREEL_PYTHON=/path/to/python3"
    )


@pytest.mark.parametrize("gone", ["link", "version", "broken"])
def test_an_environment_whose_python_is_gone_is_made_anew(copy: Path, gone: str) -> None:
    pretend_ready(copy)
    python = copy / ".venv" / "bin" / "python"
    if gone == "version":
        next((copy / ".venv" / "lib").iterdir()).rename(copy / ".venv" / "lib" / "python3.9")
    elif gone == "link":
        python.unlink()
        python.symlink_to("/nowhere/python3")
    else:
        python.write_bytes(b"\x7fELF")
    ran = launch(copy, "--version", AUTOREEL_PYTHON=str(fake_python(copy / "fake-python", "3.12")))
    assert ran.returncode == 5 and ran.stdout.startswith("fake-python sets up")


def fake_python(path: Path, version: str) -> Path:
    """A Python that says it is of a version, and only tells that it was chosen."""
    told = f"import sys; sys.version_info = ({version.replace('.', ', ')}, 0)"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && exec {sys.executable} -c "{told}; $2"\necho "{path.name} sets up"\nexit 5\n'
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("versions", "chosen"),
    [
        ({"python3": "3.15", "python3.12": "3.12"}, "python3.12"),
        ({"python3": "3.13", "python3.12": "3.12"}, "python3"),
        ({"python3": "3.10", "python3.14": "3.14"}, "python3.14"),
        ({"python3": "3.15", "python": "2.7"}, "python3"),
    ],
)
def test_a_python_that_torch_has_builds_for_goes_first(
    copy: Path, tmp_path: Path, versions: dict[str, str], chosen: str
) -> None:
    tools = only_tools(tmp_path / "bin")
    for name, version in versions.items():
        fake_python(tools / name, version)
    ran = launch(copy, "--version", PATH=str(tools), AUTOREEL_PYTHON="")
    assert ran.stdout.strip() == f"{chosen} sets up", ran.stderr


def test_a_wrong_python_is_told_and_not_passed_over(copy: Path) -> None:
    old = fake_python(copy / "old-python", "3.10")
    for wrong in (str(old), "/nowhere/python3"):
        ran = launch(copy, "--version", AUTOREEL_PYTHON=wrong)
        assert (ran.returncode, ran.stdout) == (1, "")
        assert f"AUTOREEL_PYTHON is {wrong}, which is no Python 3.11 or newer" in ran.stderr


def test_cleaning_leaves_an_environment_of_somebody_else(copy: Path) -> None:
    shutil.copy(ROOT / "Makefile", copy / "Makefile")
    (copy / ".venv").mkdir()
    ran = subprocess.run(["make", "-C", str(copy), "clean"], capture_output=True, text=True, check=True)
    assert "was not made by ./autoreel and stays" in ran.stdout and (copy / ".venv").exists()
    (copy / ".venv" / "made-by-autoreel").touch()
    subprocess.run(["make", "-C", str(copy), "clean"], capture_output=True, check=True)
    assert not (copy / ".venv").exists()


def test_docs_that_cannot_be_made_stay_as_they_were(copy: Path) -> None:
    shutil.copy(ROOT / "Makefile", copy / "Makefile")
    pretend_ready(copy, "dev")  # its Python fails
    (copy / "docs").mkdir()
    (copy / "docs" / "commands.md").write_text("as it was")
    assert subprocess.run(["make", "-C", str(copy), "docs"], capture_output=True).returncode != 0
    assert [(path.name, path.read_text()) for path in (copy / "docs").iterdir()] == [("commands.md", "as it was")]


def test_an_environment_of_somebody_else_is_left_alone(copy: Path) -> None:
    (copy / ".venv").mkdir()
    (copy / ".venv" / "precious").touch()
    ran = launch(copy, "--version", AUTOREEL_PYTHON=sys.executable)
    assert ran.returncode == 1
    assert "was not made by this program; move it away" in ran.stderr
    assert (copy / ".venv" / "precious").exists()


def test_an_odd_extra_is_refused(copy: Path) -> None:
    ran = launch(copy, "set-up", "dev];evil", AUTOREEL_PYTHON=sys.executable)
    assert ran.returncode == 1 and "is no extra" in ran.stderr


def test_an_interrupted_set_up_is_removed_and_done_again(
    copy: Path, environment: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = copy / ".venv"
    half.mkdir()
    (half / "made-by-autoreel").touch()
    (half / "half-a-package").touch()
    done: list[str] = []
    monkeypatch.setattr(environment, "run", lambda what, command: done.append(what))
    monkeypatch.setattr(environment, "install_torch", lambda: done.append("torch"))
    monkeypatch.setattr(environment, "runs", half.exists)
    assert environment.main(["finger print", "serve"]) == 0
    assert not (half / "half-a-package").exists()
    assert done == ["virtual environment", "torch", "autoreel and what it needs", "checking that it starts"]
    assert environment.read_stamp() == ("finger print", ["serve"])
    assert environment.main(["finger print", "serve"]) == 0 and len(done) == 4, "nothing is left to do"
    assert environment.main(["finger print", "track"]) == 0
    assert environment.read_stamp() == ("finger print", ["serve", "track"])


def test_a_failed_step_leaves_no_stamp(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(what: str, command: object) -> None:
        raise environment.SetUpError("no network")

    monkeypatch.setattr(environment, "run", fail)
    assert environment.main(["finger print"]) == 1
    assert environment.read_stamp() == ("", [])


def test_ctrl_c_says_that_it_can_go_on(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(what: str, command: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(environment, "run", stop)
    assert environment.main(["finger print"]) == 130
    assert "the same command starts it again" in capsys.readouterr().err


def torch_commands(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, *, gpu: bool, plan_has_gpu: bool, uv: bool, uv_works: bool
) -> list[list[str]]:
    """The commands that install torch on a machine like this."""
    ran: list[list[str]] = []

    def run(what: str, command: list[str]) -> None:
        ran.append([str(part) for part in command])
        if "--torch-backend" in command and not uv_works:
            raise environment.SetUpError("not reached")

    monkeypatch.setattr(environment, "run", run)
    monkeypatch.setattr(environment, "has_nvidia_gpu", lambda: gpu)
    monkeypatch.setattr(environment, "pip_takes_gpu_build", lambda: plan_has_gpu)
    monkeypatch.setattr(environment, "find_uv", lambda: "uv" if uv else None)
    environment.install_torch()
    return ran


def test_torch_is_the_build_that_fits(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def last(gpu: bool, plan_has_gpu: bool, uv: bool = False, uv_works: bool = True) -> list[str]:
        return torch_commands(
            environment, monkeypatch, gpu=gpu, plan_has_gpu=plan_has_gpu, uv=uv, uv_works=uv_works
        )[-1]  # fmt: skip

    assert "--torch-backend" not in last(gpu=True, plan_has_gpu=True)
    assert "pip" in last(gpu=False, plan_has_gpu=False), "pip's own configuration has the CPU build"
    assert last(gpu=False, plan_has_gpu=True, uv=True)[-3:] == ["--torch-backend", "cpu", environment.TORCH]
    assert last(gpu=False, plan_has_gpu=True, uv=True, uv_works=False)[-1] == environment.TORCH, "better than nothing"
    monkeypatch.setenv("AUTOREEL_TORCH_INDEX", "file:///an/index")
    chosen = last(gpu=True, plan_has_gpu=True)
    assert chosen[-4:] == ["--no-deps", "--index-url", "file:///an/index", environment.TORCH]


def test_gpu_libraries_are_seen_in_pips_plan(environment: ModuleType) -> None:
    def plan(*names: str) -> str:
        return json.dumps({"install": [{"metadata": {"name": name}} for name in names]})

    assert environment.names_gpu_libraries(plan("torch", "nvidia-cublas"))
    assert not environment.names_gpu_libraries(plan("torch", "sympy"))


def test_the_pins_agree_with_each_other(environment: ModuleType) -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert environment.TORCH in pins


def test_the_error_of_an_installer_is_found(environment: ModuleType) -> None:
    text = "Collecting torch\nERROR: No matching distribution found\n\n[notice] something\n"
    assert environment.last_line(text) == "ERROR: No matching distribution found"
    assert environment.last_line("") == "no output"
