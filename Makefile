# `make demo` and `make test` need only Python 3.11 and a package index. They create .venv with the pinned stack if it is
# missing, and again when the pins have changed.
#
# `make test STACK=NAME` does the same with the versions in requirements/stacks/NAME.txt, in .venv-NAME, and runs the smoke
# suite, tests/smoke.py. The first line of that file names its Python.
STACK ?=
STACKS := $(filter-out built,$(basename $(notdir $(wildcard requirements/stacks/*.txt))))
ifeq ($(STACK),)
VENV := .venv
VERSION := 3.11
PINS := $(sort $(wildcard requirements/*.txt)) setup.py
else ifneq ($(filter $(STACK),$(STACKS)),)
VENV := .venv-$(STACK)
VERSION := $(shell sed -n '1s/^\# Python \(3[.][0-9]*\).*/\1/p' requirements/stacks/$(STACK).txt)
PINS := requirements/stacks/$(STACK).txt requirements/stacks/built.txt setup.py
else
$(error there is no stack '$(STACK)': STACK is one of $(STACKS))
endif

# The pins are for one Python, so that is preferred. `make PYTHON=... test` selects another one.
CANDIDATES := python$(VERSION) $(wildcard $(HOME)/.pyenv/versions/$(VERSION).*/bin/python) python3
PYTHON ?= $(shell for p in $(CANDIDATES); do $$p -c 'import ensurepip' 2>/dev/null && echo $$p && exit; done; echo python3)
BIN := $(VENV)/bin
ARGS ?=

# The set-up is complete when the stamp exists. Its name is a hash of the pins, because file dates in a fresh clone are
# arbitrary. The hash includes the directory, because a virtual environment breaks when it is moved.
READY := $(VENV)/.ready-$(shell (pwd; cat $(PINS)) | sha256sum | cut -c1-16)

# pip compiles on one core and takes most of its time for that; compileall uses them all.
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --no-compile
# -E: pages depend on code (docstrings, --help), so they are always built anew. -W: a warning is an error.
DOCS := $(BIN)/python -m sphinx -q -E -W --keep-going -b html docs docs/_build

.DEFAULT_GOAL := help
.PHONY: help demo test coverage check docs clean

help: ## Show this help
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

demo: $(READY) ## Search an attention on handwritten digits, train it and its rivals, write work_dirs/demo/report.html
	$(BIN)/python -m mmhoga demo --work-dir work_dirs/demo $(ARGS)

test: $(READY) ## Run every test; ARGS='-k name' selects. STACK=oldest, py313 or onedl: the smoke suite with those versions
ifeq ($(STACK),)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)
else
	$(BIN)/python tests/smoke.py $(STACK) $(ARGS)
endif

coverage: $(READY) ## Run every test, and print the lines of mmhoga that none of them runs
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report

check: $(READY) ## Lint, check formatting and types, build the docs
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(DOCS)

docs: $(READY) ## Build the documentation site, docs/_build/index.html
	$(DOCS)

clean: ## Remove caches and build products, but not the environments and work_dirs
	rm -rf build dist docs/_build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

# .incomplete exists while the set-up runs. If it is found at the start, an earlier set-up was interrupted, and the environment is
# created anew. The stamp is written last.
$(READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null || { \
	    echo "mmhoga needs Python 3.9 or newer ($(VERSION) is what the pins are for); '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)."; \
	    echo "Name another one: make PYTHON=/path/to/python$(VERSION) $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "'$(PYTHON)' cannot create virtual environments (no venv or ensurepip)."; \
	    echo "On Debian and Ubuntu: apt-get install python3-venv. Or: make PYTHON=/path/to/python$(VERSION) $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info[:2] != tuple(map(int, '$(VERSION)'.split('.'))))" || \
	    echo "note: the pins are verified with Python $(VERSION), and this is $$($(PYTHON) --version). If pip finds no version of a package, use $(VERSION)."
	@echo "== Setting up $(VENV) with the pinned stack: 3 to 5 minutes and 6 GB, once."
	@if [ -e $(VENV)/.incomplete ]; then echo "== An earlier set-up was interrupted: starting afresh."; rm -rf $(VENV); fi
	@mkdir -p $(VENV) && rm -f $(VENV)/.ready-* && touch $(VENV)/.incomplete
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q --upgrade 'pip>=25'
ifeq ($(STACK),)
	@echo "== 1/3 torch, the OpenMMLab hosts and the tools"
	$(INSTALL) -r requirements/pinned.txt -c requirements/constraints.txt
	@echo "== 2/3 mmpose, without chumpy, which does not build"
	$(INSTALL) --no-deps -r requirements/no-deps.txt
else
	@echo "== 1/3 torch, the hosts and the tools: a complete list, so without requirements"
	$(INSTALL) --no-deps -r requirements/stacks/$(STACK).txt
	@echo "== 2/3 xtcocotools, with the numpy that is installed now; it has no wheel for Python 3.12 and newer"
	$(INSTALL) --no-deps --no-build-isolation -r requirements/stacks/built.txt
endif
	@echo "== 3/3 mmhoga itself, editable"
	$(INSTALL) --no-deps --no-build-isolation -e .
	@# This environment has mmcv-lite, so hosts must work in it whichever package is imported first.
	@$(BIN)/python -c "import sysconfig; open(sysconfig.get_path('purelib') + '/mmhoga_stand_in.pth', 'w').write('import mmhoga\n')"
	@$(BIN)/python -W ignore -m compileall -qq -j 0 $(VENV)/lib || true  # packages bring files that are not for this Python
	@rm $(VENV)/.incomplete && touch $@
	@echo "== $(VENV) is ready."
