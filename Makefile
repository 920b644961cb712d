# Two commands do everything on a bare machine: `make run` and `make test`. Needed are git, make and Python 3.11 or
# newer with pip; the rest is brought along, into this folder.

.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
# Databricks Connect has an environment of its own: its pyspark goes with no other.
BIN := $(if $(filter connect,$(ENV)),.connect/bin,.venv/bin)
# (pyenv keeps its own off PATH.)
PYTHON312 ?= $(lastword 3.12 $(wildcard $(HOME)/.pyenv/versions/3.12*/bin/python3.12))
UV := .make/bin/uv
# A file of tests goes to one of two processes: most of their time is one core's.
PYTEST := $(BIN)/pytest -n 2 --dist loadfile
# The slow ones wait for processes and servers: one that fails is run once more, alone, and named if it passes then.
PYTEST_SLOW := $(BIN)/python tests/again.py -n 2 --dist loadfile
JAVA := test -n "$$JAVA_HOME" || command -v java >/dev/null
# (Looked for by uv, which brings none.)
PY312 = $(UV) python find -q --no-python-downloads "$(PYTHON312)" >/dev/null 2>&1
NO_PY312 := It needs Python 3.12, and there is none: PYTHON312=<path>.
NO_JAVA := It needs Java 17 or newer, and there is none on PATH nor in JAVA_HOME.
# Compiled modules are kept: importing everything anew costs 20 s a run.
unexport PYTHONDONTWRITEBYTECODE
# The environment is this folder's alone, whatever is active or set outside.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME CONDA_PREFIX UV_PROJECT_ENVIRONMENT

LANDING ?=
LAKE ?=
USE_CASE ?= churn
ENV ?=
QUIET ?=
export LANDING LAKE USE_CASE ENV QUIET

# make passes over a variable that no target takes, and meets a target that isn't there after it has made the others:
# `make run LANDIN=<folder>` and `make run LAKE= <folder>` would work on other files, or in another lake.
TARGETS := help run test test-all parity lint ui report jars connect wheel viz docs bench lock clean
TAKES_run := LANDING LAKE USE_CASE ENV QUIET
TAKES_ui := LAKE ENV
TAKES_report := USE_CASE LAKE ENV
GOALS := $(or $(MAKECMDGOALS),help)
UNKNOWN := $(firstword $(filter-out $(TARGETS) .make/% .venv/% .connect/%,$(GOALS)))
TAKEN := $(sort $(foreach goal,$(GOALS),$(TAKES_$(goal))))
TYPED := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
STRAY := $(firstword $(filter-out $(TAKEN) PYTHON PYTHON312 MAKE% SHELL -%,$(TYPED)))
CLOSEST := import difflib as d, sys; near = {name.casefold(): name for name in sys.argv[2:]}; \
	print(*(near[name] for name in d.get_close_matches(sys.argv[1].casefold(), near, 1)))
closest = $(shell $(PYTHON) -c '$(CLOSEST)' '$1' $2 2>/dev/null)
ifneq ($(UNKNOWN),)
$(error make has no target $(UNKNOWN)$(patsubst %, (did you mean %?),$(call closest,$(UNKNOWN),$(TARGETS))). \
	make alone lists them; a variable has no blanks around its =, LAKE=<folder>)
endif
ifneq ($(STRAY),)
$(error make $(GOALS) does not take $(STRAY)=$(patsubst %, (did you mean %=?),$(call closest,$(STRAY),$(TAKEN))). \
	It takes $(or $(addsuffix =,$(TAKEN)),no variables); environment variables stand before the word make)
endif

help: ## what there is to type
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F '\t' '{printf "  make %-10s %s\n", $$1, $$2}'

run: $(if $(filter connect,$(ENV)),connect,.venv/run) $(if $(filter spark,$(ENV)),jars) ## the whole life of a use case (LANDING=, LAKE=, USE_CASE=churn|all, ENV=, QUIET=1)
	@$(BIN)/python -m lakehouse_ml.cli.make_run --use-case "$$USE_CASE" --landing "$$LANDING" --lake "$$LAKE" --env "$$ENV" --quiet "$$QUIET"

test: .venv/dev ## the fast tests
	@$(PYTEST)

test-all: test lint ## the fast tests, the linters, the slow tests, and where there are Java and Python 3.12 those of Apache Spark and Databricks Connect
	@if $(PY312); then $(MAKE) --no-print-directory connect; else echo "Skipped: the tests of Databricks Connect. $(NO_PY312)"; fi
	@$(PYTEST_SLOW) -m slow
	@if $(JAVA); then $(MAKE) --no-print-directory jars && $(PYTEST_SLOW) --engine spark -m jvm --ignore=tests/s3 \
		&& $(PYTEST_SLOW) --engine spark -m jvm tests/s3; \
		else echo "Skipped: the tests of Apache Spark. $(NO_JAVA)"; fi

parity: .venv/dev jars connect ## docs/parity.md anew: every Spark node on every engine (needs Java 17 and Python 3.12)
	@$(BIN)/python tests/parity/page.py docs/parity.md

lint: .venv/dev ## style, types, import contracts, secrets
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --baseline .secrets.baseline

ui: .venv/run ## MLflow's pages: runs, trials, the registered models (prints their addresses; LAKE=, ENV=)
	@PATH="$(CURDIR)/$(BIN):$$PATH" MLFLOW_WORKERS=1 MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
		$(BIN)/python -m lakehouse_ml.cli.ui --lake "$$LAKE" --env "$$ENV"

