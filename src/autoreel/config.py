"""One frozen model per component, the presets, and a strict load that reports every problem at once."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from autoreel.bounded import MAX_DEPTH, has_deep_keys, is_deep, read_bounded
from autoreel.errors import ConfigError

MAX_CONFIG_BYTES = 1 << 20
MAX_PROBLEMS = 100  # that are told at once
MOST_GUIDANCE, MOST_STEPS = 20.0, 1000
ModelT = TypeVar("ModelT", bound="Strict")

Family = Literal["gan", "ae", "vae", "vae-gan"]
Backbone = Literal["resnet", "transformer"]
Judge = Literal["conv", "fc"]
ADVERSARIAL = ("gan", "vae-gan")  # families with a discriminator


class Strict(BaseModel):
    """Frozen, typed, and without room for a key that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class DataConfig(Strict):
    """How footage becomes a store."""

    height: Annotated[int, Field(ge=16, le=1024, multiple_of=8)] = 64
    width: Annotated[int, Field(ge=16, le=1024, multiple_of=8)] = 64
    fit: Literal["crop", "letterbox"] = "crop"
    fps: Annotated[float, Field(gt=0, le=120)] | None = None  # None: the footage's own median rate, at most 30
    validation_share: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    test_share: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    min_shot_s: Annotated[float, Field(ge=0, le=60)] = 0.4
    max_file_s: Annotated[float, Field(gt=0)] = 3600.0


class CodecConfig(Strict):
    """The video autoencoder. See models/codec.py for what each part does."""

    family: Family = "vae-gan"
    backbone: Backbone = "resnet"
    temporal_stride: Literal[1, 4] = 4
    spatial_stride: Literal[8, 16] = 8
    latent_channels: Annotated[int, Field(ge=4, le=32)] = 8
    widths: tuple[Annotated[int, Field(ge=8, le=1024)], ...] = (64, 128, 256)  # at 1/2, 1/4, 1/8 (and 1/16)
    encoder_depths: tuple[Annotated[int, Field(ge=0, le=32)], ...] = (1, 1, 1)
    decoder_depths: tuple[Annotated[int, Field(ge=0, le=32)], ...] = (1, 2, 2)
    linear_past: Literal[0, 1] = 1  # groups before its own that the linear path paints from
    attention_window: Annotated[int, Field(ge=2, le=32, multiple_of=2)] = 8  # positions a side, of the transformer
    attention_past: Annotated[int, Field(ge=1, le=16)] = 1  # groups before its own that a transformer's block sees

    @model_validator(mode="after")
    def _stages_match(self) -> Self:
        stages = 3 if self.spatial_stride == 8 else 4
        for name in ("widths", "encoder_depths", "decoder_depths"):
            if len(getattr(self, name)) != stages:
                raise ValueError(f"{name} needs {stages} entries for spatial_stride {self.spatial_stride}")
        if self.backbone == "transformer" and any(width % 4 for width in self.widths):
            raise ValueError(f"the widths of a transformer must be multiples of 4, not {self.widths}")
        return self


class PretrainedConfig(Strict):
    """A codec that somebody else trained, used instead of our own. See models/pretrained.py.

    The strides and channels are those of the model; `autoreel train --codec` finds them out.
    """

    source: Annotated[str, Field(pattern=r"^diffusers:.+")]  # a folder, or a name on the hub
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # of its config and weights
    temporal_stride: Annotated[int, Field(ge=1, le=64)]
    spatial_stride: Annotated[int, Field(ge=1, le=128)]
    latent_channels: Annotated[int, Field(ge=1, le=1024)]
    odd_only: bool = False  # it decodes odd numbers of latent frames as they were encoded, and even ones otherwise


class DiscriminatorConfig(Strict):
    """The discriminator that keeps pictures sharp."""

    kind: Judge = "conv"
    width: Annotated[int, Field(ge=8, le=512)] = 48
    sees_original: bool = False
    groups: Annotated[int, Field(ge=1, le=32)] = 1  # of frames, judged together; more of them hold motion together
    spectral_norm: bool = False
    augment: bool = False  # what it sees is shifted, tinted and cut out, real and made alike


LPIPS_LEAST = {"vgg": 16, "alex": 31}  # pixels a side, below which nothing is left after the last pooling


