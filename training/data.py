"""The emoji pictures and their captions, as `motifs.py` wrote them."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

HERE = Path(__file__).parent / "emoji"
SIZE = 64


def motifs() -> tuple[Tensor, list[str], list[int]]:
    """Pictures, their captions, and which of them the finished model is to know.

    Returns:
        Pictures as float32 in [-1, 1] with shape (N, 3, 64, 64), N captions, and the indices of
        the motifs that training narrows down to.
    """
    rows = json.loads((HERE / "motifs.json").read_text(encoding="utf-8"))
    captions = [row["caption"] for row in rows]
    learnt = [index for index, row in enumerate(rows) if row["learnt"]]
    sheet = torch.from_numpy(np.array(Image.open(HERE / "motifs.png").convert("RGB")))
    rows, columns = sheet.shape[0] // SIZE, sheet.shape[1] // SIZE
    tiles = sheet.reshape(rows, SIZE, columns, SIZE, 3).permute(0, 2, 4, 1, 3)
    pictures = tiles.reshape(rows * columns, 3, SIZE, SIZE)[: len(captions)]
    return pictures.float() / 127.5 - 1.0, captions, learnt
