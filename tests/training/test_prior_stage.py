"""The prior's stage on a small synthetic store: cached latents, levels, updates, resuming."""

import copy
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from autoreel.clip import Frames, to_model
from autoreel.config import CodecConfig, Config, DataConfig, PriorConfig, TrainingConfig
from autoreel.data.store import FootageStore
from autoreel.errors import UnreadableError
from autoreel.models.codec import Codec
from autoreel.models.prior import FAR
from autoreel.runs import RunFolder
from autoreel.training import latents
from autoreel.training.budget import Budget
from autoreel.training.latents import LatentWindows, cached_latents, frames_to_encode, plan_streams
from autoreel.training.prior_stage import (
    MOST_DRIFT,
    PriorStage,
    draw_context,
    draw_levels,
    draw_order,
    drift_context,
    reorder,
)
from autoreel.training.stage import NonFiniteError, Stage

CPU = torch.device("cpu")
BUDGET = Budget(steps=60)
CONFIG = Config(
    data=DataConfig(height=16, width=16),
    codec=CodecConfig(latent_channels=4, widths=(8, 8, 8), encoder_depths=(1, 1, 1), decoder_depths=(1, 1, 1)),
    prior=PriorConfig(width=32, depth=1, heads=1, patch=1, window=3, steps=2),
    training=TrainingConfig(prior_batch=8, prior_rate=3e-3),
)


@dataclass(frozen=True)
class FakeShot:
    num_frames: int
    label: str | None


@dataclass(frozen=True)
class FakeStore:
    """A store of squares that move, one direction a label; the last shot is shorter than a window."""

    hash: str = "one"
    size: tuple[int, int] = (16, 16)
    labels: tuple[str, ...] = ("left", "right")
    rate: Fraction = Fraction(25)

    def split(self, name: str) -> tuple[FakeShot, ...]:
        shots = (FakeShot(30, "left"), FakeShot(21, "right"), FakeShot(5, None))
        return shots if name == "train" else shots[:1] if name == "validation" else ()

    def frames(self, shot: FakeShot, start: int = 0, count: int | None = None) -> Frames:
        made = np.full((shot.num_frames, 16, 16, 3), 40, np.uint8)
        for i in range(shot.num_frames):
            made[i, 4:10, (i if shot.label == "right" else -i) % 12 :][:, :5] = 220
        return made[start : None if count is None else start + count]


def store(data_hash: str = "one") -> FootageStore:
    return cast(FootageStore, FakeStore(data_hash))


@pytest.fixture
def codec() -> Codec:
    torch.manual_seed(0)
    return Codec(CONFIG.codec).eval()


@pytest.fixture
def make_stage(tmp_path: Path, codec: Codec) -> Callable[[], PriorStage]:
    run = RunFolder.create(tmp_path / "run", CONFIG)
    return lambda: PriorStage.open(run, store(), codec, CPU, BUDGET)


class BareStore(FakeStore):
    """Bright and dark shots that nobody gave a label."""

    def split(self, name: str) -> tuple[FakeShot, ...]:
        return tuple(FakeShot(20 + i, None) for i in range(12)) if name == "train" else ()

    def frames(self, shot: FakeShot, start: int = 0, count: int | None = None) -> Frames:
        made = np.full((shot.num_frames, 16, 16, 3), 220 if shot.num_frames % 3 else 30, np.uint8)
        made[:, 4:8, 4:8] += np.arange(shot.num_frames, dtype=np.uint8)[:, None, None, None] % 3
        return made[start : None if count is None else start + count]


def test_footage_without_labels_gets_styles_and_keeps_them(tmp_path: Path, codec: Codec) -> None:
    run, bare = RunFolder.create(tmp_path / "run", CONFIG), cast(FootageStore, BareStore(labels=()))
    stage = PriorStage.open(run, bare, codec, CPU, BUDGET)
    assert run.manifest.labels[:2] == ("style-1", "style-2") and stage.num_labels == len(run.manifest.labels)
    assert set(stage.train.labels.tolist()) == set(range(stage.num_labels))
    assert (run.root / "samples" / "styles.png").is_file()
    again = PriorStage.open(RunFolder.open(run.root), bare, codec, CPU, Budget(steps=40))
    assert again.num_labels == stage.num_labels
    assert int(again.train.labels[0]) == int(stage.train.labels[0])