class ObjectiveConfig(Strict):
    """Weights of the loss terms; a weight of zero leaves the term out."""

    reconstruction: Literal["l1", "l2", "charbonnier"] = "charbonnier"
    difference_weight: Annotated[float, Field(ge=0)] = 0.5
    border_weight: Annotated[float, Field(ge=0)] = 8.0  # of differences where groups of frames meet, to those inside
    wavelet_weight: Annotated[float, Field(ge=0)] = 0.0
    contrast_weight: Annotated[float, Field(ge=0)] = 2.0  # of the term that wants edges as strong as the original's
    lpips_weight: Annotated[float, Field(ge=0)] = 0.0
    lpips_network: Literal["vgg", "alex"] = "vgg"
    lpips_weights: Path | None = None  # a safetensors file of one's own: none is shipped or downloaded
    lpips_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None  # of that file, once a run is begun
    kl_weight: Annotated[float, Field(ge=0)] = 2e-5  # per latent element
    adversary: Literal["relativistic", "hinge"] = "relativistic"
    adversarial_weight: Annotated[float, Field(ge=0)] = 0.5  # share of the reconstruction's gradient norm
    feature_weight: Annotated[float, Field(ge=0)] = 1.0
    r1_weight: Annotated[float, Field(ge=0)] = 0.1
    r2_weight: Annotated[float, Field(ge=0)] = 0.1
    r1_every: Annotated[int, Field(ge=1)] = 1  # updates of the discriminator from one penalty, R1 and R2, to the next
    lecam_weight: Annotated[float, Field(ge=0)] = 0.0
    equivariance: Literal["scale", "scale-rotation"] = "scale"
    equivariance_weight: Annotated[float, Field(ge=0)] = 0.0
    latent_noise: Annotated[float, Field(ge=0, le=2)] = 0.0  # largest deviation, latents have about one

    @model_validator(mode="after")
    def _weights_are_given(self) -> Self:
        if self.lpips_weight and self.lpips_weights is None:
            raise ValueError("lpips_weight needs lpips_weights, a safetensors file with the network's weights")
        return self


class PriorConfig(Strict):
    """The rectified-flow transformer over latent frames."""

    width: Annotated[int, Field(ge=32, le=4096, multiple_of=32)] = 192
    depth: Annotated[int, Field(ge=1, le=64)] = 6
    heads: Annotated[int, Field(ge=1, le=64)] = 4
    patch: Literal[1, 2, 4] = 2
    window: Annotated[int, Field(ge=2, le=128)] = 9  # latent frames the network sees at once
    label_dropout: Annotated[float, Field(ge=0, le=1)] = 0.1
    mirror: bool = True  # it also learns from mirrored footage where there is little, and is told that it is
    preconditioned: bool = True  # it learns what the velocity is beyond that of white noise; see models/prior.py
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # of what each block adds
    equal_level_share: Annotated[float, Field(ge=0, le=1)] = 0.3
    behind_clean_share: Annotated[float, Field(ge=0, le=1)] = 0.9  # of the steps: frames behind clean ones
    reorder_share: Annotated[float, Field(ge=0, le=1)] = 0.15  # of their windows: the end is known
    drift_share: Annotated[float, Field(ge=0, le=1)] = 0.5  # of the others that skip frames: context drifts
    own_context_share: Annotated[float, Field(ge=0, le=1)] = 0.0  # of the training, its end: context is its own
    context_noise: Annotated[float, Field(ge=0, le=0.5)] = 0.03
    guidance: Annotated[float, Field(ge=0, le=MOST_GUIDANCE)] = 1.5
    steps: Annotated[int, Field(ge=1, le=MOST_STEPS)] = 4


def sampling_problems(guidance: float | None, steps: int | None) -> Iterator[str]:
    """What is wrong with how a prior is asked to sample; None leaves it to the run.

    Args:
        guidance: `PriorConfig.guidance` instead of the run's.
        steps: `PriorConfig.steps` instead of the run's.
    """
    if guidance is not None and not 0 <= guidance <= MOST_GUIDANCE:  # nan lies nowhere
        yield f"guidance {guidance:g}: it must lie between 0 and {MOST_GUIDANCE:g}"
    if steps is not None and not 1 <= steps <= MOST_STEPS:
        yield f"steps {steps}: they must lie between 1 and {MOST_STEPS}"


