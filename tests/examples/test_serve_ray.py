"""The serving example, run as its reader would, and asked over HTTP."""

import importlib.util
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
import pytest
import torch
from PIL import Image

import frdiff
from frdiff.models import shipped_folder
from frdiff.setting import Setting

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]
EXAMPLES = Path(__file__).parents[2] / "examples"
POLICIES = shipped_folder("emoji") / "policies"
FILES = {
    "lossless": EXAMPLES / "lossless.json",
    "high": POLICIES / "dpm++-25-speedup-2.json",
    "fast": POLICIES / "dpm++-25-speedup-3.5.json",
}
CALLS = {"lossless": 25, "high": 12, "fast": 7}
REQUESTS = [
    (prompt, quality, seed)
    for seed, (prompt, quality) in enumerate(
        [
            ("red apple", "lossless"),
            ("wolf", "fast"),
            ("penguin", "high"),
            ("hamburger", "lossless"),
            ("red heart", "fast"),
            ("pineapple", "high"),
            ("panda face", "fast"),
            ("wolf", "high"),
        ]
    )
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of the example, which runs in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("serve") / "log").open("w+")
    command = [sys.executable, str(EXAMPLES / "serve_ray.py"), "--port", str(port)]
    environment = os.environ | {"RAY_ADDRESS": "local"}
    process = subprocess.Popen(
        command, stdout=log, stderr=log, env=environment, start_new_session=True
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urlopen(f"{address}/qualities").close()
                break
            except OSError:  # not there yet, or not ready
                assert process.poll() is None, log.seek(0) or log.read()
                time.sleep(0.5)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        log.seek(0)
        print(log.read())  # for whoever reads of a failure
        log.close()


def asked(server, prompt, quality, seed):
    """The pixels of an answer, and the seconds that were said beforehand."""
    query = urlencode({"prompt": prompt, "quality": quality, "seed": seed})
    with urlopen(f"{server}/picture?{query}") as answer:
        assert answer.headers["Content-Type"] == "image/png"
        return np.array(Image.open(io.BytesIO(answer.read()))), float(answer.headers["X-Seconds"])


def alone(prompt, quality, seed):
    """The same picture as the pipeline draws it by itself."""
    pipe = frdiff.load_model("emoji")
    policy = frdiff.load_policy(FILES[quality])
    solver = policy.origin.solver if policy.origin else None
    options = {"num_inference_steps": policy.num_steps, "guidance_scale": 2.0}
    # Every step computed is what the pipeline does untouched.
    rule = None if quality == "lossless" else policy
    with Setting(policy.num_steps, rule, solver).attached(pipe):
        (image,) = pipe(prompt, **options, generator=torch.Generator().manual_seed(seed)).images
    return np.array(image)


def test_eight_requests_at_a_time_are_each_the_picture_drawn_alone(server):
    with ThreadPoolExecutor(len(REQUESTS)) as clients:
        together = list(clients.map(lambda request: asked(server, *request), REQUESTS))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as Ray gives its workers
    try:
        for request, (picture, _) in zip(REQUESTS, together, strict=True):
            assert np.array_equal(picture, alone(*request)), request
    finally:
        torch.set_num_threads(threads)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray", "ignore:Using extra keyword")
def test_prompts_take_turns_too_since_a_tokenizer_keeps_how_it_pads(monkeypatch):
    spec = importlib.util.spec_from_file_location("serve_ray", EXAMPLES / "serve_ray.py")
    example = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "serve_ray", example)  # where its dataclasses look
    spec.loader.exec_module(example)
    studio = example.Studio()
    tokenizer, callers = studio.pipe.tokenizer, []

    class Watched:
        def __getattr__(self, name):
            return getattr(tokenizer, name)

        def __call__(self, *args, **kwargs):
            callers.append(threading.get_ident())
            return tokenizer(*args, **kwargs)

    studio.pipe.tokenizer = Watched()
    with ThreadPoolExecutor(4) as clients:
        list(
            clients.map(lambda seed: studio.draw("wolf", studio.qualities["fast"], seed), range(4))
        )
    assert len(callers) >= 4
    assert set(callers) == {studio.thread.submit(threading.get_ident).result()}


def test_seconds_are_said_before_and_rise_with_the_calls(server):
    with urlopen(f"{server}/qualities") as answer:
        said = json.load(answer)
    assert {name: row["calls"] for name, row in said.items()} == CALLS
    assert 0 < said["fast"]["seconds"] < said["high"]["seconds"] < said["lossless"]["seconds"]
    assert asked(server, "wolf", "fast", 0)[1] > 0


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("prompt=wolf&quality=best", "quality must be one of lossless, high, fast"),
        ("quality=fast", "Field required"),
        ("prompt=wolf&seed=-1", "greater than or equal to 0"),
    ],
)
def test_what_cannot_be_drawn_is_said(server, query, words):
    with pytest.raises(HTTPError) as refused:
        urlopen(f"{server}/picture?{query}")
    assert refused.value.code == 422
    assert words in refused.value.read().decode()
    refused.value.close()
