# make demo: serve the example.  make test: run the tests.  make test-fast: those of half a minute.  make check: format, lint, types, import rules.
# make docs: the documentation as a site, in site/.  make pages: write anew the pages that follow from the code, as docs does, too.
# make fuzz: look for bytes that break a connection, SECONDS long.
# make chaos: kill, stop, reload and resize a fleet under load, SECONDS long.
# make frameworks: the tests of frameworks and of tools that embed uvicorn, in a virtual environment of their own.
# make frameworks-all: those, and larger programs that embed uvicorn (gigabytes).
# make bench: measure beside the peers, in a virtual environment of its own (about an hour; QUICK=1 for five minutes).
# Nothing is needed beforehand but make and Python 3.11 or newer; all of them set up .venv when they have to.

# The first interpreter that runs (a version manager's stub may not) and is new enough: make PYTHON=... overrides.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
PORT ?= 8000
PYTEST_ARGS ?=

BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-fast frameworks frameworks-all check pages docs fuzz chaos bench clean

demo: $(READY)
	@echo
	@echo "  Open http://127.0.0.1:$(PORT): the page says which of the four worker processes answered."
	@echo "  In another terminal, 'kill -9' one of them and see it replaced. Ctrl-C stops."
	@echo
	@$(BIN)/tricorn examples.hello:app --workers 4 --port $(PORT)

# Most of them wait for processes rather than for a processor, so four run at a time on two. Some files take minutes: a run that has
# nothing left takes over from the others.
test: $(READY)
	$(BIN)/python -m pytest -n 4 --dist worksteal $(PYTEST_ARGS)

# No process, no address: half a minute, for after each edit.
test-fast: $(READY)
	$(BIN)/python -m pytest -q -n auto $(PYTEST_ARGS) tests/unit

frameworks: .venv-frameworks/.ready
	.venv-frameworks/bin/python -m pytest -n 2 $(PYTEST_ARGS) tests/compat/frameworks

# All there is to install is named, so nothing is asked for, and uvicorn is left out; most of it is never imported, so none of it is compiled.
.venv-frameworks/.ready: pyproject.toml tests/compat/frameworks/requirements.txt
	test -x .venv-frameworks/bin/python || $(PYTHON) -m venv .venv-frameworks
	.venv-frameworks/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile \
		-r tests/compat/frameworks/requirements.txt -e .
	@touch $@

# Programs that embed uvicorn, each in an environment of its own: gigabytes, so not for every day.
EMBEDDERS := $(basename $(notdir $(wildcard tests/compat/frameworks/embedders/*.txt)))

frameworks-all: frameworks $(EMBEDDERS:%=.venv-embedders/%/.ready)
	.venv-frameworks/bin/python -m pytest $(PYTEST_ARGS) tests/compat/frameworks/test_embedders.py

.venv-embedders/%/.ready: tests/compat/frameworks/embedders/%.txt pyproject.toml
	test -x .venv-embedders/$*/bin/python || $(PYTHON) -m venv .venv-embedders/$*
	.venv-embedders/$*/bin/python -m pip install --quiet --disable-pip-version-check -r $< -e .
	@touch $@

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict
	mkdir -p .mypy_cache/package && ln -sfn ../../src .mypy_cache/package/tricorn
	cd tests && ../$(BIN)/mypy .
	$(BIN)/python -m pytest -q tests/rules/test_imports.py

pages: $(READY)
	$(BIN)/python docs/settings.py > docs/settings.md.new && mv docs/settings.md.new docs/settings.md
	$(BIN)/python docs/metrics.py > docs/metrics.md.new && mv docs/metrics.md.new docs/metrics.md
	$(BIN)/python docs/man.py > docs/tricorn.1.new && mv docs/tricorn.1.new docs/tricorn.1
	$(BIN)/python docs/man_ctl.py > docs/tricornctl.1.new && mv docs/tricornctl.1.new docs/tricornctl.1
	$(BIN)/python docs/include.py

# In a virtual environment of its own, for what builds it must not change what the tests run with.
docs: pages .venv-docs/.ready
	.venv-docs/bin/python -m mkdocs build --strict -f docs/site/mkdocs.yml

.venv-docs/.ready: pyproject.toml
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check '.[docs]'
	@touch $@

SECONDS ?= 600

fuzz: $(READY)
	cd tests && ../$(BIN)/python -m fuzz.connection --seconds $(SECONDS)

chaos: $(READY)
	cd tests && ../$(BIN)/python -m chaos.run --seconds $(SECONDS)

# In turns, on a machine with nothing else to do: what the report says of others' use of the CPUs is to be near zero.
bench: $(READY)
ifdef QUICK
	$(BIN)/python benchmarks/bench.py --quick
else
	$(BIN)/python benchmarks/fairness.py
	$(BIN)/python benchmarks/bench.py --with fairness.json --write
endif

# The stamp is made last, so that a set-up that failed or was interrupted is done again.
$(READY): pyproject.toml tests/constraints.txt
	@if [ -z "$(PYTHON)" ]; then echo "Tricorn needs Python 3.11 or newer; name one with: make PYTHON=..." >&2; exit 1; fi
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c tests/constraints.txt -e '.[dev,speed]'
	@touch $@

clean:
	rm -rf .venv .venv-docs .venv-frameworks .venv-embedders node_modules build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
