"""Effects and transitions: one table each for words and pictures; and what they do to a frame."""

from typing import Any, Literal, get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from autoreel.film.effects import EFFECTS, ColorEffect, Effect, GrainEffect, SepiaEffect, ZoomEffect
from autoreel.film.filters import FILTERS, PLANAR_FILTERS, Span, make_filters, make_planar_filters, stays_planar
from autoreel.film.sources import Fitter
from autoreel.film.storyboard import LATENT_TRANSITIONS, Canvas, TransitionKind
from autoreel.film.transitions import MIXES, mix, to_color
from autoreel.film.xfade import XFADES
from autoreel.media.encode import VideoWriter
from autoreel.media.yuv420 import Picture, Planar, as_planar, as_rgb

SIZE = (48, 64)
SPAN = Span(20, SIZE, seed=3)
STILL = ("reverse", "speed", "ramp", "freeze", "smooth")  # done in time, not to pictures
NEUTRAL = ("color", "curves", "balance")  # without settings they change nothing
CUBE = "LUT_3D_SIZE 2\n" + "\n".join(f"{1 - r} {g} {b}" for b in (0, 1) for g in (0, 1) for r in (0, 1))


def _picture() -> Image.Image:
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    values = np.stack([x * 4, y * 5, (x * y) % 256], axis=-1).clip(0, 255)
    return Image.fromarray(values.astype(np.uint8))


def _plain(color: str) -> Image.Image:
    return Image.new("RGB", (SIZE[1], SIZE[0]), color)


def _array(picture: Picture) -> NDArray[np.int_]:
    return np.asarray(as_rgb(picture)).astype(int)


def _one(effect: Effect, picture: Image.Image, frame: int = 0) -> NDArray[np.int_]:
    return _array(make_filters((effect,), SPAN)(picture, frame))


def test_the_tables_agree() -> None:
    assert set(FILTERS) == set(EFFECTS)
    assert {"cut", *MIXES, *LATENT_TRANSITIONS} == set(get_args(TransitionKind))
    union = get_args(get_args(Effect)[0])
    assert {effect.model_fields["name"].default for effect in union} == set(EFFECTS)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the effects that show or use another file are given."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "colors.cube").write_text(CUBE)
    with VideoWriter(folder / "other.mp4", SIZE, 25) as writer:
        writer.write(np.full((30, *SIZE, 3), (250, 20, 180), np.uint8))
    return {"lut": str(folder / "colors.cube"), "inset": str(folder / "other.mp4"), "split": str(folder / "other.mp4")}


def _effect(name: str, files: dict[str, str], **settings: object) -> Any:
    needed = {"file": files[name]} if name in files else {}
    return EFFECTS[name].model_validate({"name": name, **needed, **settings})


@pytest.mark.parametrize("name", EFFECTS)
def test_an_effect_keeps_the_size_and_is_the_same_each_time(name: str, files: dict[str, str]) -> None:
    picture = _picture()
    first, again = (FILTERS[name](_effect(name, files), SPAN)(picture, 7) for _ in range(2))
    assert first.size == picture.size and first.mode == "RGB"
    assert np.array_equal(_array(first), _array(again))
    assert np.array_equal(_array(picture), _array(_picture()))  # the picture given is not changed
    changes = name not in STILL and name not in NEUTRAL
    assert np.array_equal(_array(first), _array(picture)) is not changes


@pytest.mark.parametrize("name", [name for name in EFFECTS if name not in STILL])
@pytest.mark.parametrize("size", [(16, 16), (90, 160)])
def test_an_effect_takes_its_limits_and_any_size(name: str, size: tuple[int, int], files: dict[str, str]) -> None:
    for key, info in EFFECTS[name].model_fields.items():
        if key == "in_s":
            continue  # a clip is shorter than the longest beginning
        for bound in info.metadata:
            for limit in (getattr(bound, "ge", None), getattr(bound, "le", None)):
                if limit is not None:
                    apply = FILTERS[name](_effect(name, files, **{key: limit}), Span(5, size, 0))
                    assert apply(Image.new("RGB", (size[1], size[0]), "#406080"), 4).size == (size[1], size[0])


def test_color_does_what_its_words_say() -> None:
    grey = _plain("#808080")
    assert _one(ColorEffect(brightness=0.2), grey).mean() == pytest.approx(128 + 51, abs=1)
    assert _one(ColorEffect(contrast=0.0), _picture()).std() == 0
    assert _one(ColorEffect(gamma=2.0), grey).mean() > 150
    warm = _one(ColorEffect(warmth=1.0), grey)
    assert warm[..., 0].mean() > 128 > warm[..., 2].mean()
    flat = _one(ColorEffect(saturation=0.0), _picture())
    assert np.array_equal(flat[..., 0], flat[..., 2])


