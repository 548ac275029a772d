"""The public API on a small run with weights that were never trained: lengths, streams, seeds, errors."""

import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

import autoreel
from autoreel.clip import Frames
from autoreel.config import CodecConfig, Config, DataConfig, PriorConfig
from autoreel.errors import RunError, UsageError
from autoreel.generation.fitting import fit_frames
from autoreel.generation.run import Options, Run
from autoreel.models.codec import Codec
from autoreel.models.prior import Prior
from autoreel.runs import RunFolder
from autoreel.runs.folder import StageState, WeightsRecord

CONFIG = Config(
    data=DataConfig(height=16, width=24),
    codec=CodecConfig(latent_channels=4, widths=(8, 8, 8), encoder_depths=(1, 1, 1), decoder_depths=(1, 1, 1)),
    prior=PriorConfig(width=32, depth=1, heads=1, patch=1, window=4, steps=2),
)
LABELS = ("bend", "wave_one_hand")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder as training leaves it."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("runs") / "small"
    codec, prior = Codec(CONFIG.codec), Prior(CONFIG.prior, 4, (2, 3), len(LABELS))
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    run = RunFolder.create(path, CONFIG)
    run.update(labels=LABELS, size=(16, 24), rate=Fraction(25))
    digest = run.save_weights("codec.safetensors", codec.state_dict(), {})
    run.save_weights("prior.safetensors", prior.state_dict(), {})
    run.update_stage("prior", StageState(done=True, codec_hash=digest))
    return path


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return autoreel.load(folder, device="cpu")


def clip(num_frames: int, size: tuple[int, int] = (16, 24)) -> Frames:
    return np.random.default_rng(0).integers(0, 256, (num_frames, *size, 3), np.uint8)


def test_what_a_run_says_about_itself(run: Run) -> None:
    assert (run.labels, run.size, run.rate) == (LABELS, (16, 24), Fraction(25))


