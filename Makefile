VENV ?= .venv
BIN = $(VENV)/bin
MODELS = digits emoji-dit emoji
READY = $(VENV)/.ready

.PHONY: demo test check format bench bench-full bench-engine tune models

demo: $(READY)  ## Draw the same pictures in full and with reuse, side by side, with a table.
	$(BIN)/frdiff generate emoji "red apple" "panda face" "hamburger" "wolf" \
		"red heart" "pineapple" "penguin" "smiling face with 3 hearts" --guidance 2 \
		--policy src/frdiff/models/emoji/policies/dpm++-25-speedup-3.json \
		--compare --paper --interval 3 --converged 100 --output outputs/demo

test: check  ## Lint, types and all tests.
	$(BIN)/pytest

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-engine: $(READY)  ## Speed against MACs, and coordinates of forecasts, on the shipped model.
	$(BIN)/python bench/speed.py
	$(BIN)/python bench/coordinate.py

bench: $(READY)  ## All methods side by side on the three models, and the page (under an hour).
	for model in $(MODELS); do \
		$(BIN)/frdiff bench $$model --results outputs/bench --budget-minutes 16 && \
		$(BIN)/frdiff analyze $$model --results outputs/bench || exit 1; done
	$(BIN)/frdiff report outputs/bench --output outputs/report

bench-full: $(READY)  ## All settings, peers and distributions; hours, resumes where it was.
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev,peers]"
	for model in $(MODELS); do \
		$(BIN)/frdiff bench $$model --peers --all --results bench/results && \
		$(BIN)/frdiff analyze $$model --results bench/results || exit 1; done
	$(BIN)/frdiff report bench/results --output docs/bench

tune: $(READY)  ## Tune the policies that ship with the latent models (about 40 minutes).
	for model in emoji-dit emoji; do for full in "ddim 50" "dpm++ 25"; do for speedup in 2 3 4; do \
		set -- $$full; $(BIN)/frdiff tune $$model --scheduler $$1 --steps $$2 --speedup $$speedup \
			--allow-scheduler --journal outputs/tune/$$model-$$1-$$2-$$speedup.journal \
			--output src/frdiff/models/$$model/policies/$$1-$$2-speedup-$$speedup.json || exit 1; \
	done; done; done

models: $(READY)  ## Train the shipped models again (about 4 hours on 2 cores).
	$(BIN)/python -m training.train_emoji
	$(BIN)/python -m training.train_emoji_dit
	$(BIN)/python -m training.train_digits
	$(BIN)/python -m training.train_embedders

$(READY): pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@
