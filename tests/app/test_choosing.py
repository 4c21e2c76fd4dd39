"""Questions, and the search that answers them."""

import pytest
from test_gauge import FAST, draw

import frdiff
from frdiff.app.choosing import Search, asked, code, summary
from frdiff.app.turns import Lease

ANSWERS = {
    "steps": 6,
    "solver": "the model's own",
    "guidance": "",
    "goal": "seconds",
    "amount": 2,
    "samples": 2,
    "evaluations": "2",
    "prompts": "",
}


def ask(studio, **answers):
    return asked(studio.opened("digits"), ANSWERS | answers)


def test_what_matters_becomes_what_tune_is_asked(studio):
    rest = {"samples": 2, "evaluations": 2}
    assert ask(studio).words == {"speedup": 2.0, **rest}
    assert ask(studio, goal="dB", amount=40).words == {"min_psnr": 40.0, **rest}
    words = ask(studio, goal="bytes", amount=0.5, evaluations="").words
    assert words == {"speedup": 2.0, "max_bytes": 2**19, "samples": 2}


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"steps": 0}, "steps must be from 2 to 250"),
        ({"steps": 10_000}, "steps must be from 2 to 250"),
        ({"solver": "nonsense"}, "solver must be one of"),
        ({"guidance": "nan"}, "guidance must be a number"),
        ({"guidance": "2"}, "digits takes no guidance"),
        ({"goal": "beauty"}, "what matters must be one of seconds, dB, bytes"),
        ({"amount": None}, "how much must be a number from 1 to 6"),
        ({"amount": 7}, "how much must be from 1 to 6"),
        ({"goal": "bytes", "amount": 0}, "how much must be from 0.01"),
        ({"samples": 1000}, "pictures to search on must be from 1 to 64"),
        ({"evaluations": "many"}, "policies to measure must be an integer"),
    ],
)
def test_answers_that_are_refused(studio, answers, said):
    with pytest.raises(ValueError, match=said):
        ask(studio, **answers)


def search_of(studio, **answers):
    return Search(studio, ask(studio, **answers), Lease())


@pytest.mark.slow
def test_a_search_finds_what_tune_finds_while_others_draw_what_they_draw_alone(studio, tmp_path):
    alone = draw(studio, FAST, 7)
    search = search_of(studio)
    search.begin()
    with pytest.raises(ValueError, match="one search at a time"):
        search_of(studio).begin()
    while not search.done and not search.over.wait(0.01):
        pass
    assert not search.over.is_set()
    for _ in range(3):
        for mine, theirs in zip(draw(studio, FAST, 7), alone, strict=True):
            assert (mine == theirs).all()
    assert search.over.wait(300)
    assert search.failure == ""
    pipe = frdiff.load_model("digits")
    found = frdiff.tune(pipe, num_steps=6, speedup=2, samples=2, evaluations=2)
    assert search.policy == found
    kinds = [one.kind for one in search.points]
    assert (kinds[0], kinds[-1]) == ("full", "chosen")
    assert {"fewer steps", "untuned", "shipped", "frdiff"} <= {*kinds}
    assert dict(summary(search))["cost"].endswith("full steps of 6")
    found.save(tmp_path / "policy.json")
    lines = code(search.question, found, str(tmp_path / "policy.json"))
    drawn = {}
    exec(lines, drawn)
    assert drawn["image"].size == (16, 16)
    assert not studio.tuning.locked()


def test_a_search_stops_within_a_call_and_makes_room_for_another(studio):
    search = search_of(studio, steps=25)
    search.begin()
    search.stop.asked.set()
    assert search.over.wait(30)
    assert (search.policy, search.stopped, search.failure) == (None, True, "")
    assert not studio.tuning.locked()
    assert studio.turns.waiting == 0


def test_a_search_that_nobody_looks_at_stops(studio):
    search = Search(studio, ask(studio, steps=25), Lease(patience=0.3))
    search.begin()
    assert search.over.wait(30)
    assert search.stopped


@pytest.mark.slow
def test_what_is_out_of_reach_is_said(studio):
    search = search_of(studio, steps=2, goal="dB", amount=100)
    search.begin()
    assert search.over.wait(120)
    assert search.policy is None
    assert "min_psnr=100" in search.failure


def test_code_of_a_model_with_prompts_and_guidance(studio):
    question = asked(studio.opened("emoji"), ANSWERS | {"guidance": "2-8", "prompts": "panda face"})
    lines = code(question, frdiff.load_policy("emoji/high"), "policy.json")
    assert lines.splitlines() == [
        "import frdiff",
        "",
        "pipe = frdiff.load_model('emoji')",
        "frdiff.enable(pipe, 'policy.json')",
        "image = pipe('panda face', num_inference_steps=8, guidance_scale=4).images[0]",
    ]
