"""Our codec as a folder that others can load: the layout of diffusers' models.

    config.json                           what it is made from, and the hash of its weights
    diffusion_pytorch_model.safetensors   the weights, in float32, float16 or bfloat16
    README.md                             the model card
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from autoreel import __version__
from autoreel.bounded import read_bounded
from autoreel.config import CodecConfig, from_mapping
from autoreel.errors import ConfigError, OutputError, RunError, translate_os_error
from autoreel.models.codec import Codec
from autoreel.runs import atomic_path, layout_of, read_weights, write_weights

CLASS_NAME = "AutoreelCodec"
FORMAT = 2
ABSENT = {1: {"linear_past": 0}}  # what a config.json of an older format means by saying nothing
CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "config.json", "diffusion_pytorch_model.safetensors", "README.md"
MAX_CONFIG_BYTES = 1 << 20
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
EXACT = ("latent_mean", "latent_deviation")  # stay float32 whatever the others are


def save_codec(codec: Codec, folder: Path, *, dtype: torch.dtype = torch.float32, card: str | None = None) -> Path:
    """Write a codec as a folder.

    Args:
        codec: trained.
        folder: absent or empty.
        dtype: of the weights: float32, or float16 or bfloat16 for half the size.
        card: text of the model card; None writes one that says what the codec is.

    Returns:
        The folder.

    Raises:
        OutputError: it holds something, or cannot be written.
        DivergedError: a weight is not finite.
    """
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ValueError(f"weights can be saved as {', '.join(DTYPES)}, not {name}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"cannot write {folder}: there is something already; give the name of a new folder")
    tensors = {
        key: tensor.detach().cpu().to(torch.float32 if key in EXACT else dtype)
        for key, tensor in codec.state_dict().items()
    }
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise translate_os_error(error, folder) from error
    with atomic_path(folder, folder=True) as part:
        digest = write_weights(part / WEIGHTS_FILE, tensors, {"format": "pt"})
        said = {
            "_class_name": CLASS_NAME, "_autoreel_version": __version__, "format": FORMAT, "dtype": name,
            "sha256": digest, **codec.config.model_dump(mode="json"),
        }  # fmt: skip
        (part / CONFIG_FILE).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
        (part / CARD_FILE).write_text(card if card is not None else model_card(codec), encoding="utf-8")
    return folder


def load_codec(folder: Path) -> Codec:
    """Read a folder that `save_codec` wrote.

    Raises:
        RunError: absent, damaged, another model, or weights that do not fit the config.
    """
    said = read_config(folder)
    dtype, digest = DTYPES[str(said.pop("dtype"))], str(said.pop("sha256"))
    codec = Codec(_codec_config(said, folder))
    expected = {
        key: (shape, torch.float32 if key in EXACT else dtype)
        for key, (shape, _) in layout_of(codec.state_dict()).items()
    }
    tensors = read_weights(folder / WEIGHTS_FILE, expected, sha256={digest})
    codec.load_state_dict({key: tensor.float() for key, tensor in tensors.items()})
    return codec


def config_of(folder: Path) -> CodecConfig:
    """What the codec in a folder is made from, without loading its weights.

    Raises:
        RunError: as `load_codec`.
    """
    said = read_config(folder)
    del said["dtype"], said["sha256"]
    return _codec_config(said, folder)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json: number format, hash and the codec's own keys; what else it must say is checked and left out.

    Raises:
        RunError: absent, damaged, or of another model.
    """
    path = folder / CONFIG_FILE
    try:
        text = read_bounded(path, MAX_CONFIG_BYTES)
    except FileNotFoundError:
        raise RunError(f"{folder} holds no codec: it has no {CONFIG_FILE}") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise RunError(f"{path} is damaged: it is {error}") from None
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise RunError(f"{path} is damaged: it is not valid JSON") from None
    if not isinstance(said, dict) or said.pop("_class_name", None) != CLASS_NAME:
        raise RunError(f"{path} does not describe one of our codecs; one of diffusers is given as diffusers:{folder}")
    said.pop("_autoreel_version", None)
    found = said.pop("format", None)
    if found not in (*ABSENT, FORMAT):
        raise RunError(f"{path} is of another format than {FORMAT}, which this autoreel reads; update autoreel")
    said = {**ABSENT.get(found, {}), **said}
    if said.get("dtype") not in DTYPES or not isinstance(said.get("sha256"), str):
        raise RunError(f"{path} is damaged: it does not say the number format and the hash of its weights")
    return said


def model_card(codec: Codec, *, licence: str | None = None, notes: Mapping[str, str] | None = None) -> str:
    """A model card in the form that hubs read: facts first, then text.

    Args:
        codec: it is about.
        licence: SPDX name; None says that it is that of the footage's owner to give.
        notes: further sections, text by heading.
    """
    config, parameters = codec.config, sum(p.numel() for p in codec.parameters())
    t, s = codec.temporal_stride, codec.spatial_stride
    head = ["---", "library_name: autoreel", "tags: [video, autoencoder]"]
    head += [f"license: {licence}"] if licence else []
    lines = [
        *head, "---", "", "# A video codec made with autoreel", "",
        f"A video autoencoder ({config.family}, {parameters / 1e6:.1f} million parameters): "
        f"{t} x {s} x {s} pixels of RGB video become {codec.latent_channels} numbers.", "",
        "```python", "from autoreel.models.codec import Codec", "",
        'codec = Codec.from_pretrained("FOLDER")', "```", "",
        f"Video is `(B, 3, 1 + {t}k, H, W)` in [-1, 1], height and width multiples of {s}; the first frame stands "
        f"alone. Latents are `(B, {codec.latent_channels}, 1 + k, H/{s}, W/{s})`.",
    ]  # fmt: skip
    if licence is None:
        lines += [
            "", "## Licence", "",
            "It has learned from footage and can show parts of it: who made it says under which terms it may be used.",
        ]  # fmt: skip
    for heading, text in (notes or {}).items():
        lines += ["", f"## {heading}", "", text]
    return "\n".join(lines) + "\n"


def _codec_config(said: Mapping[str, Any], folder: Path) -> CodecConfig:
    try:
        return from_mapping(CodecConfig, said, str(folder / CONFIG_FILE))
    except ConfigError as error:
        raise RunError(f"{folder} cannot be used: {error}") from error
