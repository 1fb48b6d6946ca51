# Everything a developer or CI runs; .venv is made on first use.
PY ?= .venv/bin/python
BIN = $(dir $(PY))
JOBS ?= 2

.PHONY: demo cluster-demo test soak check audit bench format clean

.venv/installed: pyproject.toml
	python3 -m venv .venv
	.venv/bin/pip install --quiet torch==2.13.0
	.venv/bin/pip install --quiet -e '.[dev]'
	touch $@

ifeq ($(PY),.venv/bin/python)
SETUP = .venv/installed
endif

demo: $(SETUP)
	$(BIN)marm demo --out runs/demo

# Needs redis-server.
cluster-demo: $(SETUP)
	$(BIN)marm cluster-demo --out runs/cluster

# A file's tests stay together: they share servers and trained runs. Long files come first (tests/conftest.py).
test: $(SETUP)
	$(PY) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

soak: $(SETUP)
	MARM_SOAK=1 $(PY) -m pytest

check: $(SETUP)
	$(BIN)ruff format --check .
	$(BIN)ruff check .
	$(BIN)mypy
	$(BIN)bandit --quiet --recursive --configfile pyproject.toml marm

# Not for CI: it asks a database of known holes. That knows what is on PyPI, and --strict ends at anything else: so not this
# package, and torch for CPUs by the version that it was built from.
audit: $(SETUP)
	$(PY) -m pip install --quiet --upgrade pip pip-audit
	$(PY) -m pip freeze --all --exclude-editable > $(BIN)../audited.txt
	sed -i 's/\(==[^+]*\)+.*/\1/' $(BIN)../audited.txt
	$(BIN)pip-audit --strict --disable-pip --no-deps -r $(BIN)../audited.txt

format: $(SETUP)
	$(BIN)ruff format .
	$(BIN)ruff check --fix .

bench: $(SETUP)
	$(PY) -m benchmarks

clean:
	rm -rf .venv runs build dist *.egg-info
