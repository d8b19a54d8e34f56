# Slipway: `make` alone says what there is.
# These are set as in `make up PYTHON=python3.12`; variables of the same name in the shell mean something else there.
PYTHON = python3
unexport PYTHONPATH PYTHONHOME
ENVIRONMENT = local
UP =
BENCH =
DRILLS =
GATE =
FUZZ =
OPENAPI =
IMAGE =
SLIPWAY = .venv/bin/slipway
PYTEST = .venv/bin/pytest
COMPILE = .venv/bin/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 pyproject.toml
# Tests wait about as much as they work.
PARALLEL = $$(expr $$(nproc) \* 3 / 2)
# They measure a load, which wants the machine for itself, and run last, alone.
ALONE = $(addprefix tests/deploy/,test_readme.py test_gate.py)
# These want a Docker engine, some of them Pulumi too, and the machine for themselves.
ENGINE = tests/deploy/docker $(addprefix tests/infra/docker/,test_job_runner.py test_rollout_watch.py)

.DEFAULT_GOAL := help
.PHONY: help venv venv-test up down status clean bench drills gate image test test-deploy check fuzz openapi lock

help: ## say what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | awk -F'|' '{printf "  make %-12s %s\n", $$1, $$2}'

venv:
	@$(PYTHON) ops/bootstrap.py up

venv-test:
	@$(PYTHON) ops/bootstrap.py test

up: venv ## deploy the source on this machine: everything, from the database to the report (UP=--no-load leaves the load out)
	@$(SLIPWAY) up $(ENVIRONMENT) $(UP)

down: venv ## stop everything; nothing is lost
	@$(SLIPWAY) down $(ENVIRONMENT)

status: venv ## say what runs, where, since when, which release and schema
	@$(SLIPWAY) status $(ENVIRONMENT)

clean: venv ## remove the local environment for good, after asking
	@$(SLIPWAY) clean $(ENVIRONMENT)

bench: venv ## measure the API against the ceiling (BENCH=--check fails where it is not what is required)
	@$(SLIPWAY) bench $(ENVIRONMENT) $(BENCH)

drills: venv ## break each part of a throw-away environment, and tell what its users see (DRILLS=worker-killed for one)
	@$(SLIPWAY) drills $(DRILLS)

gate: venv ## say whether the source is slower than the release before it, in three minutes (GATE="--limit-seconds 60")
	@$(SLIPWAY) gate $(ENVIRONMENT) $(GATE)

image: venv ## build the image of the source, with its SBOM and licences (IMAGE="--base NAME" for another base)
	@$(SLIPWAY) image $(IMAGE)

test: venv-test ## run all tests, and print their coverage
	@rm -f .coverage .coverage.*
	@$(PYTEST) --numprocesses=$(PARALLEL) --dist=worksteal $(addprefix --ignore=,$(ALONE) $(ENGINE)) --cov --cov-report= --cov-fail-under=0
	@$(PYTEST) $(ALONE) --cov --cov-append --cov-report=term

test-deploy: venv-test ## deploy to a real Docker Swarm with a real Pulumi engine, and break it; figures in .slipway/deploy-figures.json
	@$(PYTEST) $(ENGINE)

check: venv-test ## lint, types, house rules, migrations against models, lock files
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@.venv/bin/python -m tests.check_migrations
	@.venv/bin/python -m tests.check_locks

fuzz: venv-test ## look for input that breaks the API, for ten minutes or FUZZ="--seconds 60"; counts also in .slipway/fuzz.json
	@.venv/bin/python -m tests.service.contract.fuzz $(FUZZ)

openapi: venv-test ## write docs/openapi.json; OPENAPI=--released promises it to clients, too
	@.venv/bin/python -m tests.service.contract.openapi $(OPENAPI)

lock: venv-test ## bring the lock files up to pyproject.toml
	@$(COMPILE) --all-extras --group test --output-file requirements/test.txt
	@$(COMPILE) --extra ops --extra loadtests --constraint requirements/test.txt --output-file requirements/up.txt
	@$(COMPILE) --constraint requirements/test.txt --output-file requirements/service.txt
	@echo uv | .venv/bin/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 --constraint requirements/test.txt - --output-file requirements/uv.txt
