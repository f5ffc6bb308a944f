# Every target sets up what it needs: a virtual environment in .venv with the pinned requirements.
#   make demo    the main job, end to end, on simulators of Plex and Stash
#   make test    the test suite                make lint   ruff and mypy
#   make bench   the benchmarks (ten minutes)  make clean  back to a fresh checkout
#   make bench-quick  the benchmarks in under a minute; one alone: make bench ARGS="--only throughput"
#   make package dist/PlexSync.zip and dist/index.yaml, as Stash's plugin sources want them
#   make pictures  the pictures of README, from the real page with the demo's data (needs Chromium)
#   make soak    the fault campaign, as long as you like: make soak ROUNDS=100 SEED=7

# Where it is set, each process of a test compiles all modules anew.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
STAMP := $(VENV)/.requirements
RUN := $(BIN)/python -X utf8

.PHONY: demo test host pictures soak lint format bench package clean

$(STAMP): requirements-dev.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'PlexSync needs Python 3.10 or newer; this is ' + sys.version.split()[0] + '. Try: make PYTHON=python3.12')"
	@echo "Setting up $(VENV) (once) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@$(RUN) -c "open('$(STAMP)', 'w').close()"

demo: $(STAMP)
	@$(RUN) PlexSync.py demo

# Most tests wait for processes: more of them at once than there are cores save time. By default a
# spread of the variants runs; PLEXSYNC_LONG=1 make test runs all.
JOBS ?= $(shell $(PYTHON) -c "import os; print(max(4, 3 * (os.cpu_count() or 2)))")
test: $(STAMP) host
	$(RUN) -m pytest -n $(JOBS) --dist worksteal $(ARGS)

# The browser tests' page needs libraries from npm. Without npm, these tests say that they did not run.
host: $(STAMP)
	@$(RUN) -m tests.browser.libraries

pictures: $(STAMP) host
	$(RUN) -m tests.browser.pictures

ROUNDS ?= 20
SEED ?= 1
soak: $(STAMP)
	PLEXSYNC_KILL_POINTS=all $(RUN) -m pytest -q -n $(JOBS) --dist worksteal tests/soak/test_kill_points.py tests/upgrade/test_kill_points.py tests/upgrade/test_move.py
	$(RUN) -m tests.soak --rounds $(ROUNDS) --seed $(SEED) $(ARGS)

lint: $(STAMP)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: $(STAMP)
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

bench: $(STAMP)
	$(RUN) -m tests.benchmarks $(ARGS)

bench-quick: $(STAMP)
	$(RUN) -m tests.benchmarks --quick $(ARGS)

package: $(STAMP)
	@$(RUN) -m release.package

clean:
	$(PYTHON) -c "import shutil; [shutil.rmtree(d, ignore_errors=True) for d in ('.venv', '.mypy_cache', '.ruff_cache', '.pytest_cache', '.hypothesis', 'dist')]"
