"""What every stage promises. A new one joins by a line in STAGES."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.toy import ToyStage

from autoreel.config import (
    CodecConfig,
    Config,
    DataConfig,
    DiscriminatorConfig,
    PriorConfig,
    TrainingConfig,
    UpscalerConfig,
    with_parts,
)
from autoreel.models.codec import Codec
from autoreel.models.prior import Prior
from autoreel.runs import RunFolder, layout_of, read_weights, write_weights
from autoreel.training.budget import Budget
from autoreel.training.checkpoint import Checkpoints, Place, Snapshot, capture
from autoreel.training.codec_stage import CodecStage
from autoreel.training.measure import NoiseFootage
from autoreel.training.prior_stage import PriorStage
from autoreel.training.refine_stage import RefineStage
from autoreel.training.stage import NonFiniteError, Stage
from autoreel.training.upscale_stage import UpscaleStage

CPU = torch.device("cpu")
SMALL = Config(
    data=DataConfig(height=32, width=32),
    codec=CodecConfig(latent_channels=4, widths=(8, 8, 8), encoder_depths=(1, 1, 1), decoder_depths=(1, 1, 1)),
    discriminator=DiscriminatorConfig(width=8),
    prior=PriorConfig(width=32, depth=1, heads=1, patch=1, window=3, steps=2),
    upscaler=UpscalerConfig(width=8, depth=1),
    training=TrainingConfig(
        codec_batch=2, codec_frames=5, prior_batch=4, upscale_batch=2, threads=1, adversary_start=0.8
    ),
)


def toy(path: Path) -> Stage:
    return ToyStage()


def codec(path: Path) -> Stage:
    return CodecStage(SMALL, NoiseFootage(SMALL), CPU)


def codec_of(**parts: dict[str, Any]) -> Callable[[Path], Stage]:
    """The codec's stage with other values in the config's tables."""
    config = with_parts(SMALL, parts, "here")
    return lambda path: CodecStage(config, NoiseFootage(config), CPU)


def prior(path: Path) -> Stage:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trained = Codec(SMALL.codec).eval()
    run = RunFolder.open(path) if path.exists() else RunFolder.create(path, SMALL)
    return PriorStage.open(run, NoiseFootage(SMALL), trained, CPU, Budget(steps=10))


def refine(path: Path) -> Stage:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trained, drawn_by = Codec(SMALL.codec), Prior(SMALL.prior, SMALL.codec.latent_channels, (4, 4), 0)
    return RefineStage(SMALL, trained, drawn_by, NoiseFootage(SMALL), CPU)


def larger_noise(times: int = 2) -> NoiseFootage:
    """The footage of `SMALL`, larger."""
    data = SMALL.data.model_copy(update={side: times * getattr(SMALL.data, side) for side in ("height", "width")})
    store = NoiseFootage(SMALL.model_copy(update={"data": data}))
    store.hash = f"noise {times}"
    return store


def upscale(path: Path) -> Stage:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trained = Codec(SMALL.codec)
    return UpscaleStage(SMALL, trained, NoiseFootage(SMALL), larger_noise(), CPU)


# How to make one, given a place for its files; and shares of the budget that show each of its parts.
STAGES: dict[str, tuple[Callable[[Path], Stage], tuple[float, ...]]] = {
    "toy": (toy, (0.1,)),
    "codec": (codec, (0.1, 0.5, 0.95)),
    "gan": (codec_of(codec={"family": "gan"}), (0.1, 0.9)),
    "ae": (codec_of(codec={"family": "ae"}), (0.1, 0.9)),
    "vae transformer": (codec_of(codec={"family": "vae", "backbone": "transformer"}), (0.1, 0.9)),
    "every term, conv": (
        codec_of(
            objective={
                "reconstruction": "l1", "wavelet_weight": 0.5, "equivariance_weight": 0.5, "latent_noise": 0.2,
                "equivariance": "scale-rotation", "lecam_weight": 0.1, "adversary": "hinge", "r1_every": 2,
            },
            discriminator={"sees_original": True},
        ),
        (0.1, 0.95),
    ),
    "fc, spectral norm": (
        codec_of(
            objective={"reconstruction": "l2", "r1_weight": 0.0, "r2_weight": 0.0},
            discriminator={"kind": "fc", "spectral_norm": True, "augment": True},
        ),
        (0.95,),
    ),
    "prior": (prior, (0.1, 0.9)),
    "refine": (refine, (0.1, 0.9)),
    "upscale": (upscale, (0.1,)),
}
Make = Callable[[], Stage]
every_stage = pytest.mark.parametrize("name", STAGES)
every_part = pytest.mark.parametrize(("name", "progress"), [(n, p) for n, (_, ps) in STAGES.items() for p in ps])


@pytest.fixture
def make(name: str, tmp_path: Path) -> Make:
    return lambda: STAGES[name][0](tmp_path / "run")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def take(stage: Stage, step: int, progress: float) -> dict[str, float]:
    """A step the way the loop takes it."""
    torch.manual_seed(1000 + step)
    return stage.step(step, progress)


def assert_same(first: Snapshot, second: Snapshot) -> None:
    assert first.plain == second.plain
    assert first.tensors.keys() == second.tensors.keys()
    for name, value in first.tensors.items():
        assert torch.equal(value.nan_to_num(), second.tensors[name].nan_to_num()), name


@every_stage
def test_it_is_a_stage(make: Make, name: str) -> None:
    stage = make()
    assert isinstance(stage, Stage)
    parameters = [id(p) for optimizer in stage.optimizers().values() for p in trained(optimizer)]
    owned = {id(p) for module in stage.modules().values() for p in module.parameters()}
    assert len(set(parameters)) == len(parameters), "a parameter has two optimizers"
    assert set(parameters) <= owned, "a checkpoint would not hold all that is trained"
    for optimizer in stage.optimizers().values():
        assert all(group["base_lr"] > 0 for group in optimizer.param_groups)


@every_part
def test_one_optimizer_step_per_update(make: Make, name: str, progress: float) -> None:
    stage, taken = make(), Counter[str]()
    for key, optimizer in stage.optimizers().items():
        optimizer.register_step_post_hook(lambda *_, key=key: taken.update([key]))
    metrics = take(stage, 0, progress)
    assert taken and max(taken.values()) == 1
    assert "loss" in metrics
    assert all(isinstance(value, float) and abs(value) < 1e9 for value in metrics.values())


@every_part
def test_looking_changes_nothing(make: Make, name: str, progress: float, tmp_path: Path) -> None:
    stage = make()
    take(stage, 0, progress)
    before = capture(stage, copy=True)
    modes = {key: [m.training for m in module.modules()] for key, module in stage.modules().items()}
    wanted = {key: [p.requires_grad for p in module.parameters()] for key, module in stage.modules().items()}
    first = stage.validate()
    (tmp_path / "samples").mkdir()
    stage.preview(tmp_path / "samples", 1)
    stage.export()
    assert stage.validate() == first
    assert list((tmp_path / "samples").iterdir())
    assert_same(before, capture(stage))
    assert modes == {key: [m.training for m in module.modules()] for key, module in stage.modules().items()}
    assert wanted == {key: [p.requires_grad for p in module.parameters()] for key, module in stage.modules().items()}


@every_stage
def test_a_checkpoint_and_a_fresh_stage_equal_no_interruption(make: Make, name: str, tmp_path: Path) -> None:
    places = [p for p in STAGES[name][1] for _ in range(3)]
    whole = make()
    for step, progress in enumerate(places):
        take(whole, step, progress)
    for stop in range(0, len(places), 2):
        interrupted = make()
        for step, progress in enumerate(places[:stop]):
            take(interrupted, step, progress)
        folder = tmp_path / f"checkpoints-{stop}"
        Checkpoints(folder, interrupted, print).save(Place(stop))
        fresh = make()
        assert Checkpoints(folder, fresh, print).load() == Place(stop)
        assert_same(capture(interrupted), capture(fresh))
        for step, progress in enumerate(places[stop:], stop):
            take(fresh, step, progress)
        assert_same(capture(whole), capture(fresh))


@every_part
def test_a_step_depends_on_seed_and_step_only(make: Make, name: str, progress: float) -> None:
    first, second = make(), make()
    second.validate()
    take(first, 3, progress)
    take(second, 3, progress)
    assert_same(capture(first), capture(second))
    other = make()
    take(other, 4, progress)
    assert any(not torch.equal(value, capture(other).tensors[key]) for key, value in capture(first).tensors.items())


def trained(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


@every_part
def test_a_gradient_that_is_not_finite_changes_nothing(make: Make, name: str, progress: float) -> None:
    reference = make()
    take(reference, 0, progress)
    used = [key for key, optimizer in reference.optimizers().items() if trained(optimizer)[-1].grad is not None]
    assert used
    for key in used:
        stage = make()
        poisoned = trained(stage.optimizers()[key])[-1]
        handle = poisoned.register_hook(lambda gradient: gradient * float("nan"))  # type: ignore[no-untyped-call]
        before = capture(stage, copy=True)
        with pytest.raises(NonFiniteError):
            take(stage, 0, progress)
        handle.remove()
        assert_same(without_rates(before), without_rates(capture(stage)))


def without_rates(snapshot: Snapshot) -> Snapshot:
    """The schedule sets "lr" before each step; it is a function of the progress, and no state."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict) and "table" in value:
            return {"table": [[key, strip(item)] for key, item in value["table"] if key != "lr"]}
        if isinstance(value, dict) and "list" in value:
            return {"list": [strip(item) for item in value["list"]]}
        return value

    return Snapshot(snapshot.tensors, {"optimizers": {k: strip(v) for k, v in snapshot.plain["optimizers"].items()}})


@every_stage
def test_weights_that_are_not_finite_raise_before_any_change(make: Make, name: str) -> None:
    stage = make()
    optimizer = next(iter(stage.optimizers().values()))
    with torch.no_grad():
        optimizer.param_groups[0]["params"][0].view(-1)[0] = float("nan")
    before = capture(stage, copy=True)
    with pytest.raises(NonFiniteError):
        take(stage, 0, STAGES[name][1][0])
    assert_same(without_rates(before), without_rates(capture(stage)))


@every_part
def test_what_it_exports_can_be_saved_and_read(make: Make, name: str, progress: float, tmp_path: Path) -> None:
    stage = make()
    take(stage, 0, progress)
    exported = stage.export()
    write_weights(tmp_path / "x.safetensors", exported.tensors, exported.metadata)
    read = read_weights(tmp_path / "x.safetensors", layout_of(exported.tensors))
    assert all(torch.equal(read[key], value.cpu()) for key, value in exported.tensors.items())
