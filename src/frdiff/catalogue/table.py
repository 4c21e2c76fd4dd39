"""The table of published models: what each set of targets finds, saves and stores."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from frdiff.catalogue import NOT_DENOISERS, example_call
from frdiff.catalogue.full_size import FullSize
from frdiff.cost import call_costs
from frdiff.network.hollow import Example
from frdiff.policy import TARGET_SETS, UniformPolicy

__all__ = ["ModelCosts", "SetCost", "markdown", "model_costs", "page"]

MIB = 2**20


@dataclass(frozen=True)
class SetCost:
    """What a set of targets comes to in one call.

    Attributes:
        targets: how many it finds.
        reuse_ratio: cost of one reuse step / cost of one full step.
        feature_bytes: of one keyframe's features in 16 bits; a bank holds one more for each order
            of the forecast.
    """

    targets: int
    reuse_ratio: float
    feature_bytes: int

    def __str__(self) -> str:
        return f"{self.targets} / {self.reuse_ratio:.3f} / {self.feature_bytes / MIB:.0f}"


@dataclass(frozen=True)
class ModelCosts:
    """One row of the table.

    Attributes:
        name: of the model, or of its class where it has the sizes of the defaults.
        class_name: in diffusers.
        at: size of what is made.
        batch: samples in a call; 2 where both halves of guidance share one.
        macs: multiply-accumulates of one full call.
        sets: by name: `"paper"`, `"residual"` and `"all"`.
    """

    name: str
    class_name: str
    at: str
    batch: int
    macs: int
    sets: dict[str, SetCost]

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return asdict(self)


def model_costs(model: FullSize) -> ModelCosts:
    """What a call of a published model costs, counted without its weights in seconds."""
    denoiser = model.build()
    # On a real device, whose autocast and whole numbers the code of some models asks for.
    example = Example((), example_call(denoiser, "cpu", **model.call))
    costs = call_costs(denoiser, [UniformPolicy(2, targets=row) for row in TARGET_SETS], example)
    size = model.call_size
    sets = {
        name: SetCost(len(cost.targets), cost.reuse_ratio, model.in_16_bits(cost.feature_bytes))
        for name, cost in zip(TARGET_SETS, costs, strict=True)
    }
    return ModelCosts(model.name, model.class_name, size.at, size.batch, costs[0].macs, sets)


PAGE = """# Every denoiser class at its published size

Made by `make docs-models` from `frdiff models --markdown`, without weights: a copy of each model
makes one call on tensors without contents. Where a class is released at other sizes than its
defaults, or at several, its rows are releases; every other class has one row, with the defaults of
diffusers.

- **at** says what is made, **batch** the samples in a call: 2 where a pipeline puts both halves of
  guidance into one call.
- **GMACs** are the multiply-accumulates of one full call; flexible attention counts as if nothing
  were masked.
- Each set of targets has three figures: targets found / reuse ratio / MiB that one keyframe's
  features take in 16 bits. A bank holds one keyframe's features, two with a linear forecast, three
  with a quadratic one.
- **tested**: a tiny model of the class, with all its kinds of blocks, keeps to the contract of
  `tests/test_contract.py` with every set and with jumps.

What a policy would save: `frdiff inspect --model-class "Flux dev" --interval 3 --steps 28`.

{table}"""


def page(rows: Iterable[ModelCosts]) -> str:
    """The table in Markdown with what its columns mean."""
    return PAGE.format(table=markdown(rows))


def markdown(rows: Iterable[ModelCosts]) -> str:
    """The rows as a table in Markdown, then the classes that predict no score, with the reason."""
    columns = ("model", "class", "at", "batch", "GMACs", *TARGET_SETS, "tested")
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for row in rows:
        name = "" if row.name == row.class_name else row.name
        cells = [name, f"`{row.class_name}`", row.at, row.batch, f"{row.macs / 1e9:,.1f}"]
        lines.append("| " + " | ".join(map(str, [*cells, *row.sets.values(), "yes"])) + " |")
    for class_name, reason in NOT_DENOISERS.items():
        lines.append(f"| | `{class_name}` | " + "| " * (len(columns) - 3) + f"no: {reason} |")
    return "\n".join(lines) + "\n"
