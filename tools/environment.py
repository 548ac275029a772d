"""Make the environment that `./autoreel` runs in: `.venv` beside it. Standard library only.

    python3 tools/environment.py FINGERPRINT [EXTRA...]

What happens, in order:
    1. an environment that was made from other requirements, or only half, is removed
    2. a virtual environment                     uv if present, else the venv module
    3. torch, alone and pinned                   the CPU build unless an NVIDIA GPU is there
    4. autoreel and the rest, pinned             uv if present, else (or when uv fails) pip
    5. the stamp with the fingerprint, last, so that an interrupted set-up is done again

AUTOREEL_TORCH_INDEX names an index to take torch from; without it the build is chosen as `install_torch` tells.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
VENV = HERE / ".venv"
MARKER = "made-by-autoreel"
STAMP = "autoreel-ready"
TORCH = "torch==2.13.0"
EXTRA_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class SetUpError(Exception):
    """What went wrong and what to do, on one line."""


def main(arguments: Sequence[str]) -> int:
    """Set up; 0 when the environment is ready, 1 when it could not be made, 130 when stopped."""
    fingerprint, extras = arguments[0], tuple(arguments[1:])
    try:
        for extra in extras:
            if not EXTRA_NAME.fullmatch(extra):
                raise SetUpError(f"{extra!r} is no extra; pyproject.toml lists them")
        with one_at_a_time():
            make(fingerprint, extras)
    except SetUpError as error:
        say(f"set-up failed: {error}")
        return 1
    except OSError as error:
        say(f"set-up failed: {error.filename or VENV}: {error.strerror}")
        return 1
    except KeyboardInterrupt:
        say("set-up stopped; the same command starts it again")
        return 130
    return 0


def make(fingerprint: str, extras: Sequence[str]) -> None:
    """Bring `.venv` to the state that the fingerprint and the extras ask for."""
    stamped, present = read_stamp()
    if not runs():
        stamped = ""
    wanted = sorted({*present, *extras})
    if stamped == fingerprint and wanted == present:
        return  # another process has just done it
    started = time.monotonic()
    if stamped == fingerprint:
        say(f"adding {', '.join(sorted(set(wanted) - set(present)))} to {VENV}")
        (VENV / STAMP).unlink()
    else:
        remove_old()
        say(f"first use: making an environment in {VENV}")
        say("it takes 1.1 GB of disk (several GB with an NVIDIA GPU) and a minute or more, as the network allows;")
        say("later uses start at once, and removing that folder removes everything that was installed")
        make_venv()
        install_torch()
    name = f"{HERE}[{','.join(wanted)}]" if wanted else str(HERE)
    install("autoreel and what it needs", ["--constraint", str(HERE / "constraints.txt"), "--editable", name])
    run("checking that it starts", [python(), "-P", "-m", "autoreel", "--version"])
    (VENV / STAMP).write_text(f"{fingerprint}\n{' '.join(wanted)}\n", encoding="utf-8")
    say(f"ready after {time.monotonic() - started:.0f} s")


def read_stamp() -> tuple[str, list[str]]:
    """The fingerprint and the extras that the environment was finished with."""
    try:
        lines = (VENV / STAMP).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return "", []
    return (lines[0], lines[1].split()) if len(lines) == 2 else ("", [])


def runs() -> bool:
    """Whether the environment's Python is there, runs, and is of the version that its packages were installed for."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run([python(), "-I", "-S", "-c", code], capture_output=True, text=True)
    except OSError:
        return False
    return answer.returncode == 0 and (VENV / "lib" / f"python{answer.stdout.strip()}").is_dir()


def remove_old() -> None:
    """Remove an environment of ours; one that somebody else made is left alone."""
    if not VENV.exists():
        return
    if not (VENV / MARKER).exists():
        raise SetUpError(f"{VENV} is there and was not made by this program; move it away and run the command again")
    why = "its requirements changed, its Python is gone, or its set-up was interrupted"
    say(f"removing the environment in {VENV}: {why}")
    shutil.rmtree(VENV)


def make_venv() -> None:
    """An empty virtual environment with pip in it."""
    VENV.mkdir()
    (VENV / MARKER).touch()
    uv = shutil.which("uv")
    options = ["--quiet", "--allow-existing", "--seed", "--python", sys.executable]
    if uv and attempt("virtual environment (uv)", [uv, "venv", *options, str(VENV)]):
        return
    if importlib.util.find_spec("ensurepip") is None:
        hint = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        raise SetUpError(f"this Python has no venv module; install it (on Debian and Ubuntu: apt install {hint}) or uv")
    run("virtual environment", [sys.executable, "-m", "venv", str(VENV)])


