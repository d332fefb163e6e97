# make demo    fine-tune the shipped generator for a few minutes, then generate: pictures and numbers at the end
# make test    the tests
# make lint    ruff, pyright and the import contracts
# make venv    only the environment: .venv, built again when its inputs change
#
# They need Python 3.10 or newer. With a C++ compiler the CPU rasteriser is fast.
# make PYTHON=python3.12 selects the interpreter.

PYTHON ?= python3
# One torch thread per test process: two threads on one core can be ten times slower than one.
WORKERS ?= 2
PYTEST_ARGS ?=

BIN := .venv/bin
STAMP := .venv/.installed
KERNELS := CMakeLists.txt $(wildcard renderers/kernels/*.cpp renderers/kernels/*.h renderers/kernels/*.hpp renderers/kernels/*.inc)

.PHONY: demo test lint venv clean

demo: venv
	$(BIN)/python -m rl3d demo

test: venv
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

venv: $(STAMP)

# torch is installed first and alone. pip then takes the CPU build of the pinned version if there is
# one (a wheel folder, PyTorch's CPU index), and later packages find torch installed. Resolved with
# the rest, they may install the newest torch with gigabytes of CUDA libraries.
$(STAMP): pyproject.toml constraints.txt $(KERNELS)
	@$(PYTHON) -c 'import sys; sys.exit("rl3d needs Python 3.10 or newer, %s is %d.%d: run make PYTHON=..." % (sys.executable, *sys.version_info[:2]) if sys.version_info < (3, 10) else 0)'
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@# A library left here by renderers.kernels.build would hide the new one.
	@rm -f $(addprefix renderers/kernels/*,.so .dylib .dll)
	@touch $@

# This keeps the environment. Remove .venv to start from nothing.
clean:
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache $(STAMP)
	rm -f $(addprefix renderers/kernels/*,.so .dylib .dll)
	find rl3d rewards renderers scenes tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
