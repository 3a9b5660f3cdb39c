"""Pictures to look at while training: what went in above what came out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from echoexport.runtime.files.aside import refuse_output, replaced_file


def write_rows(path: Path, rows: list[Tensor]) -> None:
    """Rows of pictures (n, 3, H, W) in [-1, 1], one row under the other, as a PNG.

    Raises ``OutputError``.
    """
    from PIL import Image

    strips = [torch.cat(list(row.detach().float().cpu().clamp(-1, 1)), dim=-1) for row in rows]
    levels = (
        ((torch.cat(strips, dim=-2) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
    )
    with replaced_file(path, parents=True, refuse=refuse_output) as aside:
        Image.fromarray(np.ascontiguousarray(levels)).save(aside, format="PNG")
