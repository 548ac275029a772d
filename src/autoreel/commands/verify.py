"""The command that tells where a film comes from: verify."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def verify(
    file: Path,
    *,
    record: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Tell where a film comes from: metadata, record, invisible mark, manifest.

    Ends with 0 when something was found and nothing contradicts it, 20 when nothing was found, 21 when something
    contradicts something. The file is decoded in a confined process, whoever made it.

    Args:
        file: A film, a clip, or a folder of PNG files.
        record: The record of the film; the .json file beside it when left out.
        json: Everything that was found, as JSON.
    """
    from autoreel import preflight

    preflight.insist([] if os.path.isdir(file) else preflight.check_input(file, "the film"))
    from json import dumps

    from autoreel.film import verify as look

    found = look.verify(file, record)
    if json:
        print(dumps(found.as_dict(), indent=1, ensure_ascii=False))
    else:
        for line in look.lines(found):
            print(line)
    return found.exit_code
