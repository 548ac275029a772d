"""From footage and wishes to a run: what is chosen, what is refused, and that a refusal destroys nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from autoreel.config import PRESETS, DataConfig, dump_config, read_changes, with_parts
from autoreel.data import shard
from autoreel.data.store import FootageStore
from autoreel.errors import ConfigError, RunError, UsageError
from autoreel.media.decode import decode
from autoreel.media.limits import PassingError
from autoreel.models.perceptual import Perceptual
from autoreel.runs import write_weights
from autoreel.training.begin import Wishes, choose_config, open_run, prepare_into
from autoreel.training.budget import Budget

BUDGET = Budget(steps=2)
TINY = Wishes(preset="tiny")


def write_clip(path: Path, seed: int) -> Path:
    """Half a second of a square that moves over squares that stand still."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(30, 200, (4, 4, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=20)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "bgr0"
        for i in range(12):
            frame = np.kron(coarse, np.ones((16, 16, 1), np.uint8))
            frame[20:30, 2 + 4 * i : 12 + 4 * i] = 240
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_other_footage_is_refused_before_anything_is_lost(tmp_path: Path) -> None:
    first, second = write_clip(tmp_path / "a" / "a.mkv", 1).parent, write_clip(tmp_path / "b" / "b.mkv", 2).parent
    run = open_run(tmp_path / "run", TINY, BUDGET)
    store = prepare_into(run, [first])
    run.update(data_hash=store.hash)
    before = {path: path.stat().st_mtime_ns for path in run.path("footage").rglob("*")}
    with pytest.raises(RunError, match="other footage than this"):
        prepare_into(run, [second])
    assert {path: path.stat().st_mtime_ns for path in run.path("footage").rglob("*")} == before
    FootageStore.open(run.path("footage")).verify()
    assert prepare_into(run, [first]).hash == store.hash


def test_footage_may_change_until_a_training_began(tmp_path: Path) -> None:
    run = open_run(tmp_path / "run", TINY, BUDGET)
    first = prepare_into(run, [write_clip(tmp_path / "a.mkv", 1)])
    assert prepare_into(run, [write_clip(tmp_path / "b.mkv", 2)]).hash != first.hash


