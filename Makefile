# Everything a person runs. Each target sets up what it needs, which is quick the second time.
.DEFAULT_GOAL := help
.PHONY: help setup setup-python demo test e2e image lint generate bench up down clean clean-all
MAKEFLAGS += --no-print-directory

ifndef PYTHON
PYTHON := $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.version_info < (3, 11) and sys.exit(1); print(sys.executable)' 2>/dev/null && break; done)
endif
VENV := .venv/bin
RUN := $(VENV)/python -m

help: ## show this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

setup: ## what is missing: Debian packages, Python environment, commands of the control plane
	@$(if $(PYTHON),,echo 'no Python >= 3.11 found; on Debian: apt-get install python3 python3-venv' >&2; exit 1)
	@$(PYTHON) -m hack.setup

setup-python:
	@$(if $(PYTHON),,echo 'no Python >= 3.11 found; on Debian: apt-get install python3 python3-venv' >&2; exit 1)
	@$(PYTHON) -m hack.setup python

demo: setup ## the main job, start to end, on a local control plane (KEEP=1; CLUSTER=current: in yours)
	@$(RUN) hack.demo

test: setup lint ## all tests, tier by tier (REQUIRE_ALL=1, REQUIRE_NODE=1: what cannot run here has failed)
	@$(RUN) hack.test $(TIERS)

e2e: setup ## the tests on a real node alone (needs root; ARGS='-k probes' chooses)
	@$(RUN) hack.e2e $(ARGS)

image: setup-python ## build the operator's image with buildah (BASE=… builds on an image of a registry)
	@$(RUN) hack.image.build

lint: setup-python ## format, types, direction of imports, generated files
	@$(RUN) hack.lint

generate: setup-python ## write the generated files anew (CRDs)
	@$(VENV)/pantograph crds

bench: setup ## measure against the gates; results in bench.jsonl
	@$(RUN) tests.bench

up: setup ## start a control plane to try things by hand
	@$(RUN) hack.controlplane up

down: setup-python ## stop it
	@$(RUN) hack.controlplane down

clean: ## remove what is in this checkout only: environment, caches of the tools, results
	@if [ -x $(VENV)/python ]; then $(RUN) hack.controlplane down && $(RUN) hack.clean; fi

clean-all: clean ## and the built commands and tools that all checkouts share, unless somebody uses them
	@$(PYTHON) -m hack.clean cache