# --- what is encoded


def test_streams_fit_the_budget_and_every_shot_has_one() -> None:
    plan = plan_streams([100, 33, 10], window=9, temporal_stride=4, max_frames=2000)
    assert {s.shot for s in plan} == {0, 1, 2}
    assert all((s.num_frames - 1) % 4 == 0 and 33 <= s.num_frames <= 65 for s in plan)
    assert all(s.start + s.num_frames <= 100 for s in plan if s.shot == 0)
    assert len({s.start % 4 for s in plan if s.shot == 0}) == 4
    assert sum(s.num_frames for s in plan) <= 2000
    assert next(s.num_frames for s in plan if s.shot == 1) == 49  # continued there and back
    many = plan_streams([5000] * 50, window=9, temporal_stride=4, max_frames=2000)
    assert sum(s.num_frames for s in many) <= 2000 and len({s.shot for s in many}) > 20


def test_where_footage_is_little_every_stream_has_a_mirrored_twin() -> None:
    plan = plan_streams([100, 33, 10], window=9, temporal_stride=4, max_frames=2000, mirror=True)
    half = len(plan) // 2
    assert [stream.mirrored for stream in plan] == half * [False] + half * [True]
    assert plan[half:] == [replace(stream, mirrored=True) for stream in plan[:half]]
    assert sum(s.num_frames for s in plan) <= 2000 and len({s.start % 4 for s in plan[:half] if s.shot == 0}) == 4
    for length in (1750, 2000):  # the widest spacing with twins
        plan = plan_streams([length], window=9, temporal_stride=4, max_frames=20_000, mirror=True)
        assert plan[-1].mirrored and {s.start % 4 for s in plan} == {0, 1, 2, 3}
    much = plan_streams([5000] * 50, window=9, temporal_stride=4, max_frames=2000, mirror=True)
    assert much == plan_streams([5000] * 50, window=9, temporal_stride=4, max_frames=2000)


def test_twins_are_encoded_mirrored_and_stand_behind_the_others(tmp_path: Path, codec: Codec) -> None:
    train = {}
    for mirror in (True, False):
        prior = CONFIG.prior.model_copy(update={"mirror": mirror})
        run = RunFolder.create(tmp_path / str(mirror), CONFIG.model_copy(update={"prior": prior}))
        found = cached_latents(run, store(), "train", codec, CPU, Budget(steps=600))
        again = cached_latents(run, store(), "train", codec, CPU, Budget(steps=600))
        assert found is not None and again is not None and torch.equal(found.latents, again.latents)
        assert found.num_mirrored == again.num_mirrored
        train[mirror] = found
    both, alone = train[True], train[False]
    assert alone.num_mirrored == 0 and 2 * both.num_mirrored == len(both.starts)
    plain = both.as_shot
    assert plain.num_mirrored == 0 and torch.equal(both.labels, torch.cat([plain.labels, plain.labels]))
    twins = both.latents[len(plain.latents) :]
    assert twins.shape == plain.latents.shape
    shot, count = store().split("train")[0], 1 + 4 * (int(plain.lengths[0]) - 1)
    seen = to_model(store().frames(shot, 0, count)[None, :, :, ::-1], CPU)
    expected = codec.normalise(codec.encode(seen).mode())[0].transpose(0, 1)
    torch.testing.assert_close(twins[: len(expected)], expected.detach(), rtol=1e-4, atol=1e-4)
    relabelled = both.labelled(torch.arange(both.num_mirrored))
    assert relabelled.labels.tolist() == 2 * list(range(both.num_mirrored))
    windows = both.draw(torch.Generator().manual_seed(0), 400, 3)
    assert 0.4 < float(windows.mirrored.float().mean()) < 0.6


