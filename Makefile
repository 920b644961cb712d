# `make run` and `make test` work on a bare machine. You need git, make and Python 3.11 or newer with pip; everything
# else is installed into this folder.

.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
# Databricks Connect needs its own environment: its pyspark conflicts with the usual one.
BIN := $(if $(filter connect,$(ENV)),.connect/bin,.venv/bin)
# pyenv's interpreters are not on PATH.
PYTHON312 ?= $(lastword 3.12 $(wildcard $(HOME)/.pyenv/versions/3.12*/bin/python3.12))
UV := .make/bin/uv
# Two processes, each with whole files in the order of tests/conftest.py: a test mostly uses one core.
IN_TWO := -n 2 --dist loadfile --no-loadscope-reorder
PYTEST := $(BIN)/pytest $(IN_TWO)
# Slow tests depend on processes and servers: a failing one is run once more, alone, and reported if it then passes.
PYTEST_SLOW := $(BIN)/python tests/again.py $(IN_TWO)
JAVA := test -n "$$JAVA_HOME" || command -v java >/dev/null
# uv looks for it and downloads none.
PY312 = $(UV) python find -q --no-python-downloads "$(PYTHON312)" >/dev/null 2>&1
NO_PY312 := Python 3.12 was not found: set PYTHON312=<path>.
NO_JAVA := Java 17 or newer was not found on PATH or in JAVA_HOME.
# Keep compiled modules: compiling everything again costs 20 s per run.
unexport PYTHONDONTWRITEBYTECODE
# Use only this folder's environment, whatever is active or set outside.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME CONDA_PREFIX UV_PROJECT_ENVIRONMENT

LANDING ?=
LAKE ?=
USE_CASE ?= churn
ENV ?=
QUIET ?=
TARGET ?=
JOB ?=
ENGINE ?=
REPAIR ?=
export LANDING LAKE USE_CASE ENV QUIET TARGET JOB ENGINE REPAIR

# make ignores a variable that no target uses, and reports a missing target only after it has made the others: without
# this check, `make run LANDIN=<folder>` and `make run LAKE= <folder>` would use other files or another lake.
TARGETS := help run test test-all test-slow test-jvm parity lint ui report jars connect wheel rehearse viz docs bench lock clean
TAKES_run := LANDING LAKE USE_CASE ENV QUIET
TAKES_ui := LAKE ENV
TAKES_report := USE_CASE LAKE ENV
TAKES_rehearse := TARGET JOB LANDING ENGINE REPAIR
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

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F '\t' '{printf "  make %-10s %s\n", $$1, $$2}'

run: $(if $(filter connect,$(ENV)),connect,.venv/run) $(if $(filter spark,$(ENV)),jars) ## run all stages of a use case (LANDING=, LAKE=, USE_CASE=churn|all, ENV=, QUIET=1)
	@$(BIN)/python -m lakehouse_ml.cli.make_run --use-case "$$USE_CASE" --landing "$$LANDING" --lake "$$LAKE" --env "$$ENV" --quiet "$$QUIET"

test: .venv/dev ## run the fast tests
	@$(PYTEST)

test-all: test lint ## run linters and all tests; those of Apache Spark and Databricks Connect only if Java and Python 3.12 are installed
	@$(MAKE) --no-print-directory test-slow
	@$(MAKE) --no-print-directory test-jvm

test-slow: .venv/dev ## run the slow tests; those of Databricks Connect only if Python 3.12 is installed
	@if $(PY312); then $(MAKE) --no-print-directory connect; else echo "Skipped: the tests of Databricks Connect. $(NO_PY312)"; fi
	@$(PYTEST_SLOW) -m slow

test-jvm: .venv/dev ## run the tests of Apache Spark, only if Java is installed
	@if $(JAVA); then $(MAKE) --no-print-directory jars && $(PYTEST_SLOW) --engine spark -m jvm --ignore=tests/s3 \
		&& $(PYTEST_SLOW) --engine spark -m jvm tests/s3; \
		else echo "Skipped: the tests of Apache Spark. $(NO_JAVA)"; fi

parity: .venv/dev jars connect ## rebuild docs/parity.md: every Spark node on every engine (needs Java 17 and Python 3.12)
	@$(BIN)/python tests/parity/page.py docs/parity.md

