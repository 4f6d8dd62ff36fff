# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DOCS := $(VENV)/.installed-docs
INSTALLED_DEMO := $(VENV)/.installed-demo

OLDEST := .venv-oldest
# The oldest torch is a build for GPUs, of gigabytes: OLDEST_TORCH= another one proves the rest.
OLDEST_TORCH ?= $(shell sed -n 's/^torch==//p' constraints-oldest.txt)
INSTALLED_OLDEST := $(OLDEST)/.installed-$(OLDEST_TORCH)
# One thread a worker: the tests' models are tiny, and the workers share the cores.
RUN_TESTS := -m pytest -n auto --dist worksteal
TEST_ENVIRONMENT := MPLBACKEND=agg OMP_NUM_THREADS=1

.PHONY: help demo test screenshots test-arm test-torch test-oldest test-installs release-check readme lint docs benchmark clean

help:
	@echo "make demo   set up, and fit one model to passengers of the Titanic (prints findings, draws a picture)"
	@echo "make test   set up, and run the tests"
	@echo "make test-torch     the same without the compiled part"
	@echo "make test-oldest    the same with the oldest versions of all libraries that are allowed"
	@echo "                    (TESTS='--every 19' chooses every 19th test, for all of these)"
	@echo "make test-arm       run the compiled part on 64-bit ARM, in an emulator"
	@echo "make test-installs  install without a compiler, with gcc and with clang"
	@echo "make release-check  build the sdist and the wheel, and check both (RELEASE_CHECK='--every 1': all tests)"
	@echo "make readme do all that README says: its commands and code in a fresh environment"
	@echo "make lint   ruff, mypy, spelling and words, and the rules of how modules may import each other"
	@echo "make docs   run all code of the documentation, build it into docs/_build/html, check its links"
	@echo "make screenshots  look at the documentation in a browser (Chromium), wide and narrow"
	@echo "make benchmark [COMPARE=OLD.csv]   a short version of every benchmark, in 3 to 7 minutes"

# The demo needs the package and two extras; the tests add to that.
$(INSTALLED_DEMO): pyproject.toml constraints.txt $(wildcard sklearn_einet/native/src/*)
	@echo "Setting up $(VENV): the package, torch, pandas and matplotlib (a few minutes, once)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[pandas,plot]'
	touch $@

$(INSTALLED): $(INSTALLED_DEMO)
	@echo "Adding what the tests need"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[lint,plot,test]'
	touch $@

$(INSTALLED_OLDEST): pyproject.toml constraints-oldest.txt $(wildcard sklearn_einet/native/src/*)
	$(PYTHON) -m venv $(OLDEST)
	sed 's/^torch==.*/torch==$(OLDEST_TORCH)/' constraints-oldest.txt > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet -c $(OLDEST)/constraints.txt -e '.[dask,pandas,plot,test]'
	touch $@

$(INSTALLED_DOCS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@

demo: $(INSTALLED_DEMO)
	@echo "Running examples/plot_one_model.py"
	@MPLBACKEND=agg $(BIN)/python examples/plot_one_model.py

test: $(INSTALLED)
	$(TEST_ENVIRONMENT) $(BIN)/python $(RUN_TESTS) $(TESTS)

test-torch: $(INSTALLED)
	$(TEST_ENVIRONMENT) SKLEARN_EINET_BACKEND=torch $(BIN)/python $(RUN_TESTS) $(TESTS)

test-oldest: $(INSTALLED_OLDEST)
	$(TEST_ENVIRONMENT) $(OLDEST)/bin/python $(RUN_TESTS) $(TESTS)

# Needs a cross compiler and an emulator, see CONTRIBUTING.
test-arm: $(INSTALLED)
	$(BIN)/python -m tests.native.on_arm

test-installs: $(INSTALLED)
	$(BIN)/python .ci/installs.py

release-check: $(INSTALLED)
	$(BIN)/python .ci/release_check.py $(RELEASE_CHECK)

# The demo is the command of README that the script leaves to this file.
readme: demo
	$(PYTHON) .ci/readme.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python .ci/house.py --check
	$(BIN)/python .ci/words.py
	$(BIN)/codespell

docs: $(INSTALLED_DOCS)
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	$(BIN)/python .ci/links.py docs/_build/html

# Needs the browser Chromium, which `CHROMIUM` names.
screenshots: docs
	$(BIN)/python -m pip install --quiet playwright
	$(BIN)/python .ci/screenshots.py docs/_build/html docs/_build/screenshots

# Libraries of the extra "benchmarks" that are not installed are skipped, and so is missing data.
benchmark: $(INSTALLED)
	MPLBACKEND=agg $(BIN)/python benchmarks/short.py $(if $(COMPARE),--compare $(COMPARE))

clean:
	rm -rf $(VENV) $(OLDEST) docs/_build docs/auto_examples docs/api/generated .mypy_cache .ruff_cache .pytest_cache
