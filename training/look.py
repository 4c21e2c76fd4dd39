"""Write `docs/emoji.png` and `docs/emoji-flow.png`: 32 prompts drawn by seed from what they know.

python -m training.look
"""

import random
from pathlib import Path

from PIL import Image

import frdiff
from frdiff.compare import draw_grid
from frdiff.models import GUIDANCE, INPUTS, shipped_captions
from frdiff.sampling import sample

ROWS, COLUMNS, SEED = 4, 8, 0
STEPS = {"emoji": 25, "emoji-flow": 28}
OUTPUT = Path(__file__).parents[1] / "docs"


def main() -> None:
    """Draw and save the sheets."""
    for name, steps in STEPS.items():
        path = OUTPUT / f"{name}.png"
        draw_sheet(name, steps).save(path, optimize=True)
        print(path)


def draw_sheet(name: str, steps: int) -> Image.Image:
    """The prompts as a shipped model draws them, each under its caption."""
    pipe = frdiff.load_model(name)
    prompts = random.Random(SEED).sample(shipped_captions(name), ROWS * COLUMNS)
    images = sample(
        pipe,
        prompts,
        steps=steps,
        seed=SEED,
        guidance=GUIDANCE[name],
        inputs=INPUTS.get(name, {}),
    )
    strips = [
        draw_grid([("", images[start : start + COLUMNS])], prompts[start : start + COLUMNS])
        for start in range(0, len(prompts), COLUMNS)
    ]
    sheet = Image.new("RGB", (strips[0].width, sum(strip.height for strip in strips)), "white")
    for row, strip in enumerate(strips):
        sheet.paste(strip, (0, row * strip.height))
    return sheet


if __name__ == "__main__":
    main()
