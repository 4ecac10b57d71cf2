# `make demo` and `make test` do all the set-up they need, in a virtual environment of their own.
# It is made once, and again when setup.cfg or constraints.txt change.

PYTHON ?= $(shell command -v python3.11 || command -v python3 || command -v python)
VENV := .venv
BIN := $(VENV)/bin
MADE := $(VENV)/pyvenv.cfg

.DEFAULT_GOAL := help
.PHONY: help demo test lint types tests slow tree build floor newest clean

help: ## say what there is
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## /  make \1|/' | column -t -s '|'

demo: $(VENV)/demo.done ## train, prune, fine-tune, save and load on handwritten digits
	@$(BIN)/naivegraph demo

test: lint types tests ## everything below, as continuous integration runs it

lint: $(VENV)/test.done ## style, format, and who may import whom
	@$(call step,ruff check,$(BIN)/ruff check --quiet .)
	@$(call step,ruff format,$(BIN)/ruff format --quiet --diff .)
	@$(call step,import-linter,$(BIN)/lint-imports)

types: $(VENV)/test.done ## mypy --strict
	@$(call step,mypy --strict,$(BIN)/mypy)

tests: $(VENV)/test.done ## tests, tutorials and the examples of docstrings
	@echo "pytest (tests, tutorials, examples of docstrings):"
	@$(BIN)/pytest -n 2 --dist loadfile

slow: $(VENV)/test.done ## the tests that take minutes
	@$(BIN)/pytest -m slow

tree: $(VENV)/test.done ## the folders and their files, each with its first line, and who may import whom
	@$(BIN)/python -m tests.tree
	@$(BIN)/lint-imports

build: ## a wheel and an sdist in dist/, checked by twine
	@test -d $(VENV)-build || { $(PYTHON) -m venv $(VENV)-build \
		&& $(VENV)-build/bin/python -m pip install -qq --disable-pip-version-check build twine; }
	@rm -rf build dist
	@$(call step,build,$(VENV)-build/bin/python -m build)
	@$(call step,twine check,$(VENV)-build/bin/twine check --strict dist/*)

floor: build ## the tests on the wheel, with the lowest versions that setup.cfg allows
	@$(call on_wheel,floor,--constraint constraints-floor.txt)

newest: build ## the tests on the wheel, with the newest versions there are
	@$(call on_wheel,newest,--upgrade)

# In a fresh environment, from a folder that has the tests but not the sources: what is tested is what was built.
on_wheel = rm -rf $(VENV)-$(1) build/$(1) && mkdir -p build/$(1) && $(PYTHON) -m venv $(VENV)-$(1) \
	&& $(VENV)-$(1)/bin/python -m pip install -qq --disable-pip-version-check $(2) \
		dist/*.whl pytest pytest-timeout pytest-xdist hypothesis scikit-learn \
	&& cp -R tests tutorials benchmarks README.md Makefile setup.cfg pyproject.toml build/$(1) \
	&& cd build/$(1) && ../../$(VENV)-$(1)/bin/python -m pytest tests -n 2 --dist loadfile \
		--ignore tests/test_packaging.py --ignore tests/test_import.py --ignore tests/test_docs.py \
		--ignore tests/test_names.py

clean: ## remove the environments and everything that was made
	rm -rf $(VENV) $(VENV)-* build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# One line per check: its name, then how long it took; what it says only if it fails.
step = start=$$(date +%s); printf '%-16s' '$(1)'; if said=$$($(2) 2>&1); \
	then echo "ok, $$(($$(date +%s) - start)) s"; else echo "FAILED"; echo "$$said"; exit 1; fi

$(MADE): setup.cfg constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "naivegraph needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Making a virtual environment in $(VENV) ..."
	@$(PYTHON) -m venv --clear $(VENV)

$(VENV)/%.done: $(MADE)
	@echo "Installing naivegraph and what it needs (torch is large: one to several minutes) ..."
	@start=$$(date +%s); $(BIN)/python -m pip install -qq --disable-pip-version-check \
		--constraint constraints.txt --editable '.[$*]' && echo "Installed, $$(($$(date +%s) - start)) s."
	@touch $@
