"""The command that hands a codec on: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from autoreel.commands.notes import note
from autoreel.errors import AutoreelError, UsageError


def export(
    run: Path,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    format: Literal["folder", "onnx"] = "folder",
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
) -> None:
    """Write a run's codec for other programs: a folder with config.json, safetensors and a model card, or ONNX.

    Args:
        run: The run folder.
        out: The folder to write, a new one.
        format: folder, as `Codec.from_pretrained` and hubs read it, or onnx: encoder and decoder for any size.
        dtype: Number format of the weights in a folder; float16 and bfloat16 take half the space.
    """
    from autoreel import preflight

    problems: list[AutoreelError] = preflight.check_folder(out.absolute().parent)
    if format == "onnx" and dtype != "float32":
        problems.append(UsageError("--dtype is for --format folder; ONNX files are float32"))
    preflight.insist(problems)
    from autoreel.runs import RunFolder

    folder = RunFolder.open(run)
    if format == "onnx":
        from autoreel.models.onnx_files import insist_on_extra, save_onnx
        from autoreel.models.opening import own_codec

        insist_on_extra()
        save_onnx(own_codec(folder), out, report=note)
    else:
        import torch

        from autoreel.models.opening import own_codec

        own_codec(folder).save_pretrained(out, dtype=getattr(torch, dtype))
    print(out)
