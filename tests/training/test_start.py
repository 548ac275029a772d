"""What a codec's training starts from: nothing, another codec of the same layout, or a pretrained one instead."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.models.peers import saved

import autoreel
from autoreel.config import (
    PRESETS,
    CodecConfig,
    Config,
    DataConfig,
    DiscriminatorConfig,
    PriorConfig,
    TrainingConfig,
    dump_config,
)
from autoreel.errors import RunError, UsageError
from autoreel.models import stored
from autoreel.models.codec import Codec
from autoreel.models.pretrained import examine
from autoreel.runs import RunFolder
from autoreel.training import start as starts
from autoreel.training.begin import Wishes, choose_config, open_run
from autoreel.training.budget import Budget
from autoreel.training.measure import NoiseFootage
from autoreel.training.train import BUILDERS, begin, train

BUDGET = Budget(steps=2)
SMALL = Config(
    data=DataConfig(height=64, width=64),
    codec=CodecConfig(latent_channels=4, widths=(8, 8, 8), encoder_depths=(1, 1, 1), decoder_depths=(1, 1, 1)),
    discriminator=DiscriminatorConfig(width=8),
    prior=PriorConfig(width=32, depth=1, heads=1, patch=1, window=3, steps=2),
    training=TrainingConfig(codec_batch=1, codec_frames=5, prior_batch=2, threads=1, start="scratch"),
)


def trained(path: Path, config: Config = SMALL) -> RunFolder:
    """A run whose codec has weights of its own."""
    run = RunFolder.create(path, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        codec = Codec(config.codec)
    run.save_weights("codec.safetensors", codec.state_dict(), {})
    return run


def config_file(path: Path, config: Config = SMALL) -> Path:
    path.write_text(dump_config(config))
    return path


def test_a_run_begins_with_another_runs_codec_and_does_not_need_it_again(tmp_path: Path) -> None:
    old = trained(tmp_path / "old")
    wishes = Wishes(start=str(tmp_path / "old"))
    run = open_run(tmp_path / "new", wishes, BUDGET)
    assert run.config.codec == SMALL.codec and run.config.data.height == 64
    assert run.config.training.start == str(tmp_path / "old")
    shutil.rmtree(old.root)
    stage = BUILDERS["codec"](RunFolder.open(run.root), NoiseFootage(SMALL), torch.device("cpu"), BUDGET)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        weights = Codec(SMALL.codec).state_dict()
    for name in ("codec", "averaged"):
        state = stage.modules()[name].state_dict()
        changed = [key for key in weights if not torch.equal(state[key], weights[key])]
        assert changed == ["linear.up"], "which is set right for this footage"


@pytest.mark.parametrize(("version", "contrast", "today"), [(4, 0.5, 0.5), (3, 0.5, 2.0), (3, 1.0, 1.0)])
def test_what_was_usual_when_the_other_run_began_is_left_behind(
    tmp_path: Path, version: int, contrast: float, today: float
) -> None:
    objective = SMALL.objective.model_copy(update={"contrast_weight": contrast})
    prior = SMALL.prior.model_copy(update={"steps": 6})
    old = trained(tmp_path / "old", SMALL.model_copy(update={"objective": objective, "prior": prior}))
    lines = (old.root / "config.toml").read_text().splitlines()
    new = ("drift_share = ", "preconditioned = ")  # format 5 has them
    (old.root / "config.toml").write_text("\n".join(line for line in lines if not line.startswith(new)))
    content = json.loads((old.root / "run.json").read_text()) | {"format": version, "config_format": version}
    (old.root / "run.json").write_text(json.dumps(content))
    assert RunFolder.open(old.root).config.prior.drift_share == 0
    begun = open_run(tmp_path / "new", Wishes(start=str(tmp_path / "old")), BUDGET).config
    assert begun.prior.preconditioned and begun.prior.drift_share > 0 and begun.prior.steps == 6
    assert begun.objective.contrast_weight == today


def test_a_codecs_own_folder_will_do(tmp_path: Path) -> None:
    torch.manual_seed(3)
    codec = Codec(SMALL.codec)
    codec.save_pretrained(tmp_path / "codec")
    wishes = Wishes(start=str(tmp_path / "codec"), config=config_file(tmp_path / "config.toml"))
    found = starts.start_weights(open_run(tmp_path / "run", wishes, BUDGET))
    assert found is not None and torch.equal(found["linear.up"], codec.linear.up)


@pytest.mark.parametrize("preset", ["small", "base"])
def test_a_codecs_own_folder_decides_the_preset(tmp_path: Path, preset: str) -> None:
    layout = PRESETS[preset].codec.model_copy(update={"family": "vae"})
    head = {"_class_name": stored.CLASS_NAME, "format": stored.FORMAT, "dtype": "float32", "sha256": "0" * 64}
    (tmp_path / "config.json").write_text(json.dumps({**head, **layout.model_dump(mode="json")}))
    assert starts.codec_config_at(tmp_path) == layout
    chosen = choose_config(Wishes(start=str(tmp_path)), BUDGET)
    assert (chosen.preset, chosen.codec) == (preset, PRESETS[preset].codec)


def of_before(folder: Path, family: str = "vae-gan") -> Codec:
    """A codec's own folder of format 1, whose linear path sees its own group only."""
    codec = Codec(SMALL.codec.model_copy(update={"linear_past": 0, "family": family}))
    codec.save_pretrained(folder)
    said = json.loads((folder / "config.json").read_text())
    del said["linear_past"]
    (folder / "config.json").write_text(json.dumps({**said, "format": 1}))
    return codec


