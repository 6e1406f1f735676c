# `make install` is all that a user needs; `make run` shows it; `make test` proves it.

PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
SOURCES := $(shell find src native -type f ! -path '*/__pycache__/*' ! -path 'src/cloche/native/*') hatch_build.py pyproject.toml README.md
TOOLS_STAMP := $(VENV)/.tools
STAMP := $(VENV)/.installed
# One installation at a time, however many shells say `make`.
ALONE := mkdir -p build && flock build/install.lock

.PHONY: install run test unit conformance bench format clean peers

install: $(STAMP)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "cloche needs Python 3.11 or newer, as $(PYTHON) or PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || sh tests/install-packages python3-venv
	$(PYTHON) -m venv $(VENV)

# What others wrote, as pyproject.toml asks for it: fetched again only when that file changes.
$(TOOLS_STAMP): pyproject.toml | $(VENV)/bin/python
	@$(ALONE) sh -c 'test $@ -nt pyproject.toml || { \
		$(VENV)/bin/python -c "import tomllib; p = tomllib.load(open(\"pyproject.toml\", \"rb\"))[\"project\"]; \
			print(*p[\"dependencies\"], *p[\"optional-dependencies\"][\"dev\"], sep=\"\n\")" > build/requirements.txt && \
		$(PIP) install --requirement build/requirements.txt && touch $@; }'

# No editable installation: the commands run without `site`, which is what makes one work.
# What the commands load is compiled without docstrings and columns (src/cloche/launch.py).
$(STAMP): $(SOURCES) $(TOOLS_STAMP)
	@$(ALONE) sh -c '$(PIP) install --no-deps --no-build-isolation --force-reinstall . && \
		$(VENV)/bin/python -OO -X no_debug_ranges -m compileall -q $(VENV)/lib/python*/site-packages/cloche && \
		touch $@'
	@echo "installed in $(VENV)/bin: cloche, cloche-runc, cloched, containerd-shim-cloche-v1"

run: install
	@sh demo/first-light.sh $(VENV)/bin/cloche

peers:
	@sh tests/install-packages
	@sh tests/install-crates

test: install peers
	$(VENV)/bin/python -m pytest $(PYTEST_FLAGS)

# The part that needs neither root nor other programs.
unit: install
	$(VENV)/bin/python -m pytest -m "not system" $(PYTEST_FLAGS)

# The OCI's validation suite against cloche-runc, runc and crun side by side; then Kubernetes' for the CRI
# against cloched and containerd.
conformance: install peers
	$(VENV)/bin/python -m tests.conformance $(CONFORMANCE_FLAGS)
	$(VENV)/bin/python -m tests.conformance.cri $(CRI_CONFORMANCE_FLAGS)

bench: install peers
	$(VENV)/bin/python -m bench $(BENCH_FLAGS)

format: install
	$(VENV)/bin/ruff check --fix src tests bench hatch_build.py native
	$(VENV)/bin/ruff format src tests bench hatch_build.py native

clean:
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
