# Every target is one call of the `backtest` command or of one tool. `make help` lists them.
#
# Text an operator gives in a variable never becomes part of a shell command: it reaches the command through the
# environment (RUN_ID as BACKTEST_RUN_ID, …), taken literally, without make expanding a `$` in it.

MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help
.SUFFIXES:

override OPERATOR_VARIABLES := RUN_ID SYMBOLS START END STRATEGIES SOURCE VENUE DATASETS ALLOW_MISSING QUICK REAL WORLDS

# What was given on make's command line is kept as the text it is. (Make would expand it when handing it on.)
# The loop's variable is called "=", a name nothing on the command line can have.
$(foreach =,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(=)))),\
    $(eval override $(=) := $$(value $(=)))$(eval export $(=))))
# RUN_ID=x is handed on as BACKTEST_RUN_ID=x and only so; what is unset or empty is not handed on.
$(foreach =,$(OPERATOR_VARIABLES),$(if $(value $(=)),\
    $(eval override BACKTEST_$(=) := $$(value $(=)))$(eval export BACKTEST_$(=)))$(eval unexport $(=)))

override SHELL := /bin/sh

# -- the environment: made when it is needed, from requirements.lock ------------------------------------------

# The stamp holds the folder it was made in: an environment does not survive being moved.
ifneq ($(shell cat .venv/.installed 2>/dev/null),$(realpath .))
.PHONY: .venv/.installed
endif

.venv/.installed: requirements.lock requirements.txt requirements-dev.txt pyproject.toml
	@bash project/scripts/set_up_environment.sh

# -- targets ----------------------------------------------------------------------------------------------

.PHONY: help
help: ## this list
	@awk -f project/scripts/makefile_help.awk Makefile

# Research

.PHONY: demo
demo: .venv/.installed ## a complete run on a simulated market, in data/demo; needs no network
	@.venv/bin/backtest demo

.PHONY: run
run: .venv/.installed ## ingest, clean and features, no discovery
	@.venv/bin/backtest run

.PHONY: baseline
baseline: .venv/.installed ## the full pipeline: discovery, robustness, backtest of STRATEGIES, walk-forward, promotion, report
	@.venv/bin/backtest baseline

.PHONY: discover-edges
discover-edges: .venv/.installed ## phase 1 and phase 2 discovery, no ingest
	@.venv/bin/backtest discover-edges

.PHONY: discover-edges-from-raw
discover-edges-from-raw: .venv/.installed ## clean, features and discovery from the raw data that is there
	@.venv/bin/backtest discover-edges-from-raw

.PHONY: discover-hybrid
discover-hybrid: .venv/.installed ## discovery, expectancy analysis and robustness
	@.venv/bin/backtest discover-hybrid

.PHONY: discover-hybrid-backtest
discover-hybrid-backtest: .venv/.installed ## discover-hybrid, a backtest of STRATEGIES, walk-forward and promotion
	@.venv/bin/backtest discover-hybrid-backtest

.PHONY: monitor
monitor: .venv/.installed ## data freshness check for SYMBOLS
	@.venv/bin/backtest monitor-data-freshness

# The statistics themselves

.PHONY: calibrate
calibrate: .venv/.installed ## error rates and power of the search on worlds whose truth is known; QUICK=1 for a few, REAL=1 for real bars too
	@.venv/bin/backtest calibrate

# Cleaning up

.PHONY: clean-runtime
clean-runtime: .venv/.installed ## remove runs/, reports/, events/ and lake/runs/ of the data root
	@.venv/bin/backtest clean-runtime

.PHONY: clean-all-data
clean-all-data: .venv/.installed ## remove all data of the data root: raw, cleaned and features too
	@.venv/bin/backtest clean-all-data

.PHONY: clean-repo
clean-repo: .venv/.installed ## remove .pyc files, tool caches and Zone.Identifier files
	@.venv/bin/backtest clean-repo

.PHONY: clean-hygiene
clean-hygiene: .venv/.installed ## remove Zone.Identifier files
	@.venv/bin/backtest clean-hygiene

.PHONY: check-hygiene
check-hygiene: .venv/.installed ## no tracked run artifacts, no Zone.Identifier files, no tracked file over 5 MB
	@.venv/bin/backtest check-hygiene

# Development

.PHONY: test
test: .venv/.installed ## all tests
	@.venv/bin/python -m pytest -n auto

.PHONY: test-fast
test-fast: .venv/.installed ## the tests that are not marked slow
	@.venv/bin/python -m pytest -n auto -m "not slow"

.PHONY: check
check: .venv/.installed ## format, lint, types, layers, spec, requirements, then all tests
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@.venv/bin/backtest spec check
	@.venv/bin/python project/scripts/requirements.py check
	@.venv/bin/python -m pytest -n auto

.PHONY: format
format: .venv/.installed ## format the code and mend what the linter can
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

.PHONY: docs
docs: .venv/.installed ## build the documentation as a site in site/, every link and anchor checked; open site/index.html
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet

.PHONY: compile
compile: .venv/.installed ## byte-compile all Python under project/
	@.venv/bin/python -m compileall -q project

.PHONY: bench
bench: .venv/.installed ## measure time and memory of the benchmarks under project/benchmarks
	@.venv/bin/python project/benchmarks/run.py

.PHONY: fuzz
fuzz: .venv/.installed ## feed 100,000 changed inputs to every parser of outside bytes; takes hours
	@.venv/bin/python project/tests/fuzzing/run.py

.PHONY: crash
crash: .venv/.installed ## kill a full run at 100 random moments, and fill its disk at each stage (as root); compare what the next run leaves
	@.venv/bin/python project/tests/crashes/kill_at_random_moments.py
	@.venv/bin/python project/tests/crashes/full_disk_at_each_stage.py

.PHONY: audit
audit: .venv/.installed ## write sbom.cdx.json, the locked requirements with their hashes as a CycloneDX list
	@PYTHONWARNINGS=ignore .venv/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --mc-type application --output-reproducible --output-format JSON --output-file sbom.cdx.json

.PHONY: lock
lock: .venv/.installed ## write the three requirements files from pyproject.toml; needs the network
	@.venv/bin/python project/scripts/requirements.py lock

# Variables of the research targets, for example: make discover-edges RUN_ID=run_20250228 SYMBOLS=BTCUSDT,ETHUSDT
#   RUN_ID              name of this run's artifacts
#   SYMBOLS             symbols, separated by commas
#   START END           first and last day (both included), as 2020-06-01
#   STRATEGIES          strategies to backtest, separated by commas
#   SOURCE              binance (default) or simulated: where make run fetches raw data
#   VENUE               whose raw bars to read, where the lake has those of several
#   DATASETS            data sets that must be had besides bars and funding, separated by commas
#   ALLOW_MISSING       go on where a data set is missing
#   QUICK               1: calibrate on 26 worlds instead of 480
#   REAL                1: calibrate on copies of the data root's cleaned bars too
#   WORLDS              kinds of worlds to calibrate on, separated by commas
#   BACKTEST_DATA_ROOT  folder of all data, ./data where unset
#   BACKTEST_…          any other setting, handed on as it is