class UpscalerConfig(Strict):
    """What is added to Lanczos where frames are enlarged. See models/upscaler.py."""

    width: Annotated[int, Field(ge=8, le=512, multiple_of=4)] = 48
    depth: Annotated[int, Field(ge=1, le=32)] = 3
    contrast_weight: Annotated[float, Field(ge=0)] = 0.2  # of the term that wants edges as strong as the original's


class TrainingConfig(Strict):
    """How long, how much at once, how fast."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    codec_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    adversary_start: Annotated[float, Field(ge=0, le=1)] = 0.6  # share of the codec's budget after which it joins
    codec_batch: Annotated[int, Field(ge=1)] = 4
    codec_frames: Annotated[int, Field(ge=1)] = 17
    codec_rate: Annotated[float, Field(gt=0)] = 4e-3
    linear_share: Annotated[float, Field(gt=0, le=1)] = 0.1  # of that rate's tenth: the linear path begins as the best
    discriminator_rate: Annotated[float, Field(gt=0)] = 1e-3
    prior_batch: Annotated[int, Field(ge=1)] = 8
    prior_rate: Annotated[float, Field(gt=0)] = 2e-3
    refine_rate: Annotated[float, Field(gt=0)] = 3e-3
    refine_anchor: Annotated[float, Field(ge=0)] = 1.0  # weight of reading footage as before
    upscale_batch: Annotated[int, Field(ge=1)] = 4
    upscale_rate: Annotated[float, Field(gt=0)] = 6e-3
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.998
    augment: bool = True  # clips closer, shifted, backwards, in other colours, for the codec
    mirror: bool = True  # mirrored clips for the codec; the prior's are prior.mirror
    checkpoint_every_s: Annotated[float, Field(gt=0)] = 60.0
    preview_every_s: Annotated[float, Field(gt=0)] = 60.0
    threads: Annotated[int, Field(ge=0)] = 0  # 0: measured
    start: Annotated[str, Field(min_length=1)] = "auto"  # what the codec starts from: see training/start.py


class Config(Strict):
    """Everything a run is made from."""

    preset: str = "tiny"
    data: DataConfig = DataConfig()
    codec: CodecConfig = CodecConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    prior: PriorConfig = PriorConfig()
    upscaler: UpscalerConfig = UpscalerConfig()
    training: TrainingConfig = TrainingConfig()
    pretrained: PretrainedConfig | None = None  # then `codec` and its training are not used

    @property
    def strides(self) -> tuple[int, int]:
        """Frames and pixels in a latent position, of the codec in use."""
        codec = self.pretrained or self.codec
        return codec.temporal_stride, codec.spatial_stride

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        problems = [*self._codec_problems(), *self._size_problems()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _codec_problems(self) -> Iterator[str]:
        frames, t = self.training.codec_frames, self.codec.temporal_stride
        if (frames - 1) % t:
            lower = 1 + (frames - 1) // t * t
            yield f"'training.codec_frames' is {frames}: with temporal_stride {t} it can be {lower} or {lower + t}"
        elif frames == 1 and t > 1 and self.codec.family == "vae-gan":
            yield f"'training.codec_frames' is 1: the discriminator judges groups of {t} frames, so at least {1 + t}"
        groups = (frames - 1) // t + 1 if t == 1 or self.codec.family == "gan" else (frames - 1) // t
        if self.codec.family in ADVERSARIAL and 0 < groups < self.discriminator.groups:
            yield f"'discriminator.groups' is {self.discriminator.groups}: {frames} frames have at most {groups}"
        if self.codec.family == "gan" and not self.objective.adversarial_weight:
            yield "'objective.adversarial_weight' is 0: the family gan learns from nothing else"
        if self.codec.family == "gan" and self.discriminator.sees_original:
            yield "'discriminator.sees_original' is true: what the family gan makes has no original"

    def _size_problems(self) -> Iterator[str]:
        stride, patch = self.strides[1], self.prior.patch
        for side in ("height", "width"):
            pixels = getattr(self.data, side)
            if pixels % stride:
                yield f"'data.{side}' is {pixels}: it must be a multiple of the codec's spatial_stride {stride}"
            elif pixels // stride % patch:
                yield (
                    f"'data.{side}' is {pixels}: with the prior's patch {patch} it must be a multiple of "
                    f"{stride * patch}, or the patch smaller"
                )
        network = self.objective.lpips_network
        if self.objective.lpips_weight and min(self.data.height, self.data.width) < LPIPS_LEAST[network]:
            least = LPIPS_LEAST[network]
            yield f"'objective.lpips_network' is {network!r}: it compares pictures of at least {least} pixels a side"
        if self.prior.width % (4 * self.prior.heads):
            yield f"'prior.width' is {self.prior.width}: it must be a multiple of 4 times heads, {4 * self.prior.heads}"


PRESETS: dict[str, Config] = {
    "tiny": Config(preset="tiny"),
    "small": Config(
        preset="small",
        data=DataConfig(height=128, width=128),
        codec=CodecConfig(
            spatial_stride=16,
            latent_channels=16,
            widths=(48, 96, 192, 320),
            encoder_depths=(1, 1, 1, 1),
            decoder_depths=(1, 1, 2, 2),
        ),
        prior=PriorConfig(width=320, depth=8, patch=2),
    ),
    "base": Config(
        preset="base",
        data=DataConfig(height=256, width=256),
        codec=CodecConfig(
            spatial_stride=16,
            latent_channels=16,
            widths=(64, 128, 256, 512),
            encoder_depths=(1, 1, 2, 2),
            decoder_depths=(1, 2, 3, 3),
        ),
        prior=PriorConfig(width=512, depth=12, heads=8, patch=1),
        training=TrainingConfig(prior_batch=16),
    ),
}

# What a family changes in every preset; a config file and a command line go before it.
FAMILIES: dict[str, dict[str, dict[str, Any]]] = {
    "gan": {
        "discriminator": {"groups": 2, "augment": True},
        "objective": {"adversarial_weight": 1.0, "r1_weight": 1.0, "r2_weight": 1.0},
        "training": {"codec_rate": 2e-3, "discriminator_rate": 5e-4},
    },
}


OPTIONS_OF = {  # of fields that the command line names by themselves
    "preset": "--preset", "data": "--preset, --fit or --fps, or prepare with --size", "pretrained": "--codec",
    "codec.family": "--family", "codec.backbone": "--backbone", "discriminator.kind": "--discriminator",
    "training.seed": "--seed", "training.start": "--start",
}  # fmt: skip
# Fields that there were. Their values mean nothing now: a person's file is refused, in a run's they are left out.
FORMER = {"prior.clean_context_share": "was a share of windows; write 'behind_clean_share', a share of steps"}
MAX_WRITTEN = 1000  # letters of a value on the command line


def most_like(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was probably meant to be; None when it is like none of them."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)), None)


def nearest(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """For an error's line: `, did you mean 'x'?` with the known name most like `name`, or all of them."""
    match = most_like(name, known)
    return f", did you mean '{match}'?" if match else f"; known: {', '.join(known)}"