def test_latents_are_encoded_once_and_never_stale(
    tmp_path: Path, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder.create(tmp_path / "run", CONFIG)
    first = cached_latents(run, store(), "train", codec, CPU, BUDGET)
    assert first is not None and cached_latents(run, store(), "test", codec, CPU, BUDGET) is None
    assert set(first.labels.tolist()) == {-1, 0, 1}
    assert int(first.lengths.min()) >= 3 and int(first.lengths.sum()) == len(first.latents)

    def refuse(*_: object) -> None:
        raise AssertionError("encoded again")

    with monkeypatch.context() as patch:
        patch.setattr(Codec, "encode", refuse)
        again = cached_latents(run, store(), "train", codec, CPU, BUDGET)
        assert again is not None and torch.equal(again.latents, first.latents)
        with pytest.raises(AssertionError):
            cached_latents(run, store("two"), "train", codec, CPU, BUDGET)
        changed = copy.deepcopy(codec)
        changed.latent_mean += 1
        with pytest.raises(AssertionError):
            cached_latents(run, store(), "train", changed, CPU, BUDGET)
    cached_latents(run, store("two"), "train", codec, CPU, BUDGET)
    assert len(list(run.root.glob("latents-train-*"))) == 1


def test_damaged_latents_are_encoded_again(tmp_path: Path, codec: Codec) -> None:
    run = RunFolder.create(tmp_path / "run", CONFIG)
    first = cached_latents(run, store(), "train", codec, CPU, BUDGET)
    (path,) = run.root.glob("latents-train-*")
    whole = path.read_bytes()
    flipped = whole[:-4] + bytes([whole[-4] ^ 1]) + whole[-3:]  # still a number
    for damaged in (whole[:-5], b"nothing", whole[:20] + bytes(30) + whole[50:], flipped):
        path.write_bytes(damaged)
        again = cached_latents(run, store(), "train", codec, CPU, BUDGET)
        assert first is not None and again is not None and torch.equal(first.latents, again.latents)
        assert path.read_bytes() == whole


def test_latents_that_cannot_be_read_now_are_kept(
    tmp_path: Path, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, opened = RunFolder.create(tmp_path / "run", CONFIG), os.open
    cached_latents(run, store(), "train", codec, CPU, BUDGET)
    (path,) = run.root.glob("latents-train-*")

    def refused(name: Any, *rest: Any, **others: Any) -> int:
        if Path(name) == path:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(name))
        return opened(name, *rest, **others)

    with monkeypatch.context() as broken, pytest.raises(UnreadableError, match="cannot be read: Input/output error"):
        broken.setattr(os, "open", refused)
        cached_latents(run, store(), "train", codec, CPU, BUDGET)
    assert path.exists()


def test_the_same_time_gives_the_same_latents_and_more_time_more(
    tmp_path: Path, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latents, "FRAMES_AT_64", 1)
    run = RunFolder.create(tmp_path / "run", CONFIG)
    speeds = iter([100])
    monkeypatch.setattr(latents, "_speed", lambda *_: next(speeds))

    def encoded(seconds: float) -> int:
        found = cached_latents(run, store(), "train", codec, CPU, Budget(seconds=seconds))
        assert found is not None
        return len(found.latents)

    little = encoded(6.0)
    assert encoded(6.0) == little, "at the speed that was measured first"
    assert encoded(60_000.0) > little, "with the speed that is known"


def test_how_much_is_encoded_follows_the_time() -> None:
    def frames(side: int, shots: int, affordable: float, frame_bytes: float = 1024.0) -> int:
        return frames_to_encode(shots, side * side, frame_bytes, 65, affordable)

    assert frames(64, 10, 1e5) == 20_000  # no fewer, as long as that takes a fifth of the time at most
    assert frames(256, 10, 2e4) == 1_250
    assert frames(64, 10, 13_000) == 2_600  # twenty seconds
    assert frames(64, 10, 0.0) == 1
    assert frames(256, 10, 1e7) == 500_000  # hours on a GPU
    assert frames(256, 1000, 4e5) == 65_000  # a stream of each shot
    assert frames(256, 1000, 1e5) == 20_000  # but not at any price
    assert frames(256, 10, 1e9, 65536.0) == 65536  # what fits into memory


def test_thinning_leaves_every_label() -> None:
    labels = [0] * 100 + [1] + [2] * 3
    plan = plan_streams([60] * 104, window=9, temporal_stride=4, max_frames=1000, labels=labels)
    assert {labels[stream.shot] for stream in plan} == {0, 1, 2}
    assert sum(stream.num_frames for stream in plan) < 1300
    assert [stream.shot for stream in plan] == sorted(stream.shot for stream in plan)


def test_rare_labels_are_drawn_more_often_than_their_share() -> None:
    count = 100
    rare = torch.tensor([0] * 90 + [1] * 10)
    windows = LatentWindows(torch.zeros(300, 1, 1, 1), 3 * torch.arange(count), torch.full((count,), 3), rare)
    _, _, labels, _ = windows.draw(torch.Generator().manual_seed(0), 8000, 3)
    assert float((labels == 1).float().mean()) == pytest.approx(0.25, abs=0.02)  # 1 : 3, the roots of 1 : 9


def test_windows_begin_with_the_frame_that_stands_alone() -> None:
    latents = torch.arange(12.0).view(12, 1, 1, 1)
    windows = LatentWindows(latents, torch.tensor([0, 5]), torch.tensor([5, 7]), torch.tensor([3, -1]))
    values, times, labels, _ = windows.draw(torch.Generator().manual_seed(0), 200, 3)
    values = values.flatten(1)
    start = torch.where(labels == 3, 0, 5)
    assert torch.equal(values[:, 0], start.float()) and not times[:, 0].any()
    gap = values[:, 1] - start - 1
    assert torch.equal(values[:, 2], values[:, 1] + 1) and torch.equal(times[:, 1], 1 + gap.clamp(max=FAR))
    assert set(gap[labels == 3].tolist()) == {0, 1, 2} and set(gap[labels == -1].tolist()) == {0, 1, 2, 3, 4}
    assert 0.4 < float((gap == 0).float().mean()) < 0.75


# --- noise levels


def test_levels_of_windows() -> None:
    config = PriorConfig(window=6, equal_level_share=0.3)
    levels = draw_levels(torch.Generator().manual_seed(0), 4000, config, 1.0)
    assert levels.shape == (4000, 6) and float(levels.min()) > 0 and float(levels.max()) == 1
    assert float((levels == levels[:, :1]).all(1).float().mean()) == pytest.approx(0.3, abs=0.03)
    assert float((levels == 1).float().mean()) == pytest.approx(0.033, abs=0.01), "where sampling begins"


def test_a_known_end_is_moved_forward_and_not_learned() -> None:
    config = PriorConfig(window=6, reorder_share=0.4)
    order, counted = draw_order(torch.Generator().manual_seed(0), 4000, config)
    assert torch.equal(order.sort(1).values, torch.arange(6).expand(4000, -1))
    moved = (order != torch.arange(6)).any(1)
    assert float((counted < 1).any(1).float().mean()) == pytest.approx(0.4, abs=0.03)
    # an end that is moved by nothing (all before it is known) stays where it was
    assert 0.2 < float(moved.float().mean()) <= 0.42
    assert not (moved & (counted > 0).all(1)).any() and (counted > 0).any(1).all()
    known = order[counted == 0]
    assert set(known.tolist()) == {4, 5}


def test_what_is_seen_drifts_to_another_scene_and_the_first_frame_stays() -> None:
    generator, config = torch.Generator().manual_seed(0), PriorConfig(window=6, drift_share=0.4)
    scene = torch.arange(300.0).view(-1, 1, 1, 1, 1)
    latents = scene + torch.randn(300, 2, 6, 3, 3, generator=generator)
    times = torch.tensor([0.0, 3, 4, 5, 6, 7]).repeat(300, 1)
    times[:50] = torch.arange(6.0)
    counted = torch.ones(300, 6)
    counted[50:100, 3] = 0
    seen = drift_context(generator, latents, times, counted, config) - latents
    assert not seen[:, :, 0].any() and not seen[:100].any(), "nor beginnings and known ends"
    assert torch.allclose(seen[:, :, 1:2].expand(-1, -1, 5, -1, -1), seen[:, :, 1:], atol=1e-3), "it stands still"
    still = latents[:, :, 1:].mean(2, keepdim=True)
    share = (seen[:, :, 1:2] / (still.roll(1, 0) - still))[100:].mean((1, 2, 3, 4))
    assert float((share > 0).float().mean()) == pytest.approx(0.4, abs=0.1)
    assert float(share.min()) >= -1e-3 and 0.9 * MOST_DRIFT < float(share.max()) <= MOST_DRIFT + 1e-3
    before = generator.get_state()
    none = PriorConfig(window=6, drift_share=0)
    assert torch.equal(drift_context(generator, latents, times, counted, none), latents)
    assert torch.equal(generator.get_state(), before)


def test_context_is_noised_a_little() -> None:
    latents = torch.ones(50, 2, 4, 3, 3)
    seen, level = draw_context(torch.Generator().manual_seed(0), latents, PriorConfig(context_noise=0.05))
    assert seen.shape == latents.shape and level.shape == (50, 1, 4) and 0.08 < float(level.max()) <= 0.1
    assert float((seen - 1).std()) == pytest.approx(float(level.square().mean().sqrt()), rel=0.2)


def test_behind_clean_context_every_frame_is_what_a_rollout_makes(make_stage: Callable[[], PriorStage]) -> None:
    """One pass over clean copies and noisy frames equals one pass for each frame behind what comes before it."""
    stage = make_stage()
    stage.dtype = torch.float32  # wherever bfloat16 is faster, too
    generator = torch.Generator().manual_seed(0)
    latents, times, labels, _ = stage.train.draw(generator, 4, 3)
    with torch.no_grad():  # or the network answers nothing but zero
        for parameter in stage.prior.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    levels = draw_levels(generator, 4, CONFIG.prior, 1.0)
    seen, seen_levels = draw_context(generator, latents, CONFIG.prior)
    noise = torch.randn(latents.shape, generator=generator)
    with torch.no_grad():
        found = stage._errors(stage.prior, latents, levels, times, labels, noise, (seen, seen_levels))
        for frame in range(3):
            t = levels[:, None, frame : frame + 1, None, None]
            x = (1 - t) * latents[:, :, frame : frame + 1] + t * noise[:, :, frame : frame + 1]
            given = torch.cat([seen[:, :, :frame], x], 2)
            level = torch.cat([seen_levels[:, 0, :frame], levels[:, frame : frame + 1]], 1)
            velocity = stage.prior(given, level, times[:, : frame + 1], labels)[:, :, -1]
            error = (velocity - (noise - latents)[:, :, frame]).square().mean((1, 2, 3))
            assert torch.allclose(found[:, frame], error, rtol=1e-4, atol=1e-5)


def test_reorder_moves_values_and_times_together() -> None:
    latents = torch.arange(4.0).view(1, 1, 4, 1, 1)
    values, times = reorder(latents, torch.tensor([[0.0, 5.0, 6.0, 7.0]]), torch.tensor([[0, 3, 1, 2]]))
    assert values.flatten().tolist() == [0, 3, 1, 2] and times.tolist() == [[0, 7, 5, 6]]


# --- the stage


def test_mirrored_windows_are_told(make_stage: Callable[[], PriorStage], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[torch.Tensor] = []
    errors = PriorStage._errors

    def spy(stage: PriorStage, *given: Any) -> torch.Tensor:
        told.append(given[-1])
        return errors(stage, *given)

    monkeypatch.setattr(PriorStage, "_errors", spy)
    stage = make_stage()
    for step in range(4):
        stage.step(step, 0.0)
    assert 0.2 < float(torch.cat(told).float().mean()) < 0.8


def test_it_learns(make_stage: Callable[[], PriorStage]) -> None:
    stage = make_stage()
    assert isinstance(stage, Stage)
    before = stage.validate()["loss"]
    losses = [stage.step(step, step / 60)["loss"] for step in range(60)]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])
    assert stage.validate()["loss"] < before