lint: .venv/dev ## check style, types, import contracts, YAML, workflows and secrets
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@git ls-files -z '*.yml' '*.yaml' | xargs -0 $(BIN)/yamllint --strict
	@$(BIN)/zizmor --offline --quiet --no-progress --strict-collection --persona pedantic .github
	@git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --baseline .secrets.baseline

ui: .venv/run ## start MLflow's pages: runs, trials, registered models (prints their addresses; LAKE=, ENV=)
	@PATH="$(CURDIR)/$(BIN):$$PATH" MLFLOW_WORKERS=1 MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
		$(BIN)/python -m lakehouse_ml.cli.ui --lake "$$LAKE" --env "$$ENV"

report: .venv/run ## update the reports from the stored results (USE_CASE=, LAKE=, ENV=)
	@$(BIN)/python -m lakehouse_ml.cli.make_run --pipelines monitoring --quiet 1 --lake "$$LAKE" --env "$$ENV" \
		--use-case "$(if $(filter command environment,$(origin USE_CASE)),$$USE_CASE,all)"

jars: .venv/spark ## install Apache Spark and Delta's jars, for ENV=spark (needs Java 17; 0.5 GB)
	@$(BIN)/python -m lakehouse_ml.engine.jars

# All files get the time of the commit, so that two builds are identical to the byte.
wheel: .make/uv ## build the wheel with the shipped conf, and its pinned requirements (dist/)
	@rm -rf dist
	@SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || echo 315532800) $(UV) build -q --wheel --out-dir dist
	@rm -f dist/.gitignore && cp requirements/wheel/requirements.txt dist/requirements.txt
	@ls dist/*

rehearse: .venv/run $(if $(filter spark,$(ENGINE)),jars) ## run the jobs of Databricks on this machine, from the wheel (TARGET=, JOB=, LANDING=, ENGINE=sail|spark, REPAIR=)
	@$(BIN)/python -m lakehouse_ml.cli.rehearse --target "$$TARGET" --job "$$JOB" --landing "$$LANDING" --engine "$$ENGINE" --repair "$$REPAIR"

connect: .connect/made ## install Databricks Connect in .connect/, for ENV=connect (needs Python 3.12)

viz: .venv/dev ## show the pipelines as a graph (http://127.0.0.1:4141)
	@PYTHONWARNINGS=ignore $(BIN)/kedro viz run

docs: .venv/dev ## rebuild the generated pages and the site (site/index.html)
	@$(BIN)/python -m lakehouse_ml.tooling.flow docs/flow.md
	@$(BIN)/python -m lakehouse_ml.tooling.reference docs/reference.md
	@$(BIN)/python tests/e2e/bad_input.py docs/bad-input.md
	@rm -rf site build
	@$(BIN)/sphinx-build -q -E -W --keep-going docs site
	@PYTHONWARNINGS=ignore $(BIN)/kedro viz build --include-previews >/dev/null
	@mv build site/viz
	@echo "The site is at site/index.html; the pipelines as kedro viz shows them: $(PYTHON) -m http.server -d site/viz"

bench: .venv/dev ## run the benchmarks; each prints a table (takes minutes)
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

lock: .make/uv ## resolve the requirements again
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
		--custom-compile-command "make lock" pyproject.toml -c requirements/run.lock -o requirements/wheel/requirements.txt
	@sed -n '/^[a-z].*==/{/^py\(arrow\|sail\|spark\)/d;s/ \\$$//p;}' requirements/run.lock > .make/connect.txt
	@$(UV) pip compile -q --python-version 3.12 --generate-hashes \
		--custom-compile-command "make lock" pyproject.toml requirements/connect.txt \
		-c .make/connect.txt -o requirements/connect.lock

clean: ## remove environments and caches (the lake in data/ stays)
	@rm -rf .venv .connect .make .pytest_cache .mypy_cache .ruff_cache .hypothesis build site *.egg-info src/*.egg-info

# --- The environment: the machine's pip installs uv into its own folder, and uv installs the packages. This also works
# --- if pip refuses to install outside a virtual environment, and if venv has no pip.
.make/uv: requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "You need Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make run PYTHON=python3.12" >&2; exit 1; }
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

# Replaces the client that run.lock installs by the same version with Spark itself.
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