@pytest.mark.parametrize("num_frames", [1, 2, 5, 12, 40])
def test_any_length_is_encoded_and_decoded(run: Run, num_frames: int) -> None:
    latents = run.encode(clip(num_frames))
    assert latents.shape == (1 + -(-(num_frames - 1) // 4), 4, 2, 3) and latents.dtype == np.float32
    assert run.decode(latents).shape == (1 + 4 * (len(latents) - 1), 16, 24, 3)
    assert run.decode(latents, num_frames).shape == (num_frames, 16, 24, 3)


def test_rebuild_is_decode_of_encode_in_any_chunks(run: Run) -> None:
    frames = clip(23)
    whole = run.rebuild(frames)
    assert whole.shape == frames.shape
    for cuts in ([1], [2, 3, 20], [7, 14]):
        pieces = list(run.rebuild_stream(np.split(frames, cuts)))
        assert_near(np.concatenate(pieces), whole)
    assert_near(run.decode(run.encode(frames), 23), whole)


@pytest.mark.parametrize("size", [(40, 24), (19, 30)])
def test_rebuild_at_another_size(run: Run, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    frames = clip(10, size)
    whole = run.rebuild(frames, size)
    assert whole.shape == frames.shape and run.rebuild(frames).shape == (10, 16, 24, 3)
    monkeypatch.setattr("autoreel.models.tiling.free_memory", lambda device: 1)
    tiled = run.rebuild(np.tile(frames, (1, 4, 4, 1)), (4 * size[0], 4 * size[1]))
    assert tiled.shape == (10, 4 * size[0], 4 * size[1], 3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(steps=0), "steps 0: they must lie between 1 and 1000"),
        (Options(steps=1001), "between 1 and 1000"), (Options(guidance=float("nan")), "guidance nan"),
        (Options(guidance=-1), "guidance -1: it must lie between 0 and 20"), (Options(guidance=21), "between 0 and 20"),
        (Options(sampler="normal"), "'normal' knows no label"), (Options(sampler="gaussian"), "knows no label"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_of_a_sampler_is_said(run: Run, options: Options, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        run.generate("bend", 5, options=options)


@pytest.mark.parametrize("options", [
    Options(steps=4, sampler="normal"), Options(1.5, sampler="normal"), Options(solver="heun", sampler="normal"),
])  # fmt: skip
def test_what_only_a_prior_heeds_is_not_ignored(run: Run, options: Options) -> None:
    with pytest.raises(UsageError, match="leave them out"):
        run.generate(None, 5, options=options)


def test_films_ask_a_gan_with_labels_too(run: Run) -> None:
    config = CONFIG.model_copy(update={"codec": CONFIG.codec.model_copy(update={"family": "gan"})})
    gan = Run(config, Codec(config.codec), None, LABELS, (16, 24), Fraction(25), torch.device("cpu"))
    assert gan.told(Options()) == {"sampler": "normal"}
    assert np.array_equal(gan.generate("bend", 9, 1), gan.generate(None, 9, 1))


def test_what_options_mean_for_a_run(run: Run) -> None:
    assert run.told(Options()) == {"sampler": "prior", "guidance": 1.5, "steps": 2, "solver": "adams"}
    assert run.told(Options(0.0, 8, "heun")) == {"sampler": "prior", "guidance": 0.0, "steps": 8, "solver": "heun"}
    assert run.told(Options(sampler="normal")) == {"sampler": "normal"}


def test_a_gaussian_is_there_when_it_was_fitted(folder: Path) -> None:
    run = autoreel.load(folder, device="cpu")
    assert not run.has_gaussian
    with pytest.raises(RunError, match="train --stage prior"):
        run.generate(None, 5, options=Options(sampler="gaussian"))
    run.fit_gaussian([run.encode(clip(17))])
    assert run.has_gaussian
    assert run.generate(None, 5, options=Options(sampler="gaussian")).shape == (5, 16, 24, 3)


@pytest.mark.parametrize("num_frames", [1, 4, 5, 33])
def test_generate_has_the_asked_length(run: Run, num_frames: int) -> None:
    made = run.generate("bend", num_frames)
    assert made.shape == (num_frames, 16, 24, 3) and made.dtype == np.uint8


def test_seed_and_label_decide(run: Run) -> None:
    first = run.generate("bend", 9, seed=1)
    assert np.array_equal(first, run.generate("bend", 9, seed=1))
    assert not np.array_equal(first, run.generate("bend", 9, seed=2))
    assert run.generate(None, 9, seed=1).shape == first.shape


def test_a_stream_is_the_whole_in_parts(run: Run) -> None:
    pieces = list(run.generate_stream("bend", 30, seed=3))
    assert len(pieces) > 1
    assert np.array_equal(np.concatenate(pieces), run.generate("bend", 30, seed=3))


def test_a_batch_is_the_clips_side_by_side(run: Run) -> None:
    made = run.generate_batch(["bend", None], 9, [1, 2], Options(guidance=2.0))
    assert made.shape == (2, 9, 16, 24, 3)
    assert_near(made[0], run.generate("bend", 9, 1, Options(guidance=2.0)))


@pytest.mark.parametrize("num_given", [1, 4, 9, 22])
def test_continue_begins_with_the_reconstruction(run: Run, num_given: int) -> None:
    frames = clip(num_given)
    made = run.continue_(frames, 6, "bend")
    assert made.shape == (num_given + 6, 16, 24, 3)
    missing = -(num_given - 1) % 4
    padded = np.concatenate([np.repeat(frames[:1], missing, axis=0), frames])
    assert_near(made[:num_given], run.rebuild(padded)[missing:])


def test_a_long_clip_is_continued_while_it_is_read(run: Run) -> None:
    frames = clip(120)
    read: list[int] = []

    def chunks() -> Iterator[Frames]:
        for first in range(0, 120, 10):
            read.append(first)
            yield frames[first : first + 10]

    stream = run.continue_stream(chunks(), 6, "bend", seed=2)
    first = next(stream)
    assert len(read) < 6, "the whole clip was read before its first frame came out"
    made = np.concatenate([first, *stream])
    assert made.shape == (126, 16, 24, 3)
    assert_near(made, run.continue_(frames, 6, "bend", seed=2))
    assert_near(made[:90], run.rebuild(frames)[:90])
    whole = run.continue_(clip(121), 6)  # whole groups: nothing is put before what is seen
    assert_near(whole[:121], run.rebuild(clip(121)))
    with pytest.raises(UsageError, match="no frame to go on from"):
        list(run.continue_stream(iter([]), 6))


def test_animate_begins_with_the_picture(run: Run) -> None:
    picture = clip(1)[0]
    made = run.animate(picture, 10)
    assert made.shape == (10, 16, 24, 3)
    assert_near(made[:1], run.rebuild(picture[None]))
    with pytest.raises(UsageError, match="one picture"):
        run.animate(clip(2), 10)


def test_between_loop_and_vary(run: Run) -> None:
    assert run.between(clip(6), clip(5), 7).shape == (6 + 8 + 5, 16, 24, 3)
    assert run.loop(clip(10), 4).shape == (14, 16, 24, 3)
    assert run.vary(clip(7), 0.5).shape == (7, 16, 24, 3)
    assert_near(run.vary(clip(7), 0.0), run.rebuild(clip(7)))


def test_other_sizes_are_fitted(run: Run) -> None:
    assert run.rebuild(clip(3, (50, 40))).shape == (3, 16, 24, 3)
    assert run.continue_(clip(3, (8, 9)), 4).shape == (7, 16, 24, 3)


def test_fit_keeps_the_aspect() -> None:
    frames = np.full((1, 20, 60, 3), 200, np.uint8)
    assert (fit_frames(frames, (16, 16), "crop") == 200).all()
    boxed = fit_frames(frames, (16, 16), "letterbox")[0]
    assert (boxed[8] == 200).all() and not boxed[0].any() and not boxed[-1].any()
    assert fit_frames(frames, (20, 60), "crop") is frames


def test_mistakes_are_one_clear_line(run: Run) -> None:
    with pytest.raises(UsageError, match="did you mean 'wave_one_hand'"):
        run.generate("wave_one_hnad", 9)
    for call in (
        lambda: run.generate("bend", 0),
        lambda: run.generate("bend", 9, options=Options(steps=0)),
        lambda: run.continue_(clip(3), 0),
        lambda: run.vary(clip(3), 2.0),
        lambda: run.decode(np.zeros((2, 5, 2, 3), np.float32)),
        lambda: run.encode(np.zeros((0, 16, 24, 3), np.uint8)),
        lambda: run.encode(np.zeros((2, 16, 24, 3), np.float32)),
    ):
        with pytest.raises(UsageError):
            call()


def test_a_run_without_a_prior_still_rebuilds(folder: Path, tmp_path: Path) -> None:
    bare = RunFolder.create(tmp_path / "bare", CONFIG)
    with pytest.raises(RunError, match="not trained yet"):
        Run.open(bare.root, "cpu")
    bare.update(labels=LABELS, size=(16, 24), rate=Fraction(25))
    with pytest.raises(RunError, match=r"no codec\.safetensors"):
        Run.open(bare.root, "cpu")
    bare.save_weights("codec.safetensors", Codec(CONFIG.codec).state_dict(), {})
    run = Run.open(bare.root, "cpu")
    assert run.computed_on in ("cpu, float32", "cpu, bfloat16")
    assert run.rebuild(clip(5)).shape == (5, 16, 24, 3)
    with pytest.raises(RunError, match="prior is not trained"):
        run.generate("bend", 9)


def test_a_prior_of_another_codec_is_not_used(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "run")
    changed = RunFolder.open(tmp_path / "run")
    torch.manual_seed(1)
    weights = {name: tensor + 0 for name, tensor in Codec(CONFIG.codec).state_dict().items()}
    old = changed.manifest.codec_hash
    new = changed.save_weights("codec.safetensors", weights, {})  # killed before the prior was forgotten
    for record in (WeightsRecord(sha256=new), WeightsRecord(sha256=old, pending=new)):
        changed.update(weights={**changed.manifest.weights, "codec.safetensors": record})
        run = Run.open(changed.root, "cpu")
        assert run.rebuild(clip(5)).shape == (5, 16, 24, 3)
        with pytest.raises(RunError, match=r"trained with another codec .*--stage prior"):
            run.generate("bend", 9)
        with pytest.raises(RunError, match="trained with another codec"):
            run.continue_stream(clip(3), 4)
    changed.update_stage("prior", StageState(done=True, codec_hash=new))
    assert Run.open(changed.root, "cpu").generate("bend", 5).shape == (5, 16, 24, 3)


def assert_near(one: Frames, other: Frames) -> None:
    """Equal but for the rounding of other batch and chunk sizes."""
    assert one.shape == other.shape
    assert np.abs(one.astype(int) - other.astype(int)).max() <= 2
