"""Published models without their weights."""

import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest
from diffusers.models.modeling_utils import ModelMixin

from frdiff.catalogue import CALLS, NOT_DENOISERS, example_call
from frdiff.catalogue.full_size import PUBLISHED, find_full_sizes, full_sizes
from frdiff.catalogue.predict import predict
from frdiff.catalogue.table import markdown, model_costs, page
from frdiff.cost import call_cost
from frdiff.network.hollow import Example
from frdiff.policy import JumpPolicy, UniformPolicy
from zoo import DENOISERS

DOCS = Path(__file__).parents[2] / "docs" / "models.md"
# Counted by hand from the shapes of the layers.
HAND_COUNTS = {"DiT-XL/2": 118.6, "SD 1.5": 803, "SDXL": 6761}


def classes_of_diffusers():
    """Model classes defined in `diffusers.models.unets` and `.transformers`."""
    found = set()
    for package in ("unets", "transformers"):
        parent = importlib.import_module(f"diffusers.models.{package}")
        for module in pkgutil.iter_modules(parent.__path__, f"{parent.__name__}."):
            for name, cls in vars(importlib.import_module(module.name)).items():
                if inspect.isclass(cls) and issubclass(cls, ModelMixin):
                    found |= {name} if cls.__module__ == module.name else set()
    return found


def cost_of(model, targets):
    denoiser = model.build()
    example = Example((), example_call(denoiser, "cpu", **model.call))
    return call_cost(denoiser, UniformPolicy(2, targets=targets), example)


@pytest.fixture(scope="module")
def hand_counted():
    return {name: model_costs(*find_full_sizes([name])) for name in HAND_COUNTS}


@pytest.mark.parametrize("name", HAND_COUNTS)
def test_hand_counts(name, hand_counted):
    assert hand_counted[name].macs / 1e9 == pytest.approx(HAND_COUNTS[name], rel=0.01)


def test_published_reuse_ratios(hand_counted):
    # Measured apart from this code: ratios of the paper's targets and of whole residuals.
    sd, sdxl = hand_counted["SD 1.5"].sets, hand_counted["SDXL"].sets
    ratios = [sets[name].reuse_ratio for sets in (sd, sdxl) for name in ("paper", "residual")]
    assert ratios == pytest.approx([0.27, 0.11, 0.12, 0.05], abs=0.005)


@pytest.mark.parametrize(("name", "apart"), [("SD 1.5", 90), ("SDXL", 265)])
def test_published_bytes(name, apart):
    """Measured apart from this code, every target by itself."""
    (model,) = find_full_sizes([name])
    cost = cost_of(model, "residual")
    assert model.in_16_bits(sum(target.feature_bytes for target in cost.targets)) >> 20 == apart


@pytest.mark.parametrize(
    ("name", "least"), [("SD 1.5", 2.8), ("DiT-XL/2", 28), ("SD3 medium", 24), ("Flux dev", 10)]
)
def test_sums_take_fewer_bytes(name, least):
    (model,) = find_full_sizes([name])
    cost = cost_of(model, "all")
    assert sum(target.feature_bytes for target in cost.targets) >= least * cost.feature_bytes


def test_every_class_of_diffusers_is_here_and_has_a_tiny_model():
    every = classes_of_diffusers()
    assert every == ({model.class_name for model in full_sizes()} | set(NOT_DENOISERS)) - {
        "UNetControlNetXSModel"  # among the ControlNets, but predicts the score
    }
    assert every - {"MiniMaxMusic3RVQDepthDecoder", "MotionAdapter"} < set(DENOISERS)
    assert set(CALLS) == set(DENOISERS)


def test_names_are_unique_and_unknown_ones_refused():
    names = [model.name for model in full_sizes()]
    assert len(set(names)) == len(names)
    assert [model.name for model in find_full_sizes(["unet2dconditionmodel", "flux dev"])] == [
        "Flux dev", "SD 1.5", "SD 2.1", "SDXL",
    ]  # fmt: skip
    with pytest.raises(
        ValueError, match=r"no model or denoiser class 'Fluxdev'; did you mean Flux "
    ):
        find_full_sizes(["SDXL", "Fluxdev"])


def test_docs_list_every_class_with_these_figures(hand_counted):
    text = DOCS.read_text()
    for model in full_sizes():
        assert f"`{model.class_name}`" in text
    for model in PUBLISHED:
        assert f"| {model.name} |" in text
    for class_name, reason in NOT_DENOISERS.items():
        assert f"`{class_name}`" in text and reason in text
    rows = [line for row in hand_counted.values() for line in markdown([row]).splitlines()]
    assert [row for row in rows if row not in text] == []
    assert text.startswith(page([]).split("\n|")[0])


def test_prediction_is_what_its_steps_cost():
    (model,) = find_full_sizes(["DiT-XL/2"])
    policy = UniformPolicy(2, mixing=False, forecast=1, targets="residual")
    found = predict(model, policy, 10)
    assert (found.keyframes, found.reuse_steps, found.jumps) == (5, 5, 0)
    assert found.macs == 5 * found.cost.macs + 5 * found.cost.reuse_macs
    assert found.bank_bytes == 2 * found.cost.feature_bytes
    assert predict(model, JumpPolicy(2), 9).speedup == 9 / 5
