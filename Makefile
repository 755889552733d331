PYTHON ?= python3
VENV ?= .venv
PIP = $(VENV)/bin/python -m pip
INSTALL = $(PIP) install --quiet --disable-pip-version-check --constraint constraints-cpu.txt

.PHONY: demo test check clean

# Restore a damaged recording, and draw what happened.
demo: $(VENV)/installed
	$(VENV)/bin/weft inpaint examples/damaged.flac --labels examples/damaged.txt \
		-o demo/restored.flac --report demo/before-after.png --overwrite --seed 7
	@echo "Listen to examples/damaged.flac and demo/restored.flac; look at demo/before-after.png"

# Run the tests.
test: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto

# Everything that CI checks beside the tests.
check: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PIP) check
	! $(PIP) list 2>/dev/null | grep -i '^nvidia'

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml constraints-cpu.txt
	$(INSTALL) --editable '.[plots]'
	mkdir -p demo
	touch $@

$(VENV)/installed-dev: $(VENV)/bin/python pyproject.toml constraints-cpu.txt
	$(INSTALL) --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo build dist