def with_dropout(path: Path, codec: Codec, dropout: float) -> Callable[[], PriorStage]:
    config = CONFIG.model_copy(update={"prior": CONFIG.prior.model_copy(update={"dropout": dropout})})
    run = RunFolder.create(path / f"dropout-{dropout}", config)
    return lambda: PriorStage.open(run, store(), codec, CPU, BUDGET)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_going_on_equals_no_interruption(tmp_path: Path, codec: Codec, dropout: float) -> None:
    make_stage = with_dropout(tmp_path, codec, dropout)
    whole, first, second = make_stage(), make_stage(), make_stage()
    expected = [whole.step(step, 0.0)["loss"] for step in range(6)]
    torch.rand(7)  # another process has drawn other numbers by then
    found = [first.step(step, 0.0)["loss"] for step in range(3)]
    for name, module in second.modules().items():
        module.load_state_dict(copy.deepcopy(first.modules()[name].state_dict()))
    for name, optimizer in second.optimizers().items():
        optimizer.load_state_dict(copy.deepcopy(first.optimizers()[name].state_dict()))
    found += [second.step(step, 0.0)["loss"] for step in range(3, 6)]
    assert found == expected
    for name, tensor in whole.export().tensors.items():
        assert torch.equal(tensor, second.export().tensors[name]), name


