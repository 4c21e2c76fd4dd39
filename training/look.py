"""Write `docs/emoji.png`: 32 prompts drawn by seed from what the shipped model has learnt.

python -m training.look
"""

import random
from pathlib import Path

from PIL import Image

import frdiff
from frdiff.compare import draw_grid
from frdiff.models import shipped_captions
from frdiff.sampling import sample

ROWS, COLUMNS, SEED = 4, 8, 0
OUTPUT = Path(__file__).parents[1] / "docs/emoji.png"


def main() -> None:
    """Draw and save the sheet."""
    pipe = frdiff.load_model("emoji")
    prompts = random.Random(SEED).sample(shipped_captions("emoji"), ROWS * COLUMNS)
    images = sample(pipe, prompts, steps=25, seed=SEED, guidance=2.0)
    strips = [
        draw_grid([("", images[start : start + COLUMNS])], prompts[start : start + COLUMNS])
        for start in range(0, len(prompts), COLUMNS)
    ]
    sheet = Image.new("RGB", (strips[0].width, sum(strip.height for strip in strips)), "white")
    for row, strip in enumerate(strips):
        sheet.paste(strip, (0, row * strip.height))
    OUTPUT.parent.mkdir(exist_ok=True)
    sheet.save(OUTPUT, optimize=True)
    print(OUTPUT)


if __name__ == "__main__":
    main()
