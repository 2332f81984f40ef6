# Trainyard. `make` alone prints the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# Two processes of pytest, each with servers of its own. The one that is done takes half of what the other has left.
IN_TWO := -n 2 --dist worksteal
# Parts that do not wait for each other, two at a time. Their lines are mixed.
TOGETHER := --no-print-directory --jobs 2 --output-sync=line
# Where a machine turns the cache of compiled modules off, every worker process of Ray compiles RLlib and torch again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help venv lint typecheck imports docs-check test test-fast test-unit test-apiserver test-training test-runs \
        test-search test-e2e cluster cluster-down images deploy demo ladder bench bench-latency \
        fault-sweep kill-points parity verdict-rates ray-versions clean

help: ## Print this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

venv: $(STAMP) ## Install everything the project needs into .venv

$(STAMP): pyproject.toml constraints.txt
	@echo "==> installing the project and its dependencies into $(VENV) (about a minute, more on a slow network)"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --upgrade --constraint constraints.txt uv
	@$(VENV)/bin/uv pip install --python $(PY) --constraint constraints.txt --editable '.[operator,train,dev,bench]'
	@touch $@

lint: venv ## ruff: style and common mistakes
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

typecheck: venv ## mypy (strict for the operator)
	$(VENV)/bin/mypy

imports: venv ## import-linter: the layers of the two packages
	$(VENV)/bin/lint-imports

docs-check: venv ## The generated API reference matches the CRD
	$(PY) docs/generate_reference.py --check

# Networks as small as those of the tests only lose by torch's threads, which spin for each other.
test-unit test-runs test-search: export OMP_NUM_THREADS := 1

test-unit: venv
	$(PY) -m pytest tests/unit -n 2

test-fast: venv ## Everything that needs no server and no Ray (under 2 minutes)
	@echo "==> unit tests, mypy and linters, two at a time"
	@$(MAKE) $(TOGETHER) test-unit typecheck lint imports docs-check

test-apiserver: venv ## Tests against a real kube-apiserver and etcd (built once into the cache)
	KUBEBUILDER_ASSETS="$$($(PY) -m dev.cluster assets)" $(PY) -m pytest tests/apiserver $(IN_TWO)

test-runs: venv
	$(PY) -m pytest tests/training --ignore tests/training/test_search.py $(IN_TWO)

test-search: venv
	@# A process of its own: a search takes its lean path only where nothing has imported Ray Tune before.
	$(PY) -m pytest tests/training/test_search.py

test-training: test-search test-runs ## Training tests on real Ray

test: test-fast ## All tests but the end-to-end ones
	@echo "==> the API server's tests, which wait in between, beside those of searches; then the other training tests"
	@$(MAKE) $(TOGETHER) test-apiserver test-search
	@$(MAKE) --no-print-directory test-runs

test-e2e: venv ## The samples and the failures on a real node with the real KubeRay
	$(PY) -m dev.cluster up
	$(PY) -m dev.cluster deploy
	$(PY) -m pytest tests/e2e

cluster: venv ## Bring up (or find) a Kubernetes cluster with KubeRay
	$(PY) -m dev.cluster up

cluster-down: venv ## Remove the development cluster and everything it put on this machine
	$(PY) -m dev.cluster down

images: venv ## Build the operator's and the training image
	$(PY) -m dev.cluster images

deploy: venv ## Build the images and install or upgrade the operator on the development cluster
	$(PY) -m dev.cluster deploy

demo: venv ## Show everything live: cluster, images, operator, a TrainingRun, its trained policy
	@echo "==> the cluster (how long that takes is said next), then both images and the operator (a minute), then a run (two)"
	$(PY) -m dev.cluster up
	$(PY) -m dev.cluster deploy
	$(PY) -m dev.demo

ladder: venv ## Five runs, from a small Ray program to a 50-epoch portfolio; one table at the end
	$(PY) -m dev.cluster up
	$(PY) -m dev.cluster deploy
	$(PY) -m dev.ladder

bench: venv ## Training benchmarks: ratios in one run, a table at the end
	$(PY) -m tests.bench

bench-latency: venv ## A TrainingRun against a RayJob on the development cluster
	$(PY) -m dev.cluster up
	$(PY) -m dev.cluster deploy
	$(PY) -m tests.bench.latency

# Proofs that take too long for `make test`; a small part of each is in the tests. docs/ has their results.
fault-sweep: venv ## Each call of a run's life with each fault, on a real API server (about 40 minutes; docs/reliability.md)
	@mkdir -p results
	KUBEBUILDER_ASSETS="$$($(PY) -m dev.cluster assets)" $(PY) -m tests.apiserver.fault_sweep --table results/fault-sweep.md

kill-points: venv ## A driver killed at each operation of a checkpoint write (docs/checkpoints.md)
	$(PY) -m tests.bench.kill_points

parity: venv ## Mutated files: the library's verdict against the API server's (docs/validation.md)
	KUBEBUILDER_ASSETS="$$($(PY) -m dev.cluster assets)" $(PY) -m tests.apiserver.parity --count 10000 --traps 500 --seed 7

verdict-rates: venv ## How often noise gets a verdict, and how often a rise is found (docs/analysis.md)
	$(PY) -m tests.bench.verdict_rates --curves 1000

RAY_VERSIONS ?= 2.54.1 2.59.0
ray-versions: venv ## Training tests with other versions of Ray: RAY_VERSIONS="2.54.1 2.59.0" (docs/ray-versions.md)
	$(PY) -m dev.ray_versions $(RAY_VERSIONS)

clean: ## Remove caches of tools (keeps .venv and the cluster)
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build dist results
