"""The starter's footage and its way into the package, in small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tools import train_starter
from tools.starter_footage import FRAMES, attributions, build_store, scene, tier_a

from autoreel.clip import to_frames, to_model
from autoreel.config import PRESETS, CodecConfig, Config, DataConfig
from autoreel.evaluation.metrics import frame_psnr
from autoreel.models.codec import Codec
from autoreel.models.stored import load_codec
from autoreel.runs import RunFolder, StageState
from autoreel.training.start import differences, find_starter

TABLE = """# Licences
| file | size | fps | seconds | sound | from | licence | tier |
|---|---|---|---|---|---|---|---|
| objects/a.mp4 | 64x64 | 25 | 1 | no | someone: a.mp4 | CC-BY-4.0 (attribution: someone) | A |
| people/b.mp4 | 64x64 | 25 | 1 | no | other: b.mp4 | MIT (repo) | B |
| traffic/c.mp4 | 64x64 | 25 | 1 | no | someone: c.mp4 | CC-BY-4.0 | A |
| objects/absent.mp4 | 64x64 | 25 | 1 | no | someone: d.mp4 | CC-BY-4.0 | A |
"""


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    for name in ("objects/a.mp4", "people/b.mp4", "traffic/c.mp4"):
        path = tmp_path / "footage" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "footage" / "LICENCES.md").write_text(TABLE)
    return tmp_path / "footage"


def test_the_starter_that_is_shipped_is_whole() -> None:
    place = find_starter(PRESETS["tiny"].codec)
    assert place is not None
    codec = load_codec(place)  # strictly, by the hash that its config names
    assert not differences(codec.config, PRESETS["tiny"].codec)
    assert sum(path.stat().st_size for path in place.iterdir()) <= 20_000_000
    card = (place / "README.md").read_text(encoding="utf-8")
    assert "license: cc-by-4.0" in card and "(attribution: " in card
    assert not [name for name in ("asl_gestures", "talking_face", "traffic", "actions_lab") if f"`{name}/" in card]
    video = to_model(scene(64, np.random.default_rng(0))[None, :17])
    with torch.no_grad():
        made = to_frames(codec.decode(codec.encode(video).mode()))
    assert float(frame_psnr(to_frames(video)[0], made[0]).mean()) > 25


def test_only_licensed_footage_that_it_is_not_tried_on_is_taken(footage: Path) -> None:
    found = tier_a(footage)
    assert [source.path.name for source in found] == ["a.mp4"]
    assert attributions(found, footage) == "- `objects/a.mp4`: someone: a.mp4; CC-BY-4.0 (attribution: someone)"


def test_scenes_move_and_differ() -> None:
    random = np.random.default_rng(0)
    first, second = scene(32, random), scene(32, random)
    assert first.shape == (FRAMES, 32, 32, 3) and first.dtype == np.uint8
    assert first.std() > 3 and not np.array_equal(first, second)
    assert np.array_equal(first, scene(32, np.random.default_rng(0)))
    assert np.abs(first[0].astype(int) - first[-1]).mean() > 0


def test_a_store_is_built_once(footage: Path, tmp_path: Path) -> None:
    (footage / "LICENCES.md").write_text("")
    told: list[str] = []
    for _ in range(2):
        store = build_store(
            footage, tmp_path / "store", side=16, clips=1, scenes=20, seed=0, report=told.append
        )
        assert store.size == (16, 16) and len(store.split("validation")) == 1 and len(store.shots) == 23
        store.verify()
    assert told == [f"rendered/{kind}: {count} clips" for kind, count in
                    (("scenes", 20), ("ad", 1), ("romance", 1), ("travel", 1))]  # fmt: skip


def test_the_result_is_installed_with_its_card(footage: Path, tmp_path: Path) -> None:
    small = CodecConfig(latent_channels=4, widths=(8, 8, 8), family="vae")
    run = RunFolder.create(tmp_path / "run", Config(data=DataConfig(height=16, width=16), codec=small))
    torch.manual_seed(0)
    run.save_weights("codec.safetensors", Codec(small).state_dict(), {})
    run.update_stage("codec", StageState(done=True, step=7, elapsed_s=3600.0))
    for _ in range(2):
        place = train_starter.install(run, footage, tmp_path / "starters")
    assert place == tmp_path / "starters" / "tiny" and load_codec(place).config == small
    card = (place / "README.md").read_text()
    assert "license: cc-by-4.0" in card and "7 steps" in card and "contrast weight 2" in card
    assert "`objects/a.mp4`: someone" in card
    assert sorted(path.name for path in (tmp_path / "starters").iterdir()) == ["tiny"]


def test_the_starter_is_trained_for_reconstruction_with_half_the_contrast() -> None:
    usual, config = PRESETS["tiny"], train_starter.starter_config("tiny", 3, "scratch")
    assert config.codec.family == "vae" and config.training.seed == 3
    assert config.objective.contrast_weight == usual.objective.contrast_weight / 2
