VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready

.PHONY: demo test check format bench-engine model-emoji

demo: $(READY)  ## Draw the same pictures in full and with reuse, side by side, with a table.
	$(BIN)/frdiff generate emoji "red apple" "panda face" "hamburger" "wolf" \
		"red heart" "pineapple" "penguin" "smiling face with 3 hearts" --steps 25 --guidance 2 \
		--interval 3 --no-mixing --forecast 1 --targets residual \
		--compare --paper --converged 100 --output outputs/demo

test: check  ## Lint, types and all tests.
	$(BIN)/pytest

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-engine: $(READY)  ## Speed against MACs, and quality against fewer steps, on the shipped model.
	$(BIN)/python bench/speed.py
	$(BIN)/python bench/quality.py

model-emoji: $(READY)  ## Train the shipped model again (about 100 minutes on 2 cores).
	$(BIN)/python -m training.train_emoji

$(READY): pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@
