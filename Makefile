VENV ?= .venv
BIN = $(VENV)/bin
MODELS = digits emoji-dit emoji emoji-flow
INSTALLED = $(VENV)/.installed
READY = $(VENV)/.ready

.PHONY: demo test test-fast check format bench bench-full bench-page clean-results bench-engine bench-gpu bench-untuned bench-memory bench-guidance bench-profiles bench-frames tune models docs-models docs wheels

demo: $(INSTALLED)  ## Draw the same pictures in full and with reuse, side by side, with a table.
	$(BIN)/frdiff generate emoji "red apple" "panda face" "hamburger" "wolf" \
		"red heart" "pineapple" "penguin" "smiling face with 3 hearts" --guidance 2 \
		--policy src/frdiff/models/emoji/policies/dpm++-25-speedup-3.json \
		--compare --paper --interval 3 --converged 100 --output outputs/demo

test: check  ## Lint, types and all tests, one process a core; those of Ray share one.
	$(BIN)/pytest --numprocesses auto --dist loadgroup

test-fast: check  ## The same without slow tests and the bench's.
	$(BIN)/pytest --numprocesses auto --dist loadgroup -m "not slow" --ignore tests/evaluation

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

bench-gpu: $(READY)  ## Time against MACs of published sizes with random weights, where there is a GPU.
	$(BIN)/python bench/gpu.py --output outputs/gpu.json

bench-untuned: $(READY)  ## What is recommended without tuning, at every guidance (half an hour).
	$(BIN)/python bench/untuned.py

bench: $(READY)  ## All methods side by side on the four models, and the page (about an hour).
	for model in $(MODELS); do \
		$(BIN)/frdiff bench $$model --results outputs/bench --budget-minutes 16 && \
		$(BIN)/frdiff analyze $$model --results outputs/bench || exit 1; done
	$(BIN)/frdiff report outputs/bench --output outputs/report

bench-full: $(READY)  ## All settings, peers and distributions; hours, resumes where it was.
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev,peers]"
	for model in $(MODELS); do \
		$(BIN)/frdiff bench $$model --peers --all --results bench/results && \
		$(BIN)/frdiff analyze $$model --results bench/results || exit 1; done
	$(BIN)/frdiff report bench/results --gpu bench/gpu.json --output outputs/page

bench-page: $(READY)  ## The page of what is measured and committed, into outputs/page.
	$(BIN)/frdiff report bench/results --gpu bench/gpu.json --output outputs/page

clean-results:  ## Remove what a bench leaves beside the committed files of results, see bench/README.md.
	git clean -fdqX bench/results

bench-memory: $(READY)  ## What fewer bytes cost, in dB and seconds (a quarter of an hour).
	$(BIN)/python bench/memory.py --threads 1

bench-guidance: $(READY)  ## Shipped policies at every guidance, within their range and beyond.
	$(BIN)/python bench/guidance.py

bench-profiles: $(READY)  ## Which shipped policy is lossless, high or fast (half an hour).
	$(BIN)/python bench/profiles.py

bench-frames: $(READY)  ## Reuse from frame to frame, and edits, on the shipped VAE (minutes).
	$(BIN)/python bench/frames.py

tune: $(READY)  ## Tune the policies that ship with the models (about an hour).
	for case in "emoji dpm++ 25 2 1-8" "emoji dpm++ 25 3 1-8" "emoji dpm++ 25 3.5 1-8" \
		"emoji-dit dpm++ 25 2 1-5" "emoji-dit dpm++ 25 3 1-5" "emoji-dit dpm++ 25 3.5 1-5" \
		"emoji-flow flow-euler 28 2 2-6" "emoji-flow flow-euler 28 3 2-6" \
		"emoji-flow flow-euler 28 3.5 2-6" \
		"emoji-dit dpm++ 25 5 1-5" "emoji-dit dpm++ 25 6 1-5" \
		"emoji-flow flow-euler 28 5 2-6" "emoji-flow flow-euler 28 7 2-6" \
		"digits dpm++ 25 2" "digits dpm++ 25 2.25" "digits dpm++ 25 3" "digits dpm++ 25 4" \
		"emoji-dit ddim 50 2 1.5" "emoji-dit ddim 50 3 1.5" "emoji ddim 50 2 2" \
		"emoji ddim 50 3 2"; do \
		set -- $$case; name=$$2-$$3-speedup-$$4; \
		$(BIN)/frdiff tune $$1 --scheduler $$2 --steps $$3 --speedup $$4 $${5:+--guidance $$5} \
			--allow-scheduler --journal outputs/tune/$$1-$$name.journal \
			--output src/frdiff/models/$$1/policies/$$name.json || exit 1; \
	done

docs-models: $(READY)  ## Count every denoiser class at full size into docs/models.md (minutes).
	$(BIN)/frdiff models --markdown > docs/models.tmp && mv docs/models.tmp docs/models.md

docs: $(READY)  ## Build the docs site into outputs/site; fails at any warning or broken link.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

wheels: $(READY)  ## The package, and the models that come apart from it, into dist.
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist . wheels/models

models: $(READY)  ## Train the shipped models again (about 7 hours on 2 cores).
	$(BIN)/python -m training.train_emoji
	$(BIN)/python -m training.train_emoji_dit
	$(BIN)/python -m training.train_emoji_flow
	$(BIN)/python -m training.train_emoji_gan
	$(BIN)/python -m training.train_digits
	$(BIN)/python -m training.train_embedders

$(INSTALLED): pyproject.toml constraints.txt  # the package alone, as users have it
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(READY): $(INSTALLED)  # with what development needs
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@
