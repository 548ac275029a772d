"""Attacks on the jail that succeed outside of it: files that lead elsewhere, a decoder that was taken over, bombs."""

import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.fault_campaigns import bombs, takeover
from benchmarks.fault_campaigns.attacks import MAY_BE_REFUSED
from benchmarks.fault_campaigns.escapes import Escape, Listener, control, escapes, jailed, make_secret

from autoreel.media import jail

SAMPLE = (
    "playlist with a path, named .m3u8", "playlist with an address, named .mp4",
    "playlist with a key by address, named .mkv",
    "concat of a name beside it, named .mp4", "concat of an address, named .avi", "session of both, named .mp4",
    "the name http", "the name tcp", "the name subfile", "the name concat", "pattern of names", "a filter that reads",
)  # fmt: skip


ITXT = b"name\0\1\0en\0Name\0"
_PACKER = zlib.compressobj(1, zlib.DEFLATED, 9)  # another window, so another first byte
LONG = _PACKER.compress(bytes(40 << 20)) + _PACKER.flush()


@pytest.fixture(scope="module")
def closed() -> None:
    if not jail.jail_report().get("seccomp"):
        pytest.skip("this machine offers no seccomp, which the attacks are to be stopped by")


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Listener, list[Escape]]]:
    work = tmp_path_factory.mktemp("escapes")
    secret = make_secret(work / "secret")
    listener = Listener(secret["secret.ts"].read_bytes())
    yield listener, list(escapes(work, secret, listener.port))
    listener.close()


@pytest.mark.parametrize("name", SAMPLE)
def test_files_and_names_lead_nowhere(closed: None, field: tuple[Listener, list[Escape]], name: str) -> None:
    listener, every = field
    escape = next(escape for escape in every if escape.name.startswith(name))
    assert control(escape, listener) != "", "it has no effect outside, so it proves nothing"
    assert jailed(escape, listener) == ""


def test_there_are_enough_of_them(field: tuple[Listener, list[Escape]]) -> None:
    assert len({escape.name for escape in field[1]}) + len(takeover.ATTEMPTS) >= 120


def test_a_decoder_that_was_taken_over_gets_nowhere(closed: None) -> None:
    found = takeover.attempts()
    assert {name for name, (outside, _) in found.items() if outside != "succeeded"} <= MAY_BE_REFUSED
    assert {name: inside for name, (_, inside) in found.items() if not inside.startswith("refused")} == {}


@pytest.mark.parametrize(
    ("bomb", "said"),
    [
        (bombs.Bomb("GIF", ".gif", bombs.gif(16000, 16000, 1000)), "16000"),
        (bombs.Bomb("PNG", ".png", bombs.png(30000, 30000)), ""),
        (bombs.packed_text(40), "unpack"),
        (bombs.packed_colours(40), "unpack"),
        (bombs.Bomb("international", ".png", bombs.png(16, 16, extra=bombs._chunk(b"iTXt", ITXT + LONG))), "unpack"),
        (bombs.Bomb("sound", ".wav", bombs.wav(2**31 - 1, 8000)), ""),
    ],
    ids=["GIF", "PNG", "texts", "colours", "international", "sound"],
)
def test_bombs_take_little_memory(tmp_path: Path, bomb: bombs.Bomb, said: str) -> None:
    path = tmp_path / f"bomb{bomb.suffix}"
    path.write_bytes(bomb.content)
    reasons = []
    _, most = bombs.watched(lambda: reasons.append(bombs.ended(path)))
    assert most <= bombs.MOST_BYTES
    assert said in reasons[0] and "pictures" not in reasons[0].split()[1:2]


def test_a_picture_with_texts_is_a_picture(tmp_path: Path) -> None:
    text = zlib.compress(b"a long description " * 10_000)
    (tmp_path / "text.png").write_bytes(bombs.png(16, 16, extra=bombs._chunk(b"zTXt", b"k\0\0" + text)))
    assert bombs.ended(tmp_path / "text.png") == "1 pictures"


def test_a_film_with_years_between_its_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "years.mkv").write_bytes(bombs.film(tmp_path, "made.mkv", [0, 40, 978_307_200_000]))
    assert "gap" in bombs.ended(tmp_path / "years.mkv")
