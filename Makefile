# Everything starts here; each target works alone and from nothing (Debian 12, root or sudo for what is missing).

RUN ?= $(or $(NIGHTFEED_RUN),run)
PORT ?=
VENV := $(or $(NIGHTFEED_VENV),.venv)

# bench-nightly: users, items that each has seen, top content, items of a list, processes; GROWTH and FEED measure more.
USERS ?= 1000000
SEEN ?= 170
TOP ?= 1000
LENGTH ?= 200
JOBS ?= 4
GROWTH ?=
FEED ?=
# bench-edge: parts (all), users, seconds of each load, how often each is repeated, connections, nginx workers,
# and who runs where.
ONLY ?=
EDGE_USERS := $(if $(filter file,$(origin USERS)),100000,$(USERS))
SECONDS ?= 5
REPEATS ?= 3
CONNECTIONS ?= 64
WORKERS ?= 1
CORES ?= apart

PYTHON_IN_VENV := $(VENV)/bin/python
IN_PROCESSES := --numprocesses auto --maxprocesses 4 --dist loadfile
STACK = $(PYTHON_IN_VENV) scripts/stack.py
PORT_OPTION = $(if $(PORT),--port $(PORT))

.DEFAULT_GOAL := help
.PHONY: help up down status demo test test-faults bench-nightly bench-edge lint clean

help: ## this list
	@echo "Nightfeed: make TARGET [RUN=run directory (run)] [PORT=port of the edge (8080)]"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## install what is missing, start the stack, return when it is ready
	@scripts/install.sh run fast
	@$(STACK) up --run '$(RUN)' $(PORT_OPTION)

down: ## stop the stack; its data stays
	@if [ -x $(PYTHON_IN_VENV) ]; then $(STACK) down --run '$(RUN)'; else echo "Nothing runs: nothing was installed yet"; fi

status: ## what runs, since when, and whether it answers
	@scripts/install.sh run
	@$(STACK) status --run '$(RUN)'

demo: ## the stack with 2,400 sample items and two months of 3,000 visitors
	@scripts/install.sh run
	@$(PYTHON_IN_VENV) scripts/demo.py --run '$(RUN)' $(PORT_OPTION)

test: ## all tests, on stacks of their own
	@scripts/install.sh run fast test bench
	@$(PYTHON_IN_VENV) -m pytest $(IN_PROCESSES)

test-faults: ## all fault and attack tests at full length: the night killed at every step, a million feeds, the fuzzers
	@scripts/install.sh run fast test
	@NIGHTFEED_FAULTS=full $(PYTHON_IN_VENV) -m pytest $(IN_PROCESSES) -rP tests/faults tests/security \
	    tests/test_fraud.py tests/test_client_network_cuts.py

bench-nightly: ## the nightly run against plain Redis [USERS=1000000 SEEN=170 TOP=1000 LENGTH=200 JOBS=4 GROWTH=1 FEED=1]
	@scripts/install.sh run fast
	@$(PYTHON_IN_VENV) scripts/bench/nightly.py --users $(USERS) --seen $(SEEN) --top $(TOP) --length $(LENGTH) \
	    --jobs $(JOBS) $(if $(GROWTH),--growth) $(if $(FEED),--feed)

bench-edge: ## the edge against nginx alone [ONLY=beacon1,feed USERS=100000 SECONDS=5 REPEATS=3 CONNECTIONS=64 WORKERS=1 CORES=any]
	@scripts/install.sh run bench
	@$(PYTHON_IN_VENV) scripts/bench/edge.py --users $(EDGE_USERS) --seen $(SEEN) --seconds $(SECONDS) \
	    --repeats $(REPEATS) --connections $(CONNECTIONS) --nginx-workers $(WORKERS) \
	    --cores $(CORES) $(if $(ONLY),--only $(ONLY))

lint: ## ruff, mypy, luacheck, and nginx on the rendered configuration
	@scripts/install.sh run lint
	$(VENV)/bin/ruff check worker scripts tests
	$(VENV)/bin/mypy
	luacheck --quiet lua scripts/bench/wrk
	$(STACK) check-config

clean: ## remove what building and testing left, but no run directory and no .venv
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