def test_sepia_is_brown_and_grain_moves() -> None:
    sepia = _one(SepiaEffect(), _plain("#808080"))[0, 0]
    assert sepia[0] > sepia[1] > sepia[2]
    first, second = (_one(GrainEffect(strength=0.5), _plain("#808080"), frame) for frame in (0, 1))
    assert not np.array_equal(first, second)
    assert first.mean() == pytest.approx(128, abs=3) and first.std() > 10


def test_zoom_ends_on_its_part_of_the_picture() -> None:
    picture = _plain("#000000")
    picture.paste("#ffffff", (0, 0, 16, 12))
    effect = ZoomEffect(start=1.0, end=4.0, end_x=0.0, end_y=0.0)
    assert _one(effect, picture, 0).mean() == pytest.approx(_array(picture).mean(), abs=2)
    assert _one(effect, picture, 19).mean() > 245


@pytest.mark.parametrize("kind", MIXES)
def test_a_transition_goes_from_one_to_the_other(kind: str) -> None:
    before, after = _plain("#ff0000"), _plain("#0000ff")
    shares = []
    for progress in (0.02, 0.25, 0.5, 0.75, 0.98):
        picture = mix(kind, before, after, progress)
        assert picture.size == before.size
        mean = _array(picture).reshape(-1, 3).mean(axis=0)
        shares.append(mean[2] / max(1.0, mean[0] + mean[2]))
    assert shares == sorted(shares)
    assert (shares[0] < 0.1 or kind == "distance") and shares[-1] > 0.9  # these colours are far apart from the start
    assert np.array_equal(_array(before), _array(_plain("#ff0000")))


@pytest.mark.parametrize("kind", ["blur", "radial"])
def test_a_moment_of_a_crossing_does_not_depend_on_those_before(kind: str) -> None:
    before, after = _picture(), _plain("#204080")
    alone = _array(mix(kind, before, after, 0.6))
    for progress in (0.2, 0.4):
        mix(kind, before, after, progress)
    assert np.array_equal(_array(mix(kind, before, after, 0.6)), alone)
    assert np.array_equal(_array(mix(kind, before, after, 0.2)), _array(mix(kind, before, after, 0.2)))


@pytest.mark.parametrize("kind", [kind for kind in MIXES if kind not in XFADES])  # FFmpeg's are made of RGB alone
@pytest.mark.parametrize("progress", [0.1, 0.5, 0.77])
def test_a_transition_of_planar_pictures_looks_the_same(kind: str, progress: float) -> None:
    before, after = _picture(), _picture().transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    rgb = as_planar(mix(kind, before, after, progress))
    planar = mix(kind, as_planar(before), as_planar(after), progress)
    mixed = mix(kind, before, as_planar(after), progress)
    for one in (planar, mixed):
        assert isinstance(one, Planar) or kind == "dip"  # which shows one of the two as it is
        assert np.abs(as_planar(one).data.astype(int) - rgb.data).mean() < 2


@pytest.mark.parametrize("name", PLANAR_FILTERS)
def test_an_effect_on_planar_pictures_looks_the_same(name: str) -> None:
    effect, picture = EFFECTS[name](), _picture()
    assert stays_planar((effect,)) and not stays_planar((effect, GrainEffect()))  # type: ignore[arg-type]
    planar = make_planar_filters((effect,), SPAN)(as_planar(picture), 12)  # type: ignore[arg-type]
    rgb = as_planar(make_filters((effect,), SPAN)(picture, 12))  # type: ignore[arg-type]
    assert np.abs(planar.data.astype(int) - rgb.data).mean() < 1.5


def test_a_dip_passes_through_its_color() -> None:
    middle = _array(mix("dip", _plain("#ff0000"), _plain("#0000ff"), 0.5, "#ffffff"))
    assert middle.min() == 255
    assert _array(to_color(_plain("#ff0000"), "#000000", 0.5))[0, 0].tolist() == [127, 0, 0]


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("size", [(2, 4000), (4000, 3), (1, 1), (5000, 3)])
@pytest.mark.parametrize("fit", ["crop", "letterbox"])
def test_a_strip_fits_a_canvas_too(fit: Literal["crop", "letterbox"], size: tuple[int, int], planar: bool) -> None:
    strip = np.full((*size, 3), 200, np.uint8)
    picture = as_rgb(Fitter(Canvas(width=64, height=36, fit=fit), planar).fit(strip))
    assert picture.size == (64, 36)
    assert int(np.asarray(picture)[15:21, 29:35].max()) == pytest.approx(200, abs=3)