def test_a_codec_of_before_is_read_and_may_learn_to_look_back(tmp_path: Path) -> None:
    old = of_before(tmp_path / "codec")
    assert Codec.from_pretrained(tmp_path / "codec").config == old.config
    run = open_run(tmp_path / "run", Wishes(start=str(tmp_path / "codec")), BUDGET)
    assert run.config.codec == SMALL.codec and SMALL.codec.linear_past == 1
    new = Codec(run.config.codec)
    new.load_state_dict(starts.start_weights(run) or {})
    video = torch.rand(1, 3, 9, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(new.decode(new.encode(video).mode()), old.decode(old.encode(video).mode()), atol=1e-6)
    with pytest.raises(RunError, match="linear_past 1, not 0"):
        new.save_pretrained(tmp_path / "new")
        still = {"codec": {"linear_past": 0}}
        choose_config(Wishes(preset="tiny", start=str(tmp_path / "new"), changes=still), BUDGET)


def test_a_gans_own_folder_begins_a_gan(tmp_path: Path) -> None:
    of_before(tmp_path / "codec", "gan")
    chosen = choose_config(Wishes(start=str(tmp_path / "codec")), BUDGET)
    assert chosen.codec.family == "gan" and chosen.discriminator.groups == 2


def test_a_codecs_own_layout_is_taken_where_it_is_no_presets(tmp_path: Path) -> None:
    Codec(SMALL.codec).save_pretrained(tmp_path / "codec")
    chosen = choose_config(Wishes(start=str(tmp_path / "codec"), family="vae"), BUDGET)
    assert chosen.codec == SMALL.codec.model_copy(update={"family": "vae"}) and chosen.preset == "tiny"
    with pytest.raises(RunError, match="latent_channels 4, not 8"):
        choose_config(Wishes(preset="tiny", start=str(tmp_path / "codec")), BUDGET)


def test_who_asks_for_the_starter_gets_a_preset_that_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoreel.training.measure.codec_step_s", lambda config, device: 1e-3)  # all would fit
    assert choose_config(Wishes(start="starter"), Budget.parse("4h")).preset == "tiny"
    prepared = DataConfig(height=128, width=128)  # the size of `small`, which has none
    chosen = choose_config(Wishes(start="starter"), BUDGET, data=prepared)
    assert (chosen.preset, chosen.data) == ("tiny", prepared)
    with pytest.raises(RunError, match="no starter for this layout"):
        choose_config(Wishes(start="starter", backbone="transformer"), BUDGET)


def test_the_same_wishes_go_on_and_others_are_refused(tmp_path: Path) -> None:
    trained(tmp_path / "old")
    wishes = Wishes(start=str(tmp_path / "old"))
    open_run(tmp_path / "run", wishes, BUDGET)
    open_run(tmp_path / "run", wishes, BUDGET)
    open_run(tmp_path / "run", Wishes(), BUDGET)
    with pytest.raises(UsageError, match="was begun with --start"):
        open_run(tmp_path / "run", Wishes(start="scratch"), BUDGET)


def test_another_layout_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    trained(tmp_path / "old")
    with pytest.raises(RunError, match="latent_channels 4, not 8"):
        open_run(tmp_path / "run", Wishes(preset="tiny", start=str(tmp_path / "old")), BUDGET)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("start", "said"), [("absent", "no such folder"), (".", "holds no codec")])
def test_a_start_that_is_none_is_said(tmp_path: Path, start: str, said: str) -> None:
    with pytest.raises(RunError, match=said):
        open_run(tmp_path / "run", Wishes(preset="tiny", start=str(tmp_path / start)), BUDGET)


def test_an_untrained_run_is_no_start(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "old", SMALL)
    with pytest.raises(RunError, match="its codec is not trained yet"):
        open_run(tmp_path / "run", Wishes(start=str(tmp_path / "old")), BUDGET)
    assert not (tmp_path / "run").exists()


