# Every target makes what it needs: a fresh machine has only Python 3.10-3.12 with venv, and make.
PYTHON ?= $(shell for p in python3.12 python3.11 python3.10 python3; do if $$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then echo $$p; break; fi; done)
VENV ?= .venv
RUN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: demo test test-slow lint bench clean

demo: $(VENV)/.installed  ## train, evaluate, explain, export and check the export, on the built-in data
	$(RUN)/mm-keras demo

test: $(VENV)/.installed  ## the default tests
	$(RUN)/python -m pytest -q

test-slow: $(VENV)/.installed  ## the slow ones
	$(RUN)/python -m pytest -q -m slow

lint: $(VENV)/.installed
	$(RUN)/ruff check .

bench: $(VENV)/.installed  ## step time against a hand-written script; real data: see benchmarks/real_data.py
	$(RUN)/python benchmarks/step_time.py

# Keyed on setup.cfg: a changed requirement reinstalls.
$(VENV)/.installed: setup.cfg pyproject.toml
	@test -n "$(PYTHON)" || { echo "mm_keras needs Python 3.10, 3.11 or 3.12 with venv; none was found."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --upgrade pip
	$(RUN)/python -m pip install --quiet -e .[dev]
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info
