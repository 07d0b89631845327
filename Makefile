# The front door of the repository: every target says in a line what it does before it does it.
# It needs make and Python 3.11 or newer with venv. The environment is passed through.

# One install at a time, also under `make -j`.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help install run test test-gateways check wasm bench lock clean

help: ## list the targets
	@sed -n 's/^\([a-z%-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | \
		sed 's/bench-%/bench-NAME/' | awk -F '|' '{ printf "%-18s %s\n", $$1, $$2 }'

install: ## make the environment in .venv, compile what is hot, and get a browser where permitted
	@scripts/install.sh run compile browser

run: ## install, then serve the demo; more options with ARGS="--port 9000"
	@scripts/install.sh run compile browser
	@exec .venv/bin/tidegate serve --demo $(ARGS)

test: ## install, check, and run all tests with coverage
	@scripts/install.sh run test compile browser
	@scripts/gateways.sh install
	@scripts/check.sh
	@scripts/test.sh

test-gateways: ## run the tests against real gateways, put into build/gateways
	@scripts/install.sh run test
	@scripts/gateways.sh test $(ARGS)

check: ## format, lint, types and the house rules
	@scripts/install.sh run test compile
	@scripts/check.sh

wasm: ## build the WASM module from its source; ARGS=--check only compares
	@PYTHON=$$(scripts/find-python.sh) && export PYTHON && exec scripts/build-wasm.sh $(ARGS)

bench: ## run every benchmark
	@scripts/install.sh run test bench compile
	@scripts/bench.sh all $(ARGS)

bench-%: ## run bench/NAME.py
	@scripts/install.sh run test bench compile
	@scripts/bench.sh $* $(ARGS)

lock: ## pin all requirements again; newer ones with ARGS=--upgrade
	@scripts/install.sh run lock
	@scripts/lock.sh $(ARGS)

clean: ## remove everything that make and the tests made
	@rm -rf .venv build dist src/tidegate/compiled .coverage .coverage.* .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