def test_the_starter_is_the_default_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SMALL.model_copy(update={"training": TrainingConfig()})
    wishes = Wishes(config=config_file(tmp_path / "config.toml", config))
    monkeypatch.setattr(starts, "STARTERS", tmp_path / "starter")
    assert choose_config(wishes, BUDGET).training.start == "auto"
    assert starts.start_weights(open_run(tmp_path / "before", wishes, BUDGET)) is None
    with pytest.raises(RunError, match="no starter for this layout"):
        choose_config(Wishes(preset="tiny", start="starter"), BUDGET)
    Codec(SMALL.codec).save_pretrained(tmp_path / "starter" / "small", dtype=torch.float16)
    assert choose_config(wishes, BUDGET).training.start == "starter"
    run = open_run(tmp_path / "run", wishes, BUDGET)
    assert starts.START_FILE in run.manifest.weights
    assert choose_config(Wishes(preset="tiny"), BUDGET).training.start == "auto"


@pytest.mark.filterwarnings("ignore")  # those of the library
@pytest.mark.parametrize(
    ("family", "side"),
    [("wan", 16), ("wan-2.2", 32), ("ltx", 64), ("hunyuan", 16), ("cogvideox", 16), ("cosmos", 16)],
)
def test_a_pretrained_codec_is_used_as_if_it_were_ours(tmp_path: Path, family: str, side: int) -> None:
    pytest.importorskip("diffusers", reason="the extra `pretrained` is not installed")
    source = f"diffusers:{saved(family, tmp_path)}"
    config = SMALL.model_copy(update={"data": DataConfig(height=side, width=side)})
    wishes = Wishes(codec=source, config=config_file(tmp_path / "config.toml", config))
    run = open_run(tmp_path / "run", wishes, BUDGET)
    store = NoiseFootage(config)
    with pytest.raises(UsageError, match="not trained; use --stage prior"):
        train(begin(run.root, store), store, budget=BUDGET, stage="codec", report=lambda line: None)
    train(begin(run.root, store), store, budget=BUDGET, report=lambda line: None)
    assert RunFolder.open(run.root).manifest.stages["prior"].step == 2
    opened = autoreel.load(run.root)
    frames = opened.generate(num_frames=12, seed=1)
    assert frames.shape == (12, side, side, 3) and frames.std() > 0
    assert opened.continue_(frames[:9], 4).shape == (13, side, side, 3)
    latents = opened.encode(store.frames(store.shots[0], 0, 17))
    assert abs(float(latents.mean())) < 1 and 0.2 < float(latents.std()) < 5  # normalised by what was measured
    with pytest.raises(RunError, match="give that with --codec"):
        open_run(tmp_path / "third", Wishes(start=str(run.root)), BUDGET)


@pytest.mark.filterwarnings("ignore")
def test_a_pretrained_codec_may_be_named_otherwise_and_stays_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("diffusers", reason="the extra `pretrained` is not installed")
    place = saved("wan", tmp_path)
    wishes = Wishes(codec=f"diffusers:{place}")
    run = open_run(tmp_path / "run", wishes, BUDGET)
    monkeypatch.chdir(tmp_path)
    open_run(run.root, Wishes(codec=f"diffusers:{place.name}"), BUDGET)
    with pytest.raises(UsageError, match=f"was begun with --codec diffusers:{place}"):
        open_run(run.root, Wishes(codec="diffusers:owner/model"), BUDGET)
    text = (run.root / "config.toml").read_text()
    (run.root / "config.toml").write_text(text.replace(str(place), "owner/model@abc"))
    open_run(run.root, Wishes(codec="diffusers:owner/model"), BUDGET)


@pytest.mark.filterwarnings("ignore")
def test_a_pretrained_codec_and_a_start_speak_against_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give one"):
        open_run(tmp_path / "run", Wishes(start="scratch", codec="diffusers:x"), BUDGET)


@pytest.mark.filterwarnings("ignore")
def test_a_size_that_the_pretrained_codec_cannot_take_is_said(tmp_path: Path) -> None:
    pytest.importorskip("diffusers", reason="the extra `pretrained` is not installed")
    config = SMALL.model_copy(update={"data": DataConfig(height=72, width=64)})
    found = examine(f"diffusers:{saved('ltx', tmp_path)}")
    assert found.spatial_stride == 32
    wishes = Wishes(codec=found.source, config=config_file(tmp_path / "config.toml", config))
    with pytest.raises(ValueError, match="multiple of the codec's spatial_stride 32"):
        choose_config(wishes, BUDGET)
