"""Where tests find real footage: the folder `shared` beside the repository. Without it they skip."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _folder(name: str) -> Path:
    path = SHARED / name if name else SHARED
    if not path.is_dir():
        pytest.skip(f"no folder {path}: real footage lies beside the repository, not in it")
    return path


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with footage, audio and hostile files."""
    return _folder("")


@pytest.fixture(scope="session")
def footage() -> Path:
    """Real clips in one folder per subject."""
    return _folder("footage")


@pytest.fixture(scope="session")
def audio() -> Path:
    """Music and sounds."""
    return _folder("audio")


@pytest.fixture(scope="session")
def hostile() -> Path:
    """Damaged, odd and malicious media files; HOSTILE.json says what each is."""
    return _folder("hostile")
