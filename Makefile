# Timeball. `make` alone prints what there is.
SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= python3
SEEDS ?= 50
BIN := .venv/bin
ifdef COMPILED
# The same targets with the core compiled: in a copy of this checkout that has it.
BIN := $(CURDIR)/.venv/bin
IN = tree=$$($(BIN)/python -m tools.compiled) && cd "$$tree" && export PYTHONPATH="$$tree:$$tree/clients/python" &&
endif

.PHONY: help prerequisites venv venv-dev venv-proto demo dev test unit conformance integration \
	cluster cluster-status cluster-down chaos sim compiled check fmt lint types house proto clients verify-proto proto-baseline lock bench bench-compare wheel clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: venv ## Create .venv and watch real tasks run at their instant (CLUSTER=1: on make cluster)
	@$(IN) $(if $(CLUSTER),TIMEBALL_DEMO_CLUSTER=1 )$(BIN)/python examples/demo.py

cluster: venv-dev ## A whole cluster on loopback: ZooKeeper, Cassandra and seven processes of ours
	@$(IN) $(BIN)/python -m tools.cluster up

cluster-status: venv-dev ## Who is alive there and who owns what
	@$(IN) $(BIN)/python -m tools.cluster status

cluster-down: venv-dev ## End it
	@$(IN) $(BIN)/python -m tools.cluster down

test: prerequisites venv-dev venv-proto ## Every test, tier by tier (TIERS=unit,... for some of them)
	@$(IN) $(BIN)/python tools/run_tests.py $(if $(TIERS),--tiers $(TIERS))

chaos: venv-dev ## Break real servers, wires and processes under load, and kill at chosen points (ROUNDS=1, RATE=100)
	@$(IN) TIMEBALL_CHAOS_ROUNDS=$(or $(ROUNDS),1) TIMEBALL_CHAOS_RATE=$(or $(RATE),100) \
		$(BIN)/python -m pytest -q -s -p no:cacheprovider tests/chaos/test_faults.py tests/chaos/test_aimed.py

dev: venv ## Coordinator, scheduler node and executor node in one process on loopback
	@$(BIN)/timeball dev

check: venv-dev venv-proto ## Format, lint, types, house rules and stubs: what a commit needs
	@$(BIN)/python tools/run_tests.py --tiers check

unit: venv-dev ## Unit tests only
	@$(IN) $(BIN)/python -m pytest -q tests/unit

conformance: venv-dev ## One suite per port over every adapter
	@$(IN) $(BIN)/python -m pytest -q tests/conformance

integration: venv-dev ## Real processes and sockets on loopback
	@$(IN) $(BIN)/python -m pytest -q tests/integration

sim: venv-dev ## Whole-cluster simulation in virtual time (SEEDS=50 of them, or one SEED=42)
	@$(IN) $(BIN)/python tools/sim.py $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

bench: venv-dev ## Measure and write docs/benchmarks.md (WORKLOADS=steady, TARGET=dev for a part)
	@$(IN) $(BIN)/python tests/bench/run.py $(WORKLOADS) $(if $(TARGET),--target $(TARGET))

bench-compare: venv-dev ## Set this code against BASE=<commit>, in turns (WORKLOADS=steady, TARGET=dev)
	@$(BIN)/python tests/bench/compare.py $(or $(BASE),HEAD) $(or $(WORKLOADS),steady) --target $(or $(TARGET),dev)

fmt: venv-dev ## Format the code and sort the imports
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix-only --select I .

lint: venv-dev ## Lint
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: venv-dev ## mypy, strict
	@$(BIN)/mypy

house: venv-dev ## House rules and import rules
	@$(BIN)/python -m pytest -q tests/unit/test_house_rules.py tests/unit/test_import_rules.py

proto: venv-dev venv-proto ## Generate stubs and validation rules from proto/
	@$(BIN)/python tools/protos.py generate
	@$(BIN)/python tools/openapi.py
	@$(BIN)/python -m tools.other_clients generate --where-possible

clients: venv-dev venv-proto ## Generate the Go and the TypeScript client's stubs and build both
	@$(BIN)/python -m tools.other_clients generate
	@$(BIN)/python -m tools.other_clients build

verify-proto: venv-dev venv-proto ## Fail when stubs drifted, proto style broke or the API lost something
	@$(BIN)/python tools/protos.py verify

proto-baseline: venv-dev venv-proto ## Accept today's protos as what must not break (at a release)
	@$(BIN)/python tools/protos.py baseline

compiled: venv-dev ## Compile the core, some minutes; then COMPILED=1 with test, sim, bench, cluster, chaos, demo, wheel
	@$(BIN)/python -m tools.compiled

wheel: venv-dev ## Build both wheels into dist/
	@$(IN) $(BIN)/python tools/wheels.py "$(CURDIR)/dist"

lock: ## Resolve requirements/*.lock anew (UPGRADE=1 for the newest versions)
	@$(PYTHON) tools/lock.py $(if $(UPGRADE),--upgrade)

prerequisites: ## What this machine has and lacks, with the command for each gap
	@$(PYTHON) tools/prerequisites.py $(if $(filter true,$(CI)),--install)

venv: ## .venv with what the demo needs
	@$(PYTHON) tools/environments.py run

venv-dev: ## .venv with what tests and checks need too
	@$(PYTHON) tools/environments.py dev

venv-proto: ## .venv-proto, the stub generator's own environment
	@$(PYTHON) tools/environments.py proto

clean: ## Remove environments, caches and build results
	@rm -rf .venv .venv-proto .cache dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