def test_a_file_that_was_left_out_for_now_is_not_added_to_what_a_run_learned_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path, **asked: Any) -> Any:
        if path.name == "b.mkv":
            raise PassingError(f"{path}: its decoder was killed from outside")
        return decode(path, **asked)

    footage = write_clip(tmp_path / "footage" / "a.mkv", 1).parent
    write_clip(footage / "b.mkv", 2)
    run = open_run(tmp_path / "run", TINY, BUDGET)
    monkeypatch.setattr(shard, "decode", failing)
    store = prepare_into(run, [footage])
    monkeypatch.undo()
    begun = run.manifest.data_hash
    run.update(data_hash=store.hash)
    assert prepare_into(run, [footage]).hash == store.hash and len(store.shots) == 1
    run.update(data_hash=begun)
    assert len(prepare_into(run, [footage]).shots) == 2


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        (Wishes(fit="letterbox"), "prepared with --fit crop"),
        (Wishes(fps=12.0), "prepared with --fps left out"),
    ],
)
def test_prepared_footage_is_as_it_is(tmp_path: Path, wishes: Wishes, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_run(tmp_path / "run", wishes, BUDGET, data=DataConfig())
    assert not (tmp_path / "run").exists()


def test_a_preset_takes_prepared_footage_of_another_size(tmp_path: Path) -> None:
    """Its networks know no size, and its starter learned at many."""
    data = PRESETS["small"].data
    told: list[str] = []
    for _ in range(2):
        run = open_run(tmp_path / "run", TINY, BUDGET, data=data)
    config = run.config
    assert (config.preset, config.codec, config.data) == ("tiny", PRESETS["tiny"].codec, data)
    assert config.training.start == "starter" and "start.safetensors" in run.manifest.weights
    choose_config(TINY, BUDGET, data=data, report=told.append)
    assert not told
    config = choose_config(Wishes(), BUDGET, data=data, report=told.append)
    assert config.preset == "small" and "--preset tiny has one" in told[0]
    choose_config(Wishes(start="scratch"), BUDGET, data=data, report=told.append)
    choose_config(Wishes(family="gan"), BUDGET, data=data, report=told.append)
    choose_config(Wishes(), BUDGET, data=PRESETS["tiny"].data, report=told.append)
    assert len(told) == 1


def test_a_config_of_another_size_than_the_prepared_footage_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "small.toml"
    config.write_text(dump_config(PRESETS["small"]), encoding="utf-8")
    with pytest.raises(UsageError, match="64x64 pixels and not the 128x128 of"):
        choose_config(Wishes(config=config), BUDGET, data=DataConfig())
    assert choose_config(Wishes(config=config), BUDGET, data=PRESETS["small"].data) == PRESETS["small"]


def test_wishes_that_the_prepared_footage_meets_may_be_repeated(tmp_path: Path) -> None:
    data = DataConfig(fit="letterbox", fps=12.5)
    wishes = Wishes(preset="tiny", fit="letterbox", fps=12.5, seed=3)
    for _ in range(2):
        run = open_run(tmp_path / "run", wishes, BUDGET, data=data)
        assert (run.config.data, run.config.training.seed) == (data, 3)
    assert open_run(tmp_path / "run", Wishes(), BUDGET).config == run.config  # what is left out is not compared
    with pytest.raises(UsageError, match="was begun with --fit letterbox and --seed 3"):
        open_run(tmp_path / "run", Wishes(fit="crop", seed=4), BUDGET)


def test_a_config_and_a_preset_speak_against_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--config and --preset"):
        open_run(tmp_path / "run", Wishes(preset="tiny", config=tmp_path / "x.toml"), BUDGET)


def test_prepared_footage_of_a_size_that_no_preset_fits_is_said_before_a_run_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'data\.height' is 72: with the prior's patch 2"):
        open_run(tmp_path / "run", Wishes(), BUDGET, data=DataConfig(height=72, width=64))
    assert not (tmp_path / "run").exists()


def test_a_run_is_begun_with_the_parts_that_are_asked_for(tmp_path: Path) -> None:
    wishes = Wishes(preset="tiny", family="gan", backbone="transformer", discriminator="fc")
    run = open_run(tmp_path / "run", wishes, BUDGET)
    config = run.config
    assert (config.codec.family, config.codec.backbone, config.discriminator.kind) == ("gan", "transformer", "fc")
    assert config.discriminator.groups == 2, "what the family changes"
    assert open_run(tmp_path / "run", wishes, BUDGET).config == config
    with pytest.raises(UsageError, match="begun with --family gan"):
        open_run(tmp_path / "run", Wishes(family="vae"), BUDGET)


def test_a_config_file_and_parts_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("[discriminator]\ngroups = 3\n[objective]\nwavelet_weight = 0.5\n")
    wishes = Wishes(config=path, family="gan")
    config = open_run(tmp_path / "run", wishes, BUDGET).config
    assert config.codec.family == "gan" and config.objective.wavelet_weight == 0.5
    assert config.discriminator.groups == 3 and config.discriminator.augment, "the file goes before the family"
    assert open_run(tmp_path / "run", wishes, BUDGET).config == config


NEW = ("drift_share", "preconditioned")  # in format 5


@pytest.mark.parametrize(("version", "said_nothing"), [(3, ("mirror", *NEW)), (4, NEW), (5, ())])
def test_an_older_run_goes_on_with_the_config_it_was_begun_with(
    tmp_path: Path, version: int, said_nothing: tuple[str, ...]
) -> None:
    path = tmp_path / "own.toml"
    path.write_text("preset = 'tiny'\n")
    root = open_run(tmp_path / "run", Wishes(config=path, start="scratch"), BUDGET).root
    written = (root / "config.toml").read_text()
    assert "\nadversary_start = 0.6\n" in written
    written = written.replace("adversary_start = 0.6", "adversary_start = 0.8").replace("linear_past = 1\n", "")
    written = written.replace("linear_share = 0.1\n", "").replace("border_weight = 8.0\n", "")
    contrast = 0.5 if version == 3 else 2.0
    former, _, rest = written.replace("contrast_weight = 2.0", f"contrast_weight = {contrast}", 1).partition("[prior]")
    prior, _, rest = rest.partition("\n[")
    lines = [line for line in prior.splitlines() if line.split(" = ")[0] not in said_nothing]
    (root / "config.toml").write_text(former + "[prior]" + "\n".join(lines) + "\n\n[" + rest)
    content = json.loads((root / "run.json").read_text()) | {"format": version, "config_format": version}
    if version == 3:
        content.pop("config_format")
    (root / "run.json").write_text(json.dumps(content))
    config = open_run(root, Wishes(config=path), BUDGET).config
    assert config.training.adversary_start == 0.8 and config.training.linear_share == 1
    assert config.objective.border_weight == 1
    assert config.codec.linear_past == 0
    if version < 5:
        assert config.prior.drift_share == 0 and not config.prior.preconditioned
    assert config.prior.mirror == (version > 3)
    assert config.objective.contrast_weight == contrast
    with pytest.raises(UsageError, match="begun with another config"):
        path.write_text("preset = 'tiny'\n[training]\nadversary_start = 0.6\n")
        open_run(root, Wishes(config=path), BUDGET)


def test_any_field_on_the_command_line(tmp_path: Path) -> None:
    changes = read_changes(["codec.latent_channels=16", "objective.adversary=hinge", "codec.widths = [16, 24, 32]"])
    assert changes == {"codec": {"latent_channels": 16, "widths": [16, 24, 32]}, "objective": {"adversary": "hinge"}}
    wishes = Wishes(preset="tiny", changes=changes)
    config = open_run(tmp_path / "run", wishes, BUDGET).config
    assert (config.codec.latent_channels, config.codec.widths) == (16, (16, 24, 32))
    assert config.objective.adversary == "hinge"
    assert open_run(tmp_path / "run", wishes, BUDGET).config == config
    with pytest.raises(UsageError, match=r"begun with --set codec\.latent_channels=16"):
        open_run(tmp_path / "run", Wishes(changes=read_changes(["codec.latent_channels=8"])), BUDGET)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("codec", "write TABLE.FIELD=VALUE"), ("codec=3", "write TABLE.FIELD=VALUE"),
        ("a.b.c=3", "write TABLE.FIELD=VALUE"), ("codec.family=gan", "write --family"),
        ("data.height=72", "prepare with --size"), ("training.seed=3", "write --seed"),
        ("codec.latent_chanels=16", "did you mean 'latent_channels'"), ("coddec.a=16", "did you mean 'codec'"),
        ("codec.latent_channels=many", "latent_channels"), ("objective.l1_weight=[[[", "l1_weight"),
    ],
)  # fmt: skip
def test_a_field_that_cannot_be_set_is_told(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        open_run(tmp_path / "run", Wishes(preset="tiny", changes=read_changes([text])), BUDGET)
    assert not (tmp_path / "run").exists()


def test_a_run_keeps_to_the_lpips_weights_it_was_begun_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    changes = {"objective": {"lpips_weight": 0.5, "lpips_network": "alex", "lpips_weights": "alex.safetensors"}}
    wishes = Wishes(preset="tiny", changes=changes)
    with pytest.raises(RunError, match=r"LPIPS weights for alex: .*cannot be read"):
        open_run(tmp_path / "run", wishes, BUDGET)
    assert not (tmp_path / "run").exists()
    write_weights(tmp_path / "alex.safetensors", Perceptual("alex").state_dict(), {})
    run = open_run(tmp_path / "run", wishes, BUDGET)
    open_run(tmp_path / "run", wishes, BUDGET)
    (tmp_path / "as.toml").write_text(dump_config(with_parts(PRESETS["tiny"], changes, "here")))
    open_run(tmp_path / "run", Wishes(config=Path("as.toml")), BUDGET)
    monkeypatch.chdir("/")
    assert Perceptual.of(run.config.objective) is not None
    write_weights(tmp_path / "alex.safetensors", Perceptual("alex").state_dict(), {})  # drawn anew
    with pytest.raises(RunError, match="not the file that this run was begun with"):
        Perceptual.of(run.config.objective)


def test_lpips_weights_that_are_named_otherwise_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_weights(tmp_path / "alex.safetensors", Perceptual("alex").state_dict(), {})
    named = {"objective": {"lpips_network": "alex", "lpips_weights": "alex.safetensors"}}
    open_run(tmp_path / "off", Wishes(preset="tiny", changes=named), BUDGET)  # of no weight yet
    run = open_run(tmp_path / "off", Wishes(preset="tiny", changes=named), BUDGET)
    assert run.config.objective.lpips_weights == tmp_path / "alex.safetensors"
    used = {"objective": {**named["objective"], "lpips_weight": 0.5}}
    run = open_run(tmp_path / "old", Wishes(preset="tiny", changes=used), BUDGET)
    text = (run.root / "config.toml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("lpips_sha256")]
    as_before = "\n".join(lines).replace(f"{tmp_path}/", "")
    (run.root / "config.toml").write_text(as_before)
    open_run(run.root, Wishes(preset="tiny", changes=used), BUDGET)
    (tmp_path / "as.toml").write_text(dump_config(with_parts(PRESETS["tiny"], used, "here")))
    open_run(run.root, Wishes(config=Path("as.toml")), BUDGET)
