# Every target makes what it needs: a fresh machine has only Python 3.10-3.12 with venv, and make.
PYTHON ?= $(shell for p in python3.12 python3.11 python3.10 python3; do if $$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then echo $$p; break; fi; done)
VENV ?= .venv
RUN := $(VENV)/bin
# Two tests at a time: tracing graphs keeps one core busy, and no more.
BESIDE := -n 2 --dist loadfile
# Slow ones are few and long, so that whole files would leave one of the two idle.
STEALING := -n 2 --dist worksteal
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: demo test test-slow test-long lint bench bench-guard bench-gpu serve-check old-check clean

demo: $(VENV)/.installed  ## train, evaluate, explain, export and check the export, on the built-in data
	$(RUN)/mm-keras demo

test: $(VENV)/.installed  ## the default tests
	$(RUN)/python -m pytest -q $(BESIDE)

test-slow: $(VENV)/.installed  ## the slow ones
	# In two parts: TensorFlow keeps some memory of every graph, and an hour of tracing holds gigabytes.
	$(RUN)/python -m pytest -q -m "slow and not long" $(STEALING) tests/exporting tests/test_contract.py
	$(RUN)/python -m pytest -q -m "slow and not long" $(STEALING) --ignore tests/exporting --ignore tests/test_contract.py

test-long: $(VENV)/.installed  ## the slow ones once more, with other seeds and more of a kind: over half an hour, no part of the CI
	$(RUN)/python -m pytest -q -m long $(STEALING)

lint: $(VENV)/.installed
	$(RUN)/ruff check .

bench: $(VENV)/.installed  ## one table of ratios; real data: see benchmarks/real_data.py
	$(RUN)/python benchmarks/run.py

bench-guard: $(VENV)/.installed  ## a few quick ratios: fails when one is over 25 % worse than the committed one
	$(RUN)/python benchmarks/guard.py

# In an environment of one's own: `make bench-gpu PYTHON_GPU=..`, with Keras, JAX or TensorFlow for the GPU, and PyTorch.
PYTHON_GPU ?= python3
bench-gpu:  ## on a GPU, Keras on JAX against PyTorch by hand; under eight minutes, no network
	KERAS_BACKEND=jax $(PYTHON_GPU) benchmarks/gpu.py

serve-check: $(VENV)/.installed  ## the bundle in a real TensorFlow Serving: the binary on the PATH, or docker (MM_KERAS_PULL=1 may fetch)
	@command -v tensorflow_model_server || echo "no tensorflow_model_server on the PATH"
	@timeout 20 docker info >/dev/null 2>&1 && echo "a docker engine answers" || echo "no docker engine answers"
	$(RUN)/python -m pytest -q -m slow -rs tests/exporting/test_real_server.py

old-check: $(VENV)/.installed  ## the bundle in the oldest TensorFlow, in an environment of its own
	test -x $(VENV)-old/bin/python || $(PYTHON) -m venv $(VENV)-old
	$(VENV)-old/bin/python -m pip install --quiet "tensorflow-cpu==2.16.2" "numpy<2"
	$(VENV)-old/bin/python -m pip install --quiet --no-deps "tensorflow-text==2.16.1"
	MM_KERAS_OLD_PYTHON=$(VENV)-old/bin/python $(RUN)/python -m pytest -q -m slow -rs tests/exporting/test_oldest_tensorflow.py

# Keyed on setup.cfg: a changed requirement reinstalls.
$(VENV)/.installed: setup.cfg pyproject.toml
	@test -n "$(PYTHON)" || { echo "mm_keras needs Python 3.10, 3.11 or 3.12 with venv; none was found."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --upgrade pip
	$(RUN)/python -m pip install --quiet -e .[dev]
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info
