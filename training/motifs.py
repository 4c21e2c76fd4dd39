"""Write `motifs.png` and `motifs.json`, the pictures and captions that the `emoji` model learns.

The pictures are Twemoji (CC-BY 4.0, see `emoji/ATTRIBUTION.md`), taken from the npm package
`emoji-datasource-twitter`:

    npm pack emoji-datasource-twitter@16.0.0 && tar xzf emoji-datasource-twitter-16.0.0.tgz
    python training/motifs.py package
"""

import argparse
import json
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent / "emoji"
COLUMNS = 20
SIZE = 64
CATEGORIES = {"Animals & Nature", "Food & Drink"}
SUBCATEGORIES = {
    "heart", "face-smiling", "face-affection", "face-tongue", "face-glasses", "face-hat",
    "face-costume", "cat-face", "monkey-face", "sport", "award-medal",
}  # fmt: skip
LEARNT = {
    "animal-mammal", "animal-bird", "food-prepared", "food-fruit", "food-vegetable", "food-sweet",
    "drink", "heart", "face-smiling", "face-affection", "face-hat", "cat-face", "monkey-face",
}  # fmt: skip
CAPTIONS = {
    "apple": "red apple",
    "heart": "red heart",
    "beers": "two beers",
    "hankey": "poo",
    "hocho": "kitchen knife",
    "feet": "paw prints",
    "rosette": "rosette flower",
    "ear_of_rice": "ear of rice",
    "heavy_heart_exclamation_mark_ornament": "heart exclamation mark",
    "fork_and_knife": "fork and knife",
    "knife_fork_plate": "fork and knife with plate",
    "medal": "military medal",
    "sports_medal": "sports medal",
}


def caption(entry: dict, short_names: set[str]) -> str:
    """The name a person would type for one entry of `emoji.json`.

    Short names say what people say ("corn", not "ear of maize"), except where two of them differ
    only by a digit ("cow2" is the cow, "cow" its face): there the official name tells them apart.
    """
    short = entry["short_name"]
    if short in CAPTIONS:
        return CAPTIONS[short]
    if short.rstrip("2") != short or short + "2" in short_names:
        return entry["name"].lower()
    return short.replace("_", " ").replace("-", " ")


def main() -> None:
    """Select the motifs, composite them on white and write the sheet and the captions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path, help="folder of the unpacked npm package")
    package = parser.parse_args().package
    entries = json.loads((package / "emoji.json").read_text(encoding="utf-8"))
    short_names = {entry["short_name"] for entry in entries}
    chosen = [
        entry
        for entry in entries
        if entry["has_img_twitter"]
        and (entry["category"] in CATEGORIES or entry["subcategory"] in SUBCATEGORIES)
    ]
    chosen.sort(key=lambda entry: entry["sort_order"])
    captions = [caption(entry, short_names) for entry in chosen]
    repeated = sorted({name for name in captions if captions.count(name) > 1})
    if repeated:
        raise SystemExit(f"captions must be unique, got twice: {repeated}; add them to CAPTIONS")

    height = -(-len(chosen) // COLUMNS) * SIZE
    sheet = Image.new("RGB", (COLUMNS * SIZE, height), "white")
    for index, entry in enumerate(chosen):
        picture = Image.open(package / "img/twitter/64" / entry["image"]).convert("RGBA")
        corner = (index % COLUMNS * SIZE, index // COLUMNS * SIZE)
        sheet.paste(picture, corner, mask=picture)
    sheet.save(HERE / "motifs.png", optimize=True)
    learnt = [entry["subcategory"] in LEARNT for entry in chosen]
    rows = [{"caption": c, "learnt": known} for c, known in zip(captions, learnt, strict=True)]
    text = "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"
    (HERE / "motifs.json").write_text(text, encoding="utf-8")
    print(f"{len(chosen)} motifs, {sum(learnt)} of them learnt -> {HERE}")


if __name__ == "__main__":
    main()