def install_torch() -> None:
    """Install torch in the build that fits this machine.

    On Linux the plain package is the build for NVIDIA GPUs with gigabytes of libraries; macOS has only one.
    Without a GPU we first ask pip what it would take (an index or folder set in its own configuration may hold the CPU
    build); when that is the GPU build we take the CPU build through uv, which knows where it is published.
    """
    index = os.environ.get("AUTOREEL_TORCH_INDEX")
    if index:
        pip = [*pip_install(), "--no-deps", "--index-url", index, TORCH]
        run(f"{TORCH} from AUTOREEL_TORCH_INDEX (about 200 MB for the CPU build, more for others)", pip)
        return
    gpu = has_nvidia_gpu()
    if platform.system() != "Linux" or gpu:
        size = "the GPU build, several GB" if gpu else "about 100 MB"
        install(f"{TORCH} ({size})", [TORCH])
        return
    if not pip_takes_gpu_build():
        run(f"{TORCH} (the CPU build, about 200 MB)", [*pip_install(), TORCH])
        return
    if shutil.which("uv") is None:
        attempt("uv, which knows where torch's CPU build is (about 20 MB)", [*pip_install(), "uv"])
    uv = find_uv()
    if uv is not None:
        command = [uv, "pip", "install", "--python", python(), "--torch-backend", "cpu", TORCH]
        if attempt(f"{TORCH} (the CPU build, about 200 MB)", command):
            return
    say("the CPU build of torch could not be had; taking the GPU build, several GB, which runs on the CPU as well")
    say("(to choose another, stop with Ctrl-C and set AUTOREEL_TORCH_INDEX to an index that has it)")
    run(f"{TORCH} (the GPU build, several GB)", [*pip_install(), TORCH])


def has_nvidia_gpu() -> bool:
    """Whether the NVIDIA driver answers with at least one GPU."""
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return False
    try:
        listed = subprocess.run([smi, "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False  # a driver that is installed and broken is no GPU that torch could use
    return listed.returncode == 0 and "GPU" in listed.stdout


def pip_takes_gpu_build() -> bool:
    """Ask pip what it would install for torch, without downloading it."""
    command = [*pip_install(), "--dry-run", "--ignore-installed", "--report", "-", TORCH]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode != 0:
        (VENV / "set-up.log").write_text(answer.stderr, encoding="utf-8")
        raise SetUpError(f"pip finds no {TORCH} for this machine: {last_line(answer.stderr)}")
    return names_gpu_libraries(answer.stdout)


def names_gpu_libraries(report: str) -> bool:
    """Whether pip's installation report has a CUDA library in it."""
    names = [item["metadata"]["name"].lower() for item in json.loads(report)["install"]]
    return any(name.startswith(("nvidia-", "cuda-")) for name in names)


def install(what: str, arguments: Sequence[str]) -> None:
    """Install with uv if present; with pip otherwise, and when uv fails (it does not read pip's configuration)."""
    uv = shutil.which("uv")
    if uv and attempt(f"{what} (uv)", [uv, "pip", "install", "--python", python(), *arguments]):
        return
    run(what, [*pip_install(), *arguments])


def attempt(what: str, command: Sequence[str]) -> bool:
    """Run a command whose failure has another way out; whether it succeeded."""
    try:
        run(what, command)
    except SetUpError as error:
        say(f"that did not work, trying another way ({error})")
        return False
    return True


def run(what: str, command: Sequence[str]) -> None:
    """Run a command with its output in `.venv/set-up.log`, and say what runs and for how long."""
    started = time.monotonic()
    live = sys.stderr.isatty()
    log = VENV / "set-up.log"
    with log.open("a", encoding="utf-8") as out:
        out.write(f"$ {' '.join(command)}\n")
        out.flush()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        try:
            while True:
                if live:
                    print(f"\rautoreel: {what} ... {time.monotonic() - started:.0f} s ", end="", file=sys.stderr)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = process.wait(timeout=1)
                    break
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if live:
        print("\r\x1b[K", end="", file=sys.stderr)
    say(f"{what}: {'done' if code == 0 else 'failed'} after {time.monotonic() - started:.0f} s")
    if code != 0:
        raise SetUpError(f"{last_line(log.read_text(encoding='utf-8', errors='replace'))}; all of it stands in {log}")


def last_line(text: str) -> str:
    """The line of an installer's output that says most: its last error, or its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "× ", "fatal"))]
    return (errors or lines or ["no output"])[-1]


def pip_install() -> list[str]:
    """The beginning of every pip command."""
    return [python(), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]


def python() -> str:
    """The environment's own Python."""
    return str(VENV / "bin" / "python")


def find_uv() -> str | None:
    """uv on the path, or the one that pip put into the environment."""
    own = VENV / "bin" / "uv"
    return shutil.which("uv") or (str(own) if own.exists() else None)


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two first uses at once: the second waits for the first."""
    import fcntl

    with (HERE / ".venv.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up of this environment is running; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def say(line: str) -> None:
    """One line to the person; standard output belongs to the program itself."""
    print(f"autoreel: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