def from_mapping(cls: type[ModelT], mapping: Mapping[str, Any], where: str) -> ModelT:
    """Build a model from plain values.

    Args:
        cls: the model.
        mapping: keys and values as read from a file.
        where: the file's name, for the message.

    Raises:
        ConfigError: with every problem; an unknown key names the nearest known one.
    """
    try:
        return cls.model_validate(mapping)
    except ValidationError as error:
        found = error.errors()
        problems = [problem for item in found[:MAX_PROBLEMS] for problem in _problems(cls, item)]
        if len(found) > MAX_PROBLEMS:
            problems.append(f"and {len(found) - MAX_PROBLEMS} more problems")
        raise ConfigError(problems, where) from None


def _problems(cls: type[BaseModel], item: Any) -> list[str]:
    if not item["loc"] and item["type"] == "value_error":  # what is wrong between parts: one line for each
        return str(item["ctx"]["error"]).split("; ")
    return [_problem(cls, item)]


def _problem(cls: type[BaseModel], item: Any) -> str:
    path = ".".join(str(part) for part in item["loc"])
    if path in FORMER:
        return f"'{path}' {FORMER[path]}"
    if item["type"] == "extra_forbidden":
        return f"unknown key '{path}'{nearest(str(item['loc'][-1]), _fields_at(cls, item['loc'][:-1]))}"
    if item["type"] == "missing":
        return f"'{path}' is missing"
    given = item.get("input")
    shown = repr(given) if isinstance(given, str | int | float | bool) else type(given).__name__
    return f"'{path}' is {shown}: {item['msg'][:1].lower()}{item['msg'][1:]}" if path else str(item["msg"])


