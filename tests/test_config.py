"""Configs: presets, a strict load, and messages that name the nearest key."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from autoreel.config import (
    MAX_CONFIG_BYTES,
    PRESETS,
    CodecConfig,
    Config,
    DataConfig,
    PriorConfig,
    dump_config,
    from_mapping,
    load_config,
    nearest,
    with_parts,
)
from autoreel.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_its_file(name: str, tmp_path: Path) -> None:
    preset = PRESETS[name]
    assert preset.preset == name
    assert load_config(write(tmp_path, dump_config(preset))) == preset


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_fits_together(name: str) -> None:
    config = PRESETS[name]
    stride = config.codec.spatial_stride * config.prior.patch
    assert config.data.height % stride == config.data.width % stride == 0
    assert config.prior.width % config.prior.heads == 0
    assert (config.training.codec_frames - 1) % config.codec.temporal_stride == 0


def test_what_a_file_leaves_out_comes_from_its_preset(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, 'preset = "small"\n[training]\nseed = 7\n'))
    assert config.training.seed == 7
    assert config == PRESETS["small"].model_copy(
        update={"training": PRESETS["small"].training.model_copy(update={"seed": 7})}
    )
    assert load_config(write(tmp_path, "")) == PRESETS["tiny"]


def test_all_problems_are_told_together(tmp_path: Path) -> None:
    text = '[data]\nheigth = 64\nfit = "stretch"\n[codec]\nwidths = [64, 128]\n[trainning]\nseed = 1\n'
    with pytest.raises(ConfigError) as raised:
        load_config(write(tmp_path, text))
    problems = raised.value.problems
    assert raised.value.where == str(tmp_path / "config.toml")
    assert len(problems) == 4
    assert "unknown key 'data.heigth', did you mean 'height'?" in problems
    assert "unknown key 'trainning', did you mean 'training'?" in problems
    assert any("'data.fit' is 'stretch'" in problem and "'crop' or 'letterbox'" in problem for problem in problems)
    assert any("widths needs 3 entries for spatial_stride 8" in problem for problem in problems)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('preset = "tinny"', "unknown preset 'tinny', did you mean 'tiny'?"),
        ("preset = 3", "unknown preset 3"),
        ("a = ", "not valid TOML"),
        ("[data]\nheight = 60", "'data.height' is 60"),
        ("[data]\nheight = 99999999", "'data.height' is 99999999"),
        ("[data]\nfps = nan", "'data.fps'"),
        ("[training]\ncodec_rate = inf", "'training.codec_rate'"),
        ("[training]\nseed = -1", "'training.seed' is -1"),
        ("[prior]\nheads = 'many'", "'prior.heads' is 'many'"),
        ("data = 3", "'data' is 3"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(write(tmp_path, text))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_parts_that_do_not_fit_together_are_told_together(tmp_path: Path) -> None:
    text = """
    [data]
    height = 72
    width = 88
    [codec]
    spatial_stride = 16
    widths = [8, 8, 8, 8]
    encoder_depths = [1, 1, 1, 1]
    decoder_depths = [1, 1, 1, 1]
    [prior]
    width = 96
    heads = 5
    [training]
    codec_frames = 15
    """
    with pytest.raises(ConfigError) as raised:
        load_config(write(tmp_path, text))
    said = "\n".join(raised.value.problems)
    assert len(raised.value.problems) == 4
    assert "'training.codec_frames' is 15: with temporal_stride 4 it can be 13 or 17" in said
    assert "'data.height' is 72: it must be a multiple of the codec's spatial_stride 16" in said
    assert "'prior.width' is 96: it must be a multiple of 4 times heads, 20" in said
    with pytest.raises(ConfigError, match=r"'data\.height' is 72: with the prior's patch 2"):
        load_config(write(tmp_path, "[data]\nheight = 72"))
    with pytest.raises(ConfigError, match="judges groups of 4 frames, so at least 5"):
        load_config(write(tmp_path, "[training]\ncodec_frames = 1"))


def test_files_that_are_no_configs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "film.mp4").write_bytes(b"\x00\x00\x00\x20ftypisom\xff\xff")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(tmp_path / "film.mp4")
    (tmp_path / "large.toml").touch()
    os.truncate(tmp_path / "large.toml", MAX_CONFIG_BYTES + 1)
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        load_config(tmp_path / "large.toml")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(write(tmp_path, "a = " + "[" * 100_000))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (".".join("a" * 200_000) + " = 1", "inside each other more than 32 times"),
        ("[" + ".".join("a" * 40) + "]", "inside each other more than 32 times"),
        ("x = " + "{a = " * 60 + "1" + "}" * 60, "inside each other more than 32 times"),
        ("x = " + "[" * 300 + "]" * 300, "inside each other more than 32 times"),
        ('"a" . ' * 40 + "b = 1", "inside each other more than 32 times"),
        ("preset = " + "9" * 10_000, "not valid TOML"),
        ("\n".join(f"k{n} = 1" for n in range(5000)), "and 4900 more problems"),
    ],
)
def test_configs_are_bounded_in_depth_and_in_what_they_say(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load_config(write(tmp_path, text))
    assert len(str(caught.value)) < 20_000


def test_a_config_that_never_ends_is_not_read(tmp_path: Path) -> None:
    for path in (Path("/dev/zero"), tmp_path / "pipe"):
        if path.name == "pipe":
            os.mkfifo(path)
        with pytest.raises(ConfigError, match="it is not a plain file"):
            load_config(path)


def test_sentences_are_not_taken_for_deep_keys(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key 'text'"):
        load_config(write(tmp_path, f'text = "{"A word, another. " * 60}"'))


def test_configs_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        PRESETS["tiny"].data.height = 32  # type: ignore[misc]


def test_the_nearest_name_or_all_names() -> None:
    assert nearest("heigth", ["height", "width"]) == ", did you mean 'height'?"
    assert nearest("zzz", {"a": 1, "b": 2}) == "; known: a, b"


def test_a_spatial_stride_of_sixteen_needs_four_stages() -> None:
    with pytest.raises(ConfigError, match="widths needs 4 entries for spatial_stride 16"):
        from_mapping(CodecConfig, {"spatial_stride": 16}, "here")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
known = [*Config.model_fields, *DataConfig.model_fields, *PriorConfig.model_fields]
names = st.sampled_from(known) | st.text(max_size=8)


@given(st.dictionaries(names, values | st.dictionaries(names, values, max_size=4), max_size=5))
def test_anything_is_a_config_or_one_clear_line(mapping: dict[str, Any]) -> None:
    try:
        config = from_mapping(Config, mapping, "here")
    except ConfigError as error:
        assert error.problems
        assert str(error).startswith("here: ")
    else:
        assert isinstance(config, Config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[codec]\nbackbone = "transformer"\nwidths = [30, 64, 64]', "multiples of 4"),
        ("[objective]\nlpips_weight = 0.1", "lpips_weight needs lpips_weights"),
        (
            '[data]\nwidth = 16\n[objective]\nlpips_weight = 1\nlpips_weights = "x"\nlpips_network = "alex"',
            "pictures of at least 31 pixels a side",
        ),
        ('[codec]\nfamily = "gan"\n[discriminator]\nsees_original = true', "has no original"),
        ('[codec]\nfamily = "gan"\n[objective]\nadversarial_weight = 0', "learns from nothing else"),
        ("[discriminator]\ngroups = 5", "17 frames have at most 4"),
    ],
)
def test_parts_that_do_not_fit_are_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, text))


def test_a_family_that_is_there_keeps_its_own_values() -> None:
    other = with_parts(PRESETS["tiny"], {"codec": {"family": "gan"}, "objective": {"r1_weight": 3.0}}, "there")
    assert with_parts(other, {"codec": {"family": "gan"}}, "here") == other


def test_every_family_reads_back_as_it_was_written(tmp_path: Path) -> None:
    for family in ("gan", "ae", "vae", "vae-gan"):
        config = load_config(write(tmp_path, f'[codec]\nfamily = "{family}"'))
        assert load_config(write(tmp_path, dump_config(config))) == config
        assert (config == PRESETS["tiny"]) == (family == "vae-gan")