report: .venv/run ## the report of what is stored, written again where something changed (USE_CASE=, LAKE=, ENV=)
	@$(BIN)/python -m lakehouse_ml.cli.make_run --pipelines monitoring --quiet 1 --lake "$$LAKE" --env "$$ENV" \
		--use-case "$(if $(filter command environment,$(origin USE_CASE)),$$USE_CASE,all)"

jars: .venv/spark ## Apache Spark and Delta's jars, for ENV=spark (needs Java 17; 0.5 GB)
	@$(BIN)/python -m lakehouse_ml.engine.jars

# The time of every file in it is that of the commit: built again, it is the same to the byte.
wheel: .make/uv ## one wheel with the shipped conf inside, and beside it what it is installed with (dist/)
	@rm -rf dist
	@SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || echo 315532800) $(UV) build -q --wheel --out-dir dist
	@rm -f dist/.gitignore && cp requirements/wheel.lock dist/requirements.txt
	@ls dist/*

connect: .connect/made ## Databricks Connect, for ENV=connect (needs Python 3.12), in an environment of its own, .connect/

viz: .venv/dev ## the pipelines as a picture (http://127.0.0.1:4141)
	@PYTHONWARNINGS=ignore $(BIN)/kedro viz run

docs: .venv/dev ## the pages that are generated, and the site (site/index.html)
	@$(BIN)/python -m lakehouse_ml.tooling.flow docs/flow.md
	@$(BIN)/python -m lakehouse_ml.tooling.reference docs/reference.md
	@$(BIN)/python tests/e2e/bad_input.py docs/bad-input.md
	@rm -rf site build
	@$(BIN)/sphinx-build -q -E -W --keep-going docs site
	@PYTHONWARNINGS=ignore $(BIN)/kedro viz build --include-previews >/dev/null
	@mv build site/viz
	@echo "The site is at site/index.html; the pipelines as kedro viz shows them: $(PYTHON) -m http.server -d site/viz"

bench: .venv/dev ## the benchmarks, each a table (takes minutes)
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

lock: .make/uv ## resolve the requirements anew
	@$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes \
		--custom-compile-command "make lock" pyproject.toml --extra local -o requirements/run.lock
	@$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes \
		--custom-compile-command "make lock" pyproject.toml --extra local --extra viz --group dev \
		-c requirements/run.lock -o requirements/dev.lock
	@sed -n 's/^pyspark-client\(==[0-9.]*\).*/pyspark\1/p' requirements/run.lock > .make/pyspark.txt
	@$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes \
		--custom-compile-command "make lock" pyproject.toml --extra spark \
		-c requirements/run.lock -c .make/pyspark.txt -o requirements/spark.lock
	@$(UV) pip compile -q --universal --python-version 3.11 --no-annotate \
		--custom-compile-command "make lock" pyproject.toml -c requirements/run.lock -o requirements/wheel.lock
	@sed -n '/^[a-z].*==/{/^py\(arrow\|sail\|spark\)/d;s/ \\$$//p;}' requirements/run.lock > .make/connect.txt
	@$(UV) pip compile -q --python-version 3.12 --generate-hashes \
		--custom-compile-command "make lock" pyproject.toml requirements/connect.txt \
		-c .make/connect.txt -o requirements/connect.lock

clean: ## remove environment and caches (the lake in data/ stays)
	@rm -rf .venv .connect .make .pytest_cache .mypy_cache .ruff_cache .hypothesis build site *.egg-info src/*.egg-info

# --- the environment: uv brings Python packages in seconds; pip of the machine brings uv, into a folder of its own,
# --- so that it also works where pip refuses to install outside a virtual environment, and where venv has no pip.
.make/uv: requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make run PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up: uv" >&2
	@$(PYTHON) -m venv --clear --without-pip .make
	@$(PYTHON) -m pip --python .make/bin/python install -q --disable-pip-version-check -r requirements/uv.txt
	@touch $@

.venv/made: .make/uv
	@$(UV) venv -q --clear --python .make/bin/python .venv
	@touch $@

.venv/run: .venv/made requirements/run.lock pyproject.toml
	@echo "Setting up: packages" >&2
	@VIRTUAL_ENV=.venv $(UV) pip install -q --require-hashes -r requirements/run.lock
	@VIRTUAL_ENV=.venv $(UV) pip install -q --no-deps -e .
	@.venv/bin/python -m lakehouse_ml.registry.tracking_store
	@touch $@

.venv/dev: .venv/run requirements/dev.lock
	@echo "Setting up: test and development packages" >&2
	@VIRTUAL_ENV=.venv $(UV) pip install -q --require-hashes -r requirements/dev.lock
	@touch $@

# Over the client that run.lock installs: the same version, with Spark itself.
.venv/spark: .venv/run requirements/spark.lock
	@$(JAVA) || { echo "Apache Spark: $(NO_JAVA)" >&2; exit 1; }
	@echo "Setting up: Apache Spark" >&2
	@VIRTUAL_ENV=.venv $(UV) pip install -q --require-hashes -r requirements/spark.lock
	@touch $@

.connect/made: .make/uv requirements/connect.lock pyproject.toml
	@echo "Setting up: Databricks Connect" >&2
	@$(UV) venv -q --clear --python "$(PYTHON312)" .connect || \
		{ echo "Databricks Connect needs Python 3.12: name one, make connect PYTHON312=<path>." >&2; exit 1; }
	@VIRTUAL_ENV=.connect $(UV) pip install -q --require-hashes -r requirements/connect.lock
	@VIRTUAL_ENV=.connect $(UV) pip install -q --no-deps -e .
	@.connect/bin/python -m lakehouse_ml.registry.tracking_store
	@touch $@

.PHONY: $(TARGETS)
