# Needs Python 3.10 or newer with its venv module, and make. Everything else lands in .venv/.
PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=

BIN := $(VENV)/bin
CODE := mlops_lib tests bench setup.py
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test test-jenkins jenkins-up lint locks docs notebooks picture clean

help:                   ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo     ## train a sample that misses its bar until it meets it (Docker where an engine answers)
	$(BIN)/mlops run model_repo/digits_cnn $(ARGS)

test: $(VENV)/.test     ## all tests, two files at a time (ARGS="-k resume" for some)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-jenkins: $(VENV)/.test  ## of these, the pipeline and its shared library, executed without a Jenkins (needs a JDK and Maven)
	$(BIN)/python -m pytest tests/jenkins $(ARGS)

jenkins-up:             ## a whole Jenkins from code, in containers (docs/jenkins.md)
	deploy/up.sh

lint: $(VENV)/.lint     ## style and types
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

locks: $(VENV)/.test    ## resolve the catalog's rows anew and write containers/locks (needs the package index)
	$(BIN)/python -m mlops_lib.provisioning.lock_refresh

docs: $(VENV)/.docs     ## the documentation as a site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

notebooks: $(VENV)/.test  ## run the example notebooks of the documentation and keep their outputs
	$(BIN)/python docs/_notebooks.py

picture: $(VENV)/.demo  ## the README's picture of a report, from a real run (needs Chromium and a container engine)
	$(BIN)/mlops run model_repo/digits_cnn --target 0.9 --quiet
	chromium --headless --no-sandbox --hide-scrollbars --window-size=1100,1180 --screenshot=docs/images/report.png \
		"file://$$($(BIN)/mlops report model_repo/digits_cnn --json | $(BIN)/python -c 'import json, sys; print(json.load(sys.stdin)["report"])')"

clean:                  ## remove what these targets made; runs and registered models in ~/.mlops stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache tests/jenkins/target
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One stamp for each set of packages: the demo needs neither a framework nor the linters here.
$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[test]'
	@touch $@

$(VENV)/.docs: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[docs]'
	@touch $@

$(VENV)/.lint: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[lint]'
	@touch $@