def test_dropout_is_of_training_only(tmp_path: Path, codec: Codec) -> None:
    stage, plain = (with_dropout(tmp_path, codec, dropout)() for dropout in (0.4, 0.0))
    for step in range(3):
        stage.step(step, 0.0)
        plain.step(step, 0.0)
    assert not torch.equal(stage.export().tensors["velocity.weight"], plain.export().tensors["velocity.weight"])
    assert stage.prior.training and not stage.averaged.training
    plain.averaged.load_state_dict(stage.export().tensors)
    assert stage.validate() == stage.validate() == plain.validate()
    latents, times = torch.randn(1, 4, 3, 2, 2), torch.arange(3.0)[None]
    seen = (latents, torch.full((1, 3), 0.5), times, torch.zeros(1, dtype=torch.int64))
    with torch.no_grad():
        assert torch.equal(stage.averaged(*seen), plain.averaged(*seen))
        assert not torch.equal(stage.prior(*seen), stage.prior(*seen))


def test_looking_changes_nothing(make_stage: Callable[[], PriorStage], tmp_path: Path) -> None:
    stage = make_stage()
    stage.step(0, 0.0)
    before = state(stage)
    randomness = torch.get_rng_state()
    assert stage.validate() == stage.validate()
    stage.preview(tmp_path / "samples", 1)
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["prior-000001.png", "prior.mp4"]
    assert all(torch.equal(before[name], tensor) for name, tensor in state(stage).items())
    assert torch.equal(randomness, torch.get_rng_state())
    stage.step(1, 0.0)  # nothing of the look is left that a gradient would stumble over