def _fields_at(cls: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    model: Any = cls
    for part in loc:
        fields = getattr(model, "model_fields", None)
        if fields is None or part not in fields:
            continue  # a list index, or the tag of a union
        model = _model_in(fields[part].annotation)
    return list(getattr(model, "model_fields", {}))


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_in(inner)
        if found is not None:
            return found
    return None


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of bounded size and depth.

    Raises:
        ConfigError: absent, too large, too deep, or not TOML; the line is named.
    """
    try:
        text = read_bounded(path, MAX_CONFIG_BYTES)
    except FileNotFoundError:
        raise ConfigError(["no such file"], str(path)) from None
    except OSError as error:
        raise ConfigError([f"cannot be read: {error.strerror}"], str(path)) from None
    except ValueError as error:
        raise ConfigError([f"not valid TOML: it is {error}; a config is a small text file"], str(path)) from None
    is_dear = has_deep_keys(text)
    try:
        values = {} if is_dear else tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of ten thousand digits is a ValueError too
        raise ConfigError([f"not valid TOML: {error}"], str(path)) from None
    if is_dear or is_deep(values):
        raise ConfigError([f"tables inside each other more than {MAX_DEPTH} times; nothing here needs that"], str(path))
    return values


def load_config(
    path: Path, parts: Mapping[str, Any] | None = None, *, left_out: Iterable[str] = (),
    absent: Mapping[str, Any] | None = None,
) -> Config:  # fmt: skip
    """Read a config file; what it leaves out comes from its family and from the preset it names.

    Args:
        path: the file.
        parts: values that go before those of the file.
        left_out: fields, as TABLE.FIELD, that count as not there.
        absent: values of fields that the file does not have, in place of the preset's.

    Raises:
        ConfigError: with every problem.
    """
    given = read_toml(path)
    for table, _, field in (name.partition(".") for name in left_out):
        if isinstance(given.get(table), dict):
            given[table].pop(field, None)
    preset = given.get("preset", "tiny")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigError([f"unknown preset {preset!r}{nearest(str(preset), dict(PRESETS))}"], str(path))
    return with_parts(PRESETS[preset], merge(merge(absent or {}, given), parts or {}), str(path))


def read_changes(texts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Values for fields of a config, as `TABLE.FIELD=VALUE`; the value as in TOML, words without their quotes too.

    Args:
        texts: "codec.latent_channels=16", "objective.adversary=hinge".

    Returns:
        Tables of values, as `with_parts` takes them; whether a config has such fields it says.

    Raises:
        ConfigError: with every problem.
    """
    found: dict[str, dict[str, Any]] = {}
    problems = []
    for text in texts:
        name, equals, written = (part.strip() for part in text.partition("="))
        table, _, field = name.partition(".")
        if not equals or not field or "." in field:
            problems.append(f"{text[:80]!r} is not understood; write TABLE.FIELD=VALUE: codec.latent_channels=16")
        elif (option := OPTIONS_OF.get(name) or OPTIONS_OF.get(table)) is not None:
            problems.append(f"{name} has an option of its own; write {option}")
        elif field in found.get(table, {}):
            problems.append(f"{name} is given twice")
        else:
            found.setdefault(table, {})[field] = _toml_value(written)
    if problems:
        raise ConfigError(problems, "--set")
    return found


def _toml_value(written: str) -> Any:
    try:
        value = tomllib.loads(f"value = {written}") if len(written) <= MAX_WRITTEN else {}
    except (ValueError, RecursionError):
        return written
    return value["value"] if value.keys() == {"value"} else written


def with_parts(config: Config, parts: Mapping[str, Any], where: str) -> Config:
    """A config with other values, and with what their family changes where it is another.

    Args:
        config: a preset.
        parts: tables of values.
        where: what they come from, for the message.

    Raises:
        ConfigError: with every problem.
    """
    codec = parts.get("codec")
    family = codec.get("family") if isinstance(codec, Mapping) else None
    is_new = isinstance(family, str) and family != config.codec.family  # one that is there has its own values
    changes = FAMILIES.get(str(family), {}) if is_new else {}
    return from_mapping(Config, merge(merge(config.model_dump(), changes), parts), where)


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables in one; where both say something, `over` is meant."""
    merged = dict(under)
    for key, value in over.items():
        inner = merged.get(key)
        merged[key] = merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def dump_config(config: Config) -> str:
    """The config as TOML text that `load_config` reads back to an equal config."""
    import tomli_w

    return tomli_w.dumps(config.model_dump(exclude_none=True, mode="json"))