def test_a_loss_that_is_not_finite_stops_before_any_change(make_stage: Callable[[], PriorStage]) -> None:
    stage = make_stage()
    stage.step(0, 0.0)
    before = state(stage)
    stage.train.latents[:] = torch.nan
    with pytest.raises(NonFiniteError, match="loss"):
        stage.step(1, 0.0)
    assert all(torch.equal(before[name], tensor) for name, tensor in state(stage).items())


def test_the_rate_follows_base_lr_and_progress(make_stage: Callable[[], PriorStage]) -> None:
    stage = make_stage()
    stage.step(100, 0.2)
    rates = [g["lr"] for o in stage.optimizers().values() for g in o.param_groups]
    assert rates == [g["base_lr"] for o in stage.optimizers().values() for g in o.param_groups]
    stage.step(101, 1.0)
    assert all(g["lr"] < 0.1 * g["base_lr"] for o in stage.optimizers().values() for g in o.param_groups)


def test_the_export_loads_as_a_prior(make_stage: Callable[[], PriorStage]) -> None:
    stage = make_stage()
    stage.prior.load_state_dict(stage.export().tensors)


def state(stage: PriorStage) -> dict[str, torch.Tensor]:
    return {f"{n}.{k}": v.clone() for n, m in stage.modules().items() for k, v in m.state_dict().items()}
