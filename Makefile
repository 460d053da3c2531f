# Every target does all of its own set-up, also the first time. PYTHON is any Python 3.11 or newer that has pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# An activated $(VENV) would be asked to install itself, and it has no pip.
export PATH := $(subst $(abspath $(BIN)):,,$(PATH))
STAMP := $(VENV)/.installed
DEPLOY_TOOLS := $(VENV)/deploy/.installed
# Spark (half a gigabyte) only where its Java is; without it the Spark tests are skipped, and say so.
SPARK_STAMP := $(VENV)/spark/.ready
SPARK := $(if $(shell command -v java 2>/dev/null),$(SPARK_STAMP))
EMULATOR_LOCK := service/headsaw/demo/ministack-requirements.txt
# Local implementations of AWS's services for tests/contract; those in Java only where java and mvn are, otherwise their tests are skipped, and say so.
SERVICES := $(VENV)/services
JAVA_SERVICES := $(if $(and $(shell command -v java 2>/dev/null),$(shell command -v mvn 2>/dev/null)),dynamodb-local elasticmq)
SERVICES_READY := $(SERVICES)/.installed $(JAVA_SERVICES:%=$(SERVICES)/%/.installed)
# The native parser is built where cargo is. `make NATIVE= ...` leaves it out: the reference parser does the same, slower.
NATIVE ?= yes
NATIVE_STAMP := $(VENV)/.native
READY := $(STAMP) $(if $(NATIVE),$(NATIVE_STAMP),without-native)

.DEFAULT_GOAL := help
.PHONY: help setup check test demo spark spark-dist simulate chaos format lint types contracts unit native without-native build-native rust check-rust wheels conformance conformance-peers fuzz fuzz-tools fuzz-native fuzz-differential differential services contracts-real lock bench bench-decode bench-spark bench-e2e deploy-tools image clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

setup: $(READY)  ## Make .venv with everything that the other targets need (they do this themselves)

# --without-pip, and the base interpreter's pip: a Debian without python3-venv can do that too.
$(STAMP): requirements/dev.txt pyproject.toml $(EMULATOR_LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "headsaw needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv --without-pip $(VENV)
	@echo "Installing into $(VENV) (half a minute the first time) ..."
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m headsaw.demo.emulator --install
	@touch $@

native: $(READY)  ## Build and install the native parser (every target does, where cargo is)
	@test -e $(NATIVE_STAMP)

# Where it can't be built the stamp isn't made, so each run says so; a build that fails ends the run.
$(NATIVE_STAMP): requirements/native-build.txt native/Cargo.toml native/locked.toml native/pyproject.toml $(wildcard native/src/*.rs) | $(STAMP)
	@if $(BIN)/python native/toolchain.py; then $(MAKE) --no-print-directory build-native; else $(UNINSTALL_NATIVE); fi

# An older build would be passed over, or worse, be used.
UNINSTALL_NATIVE := rm -f $(NATIVE_STAMP); ! $(BIN)/python -c 'import headsaw_native' 2> /dev/null \
	|| $(PYTHON) -m pip --python $(BIN)/python uninstall --quiet --yes --disable-pip-version-check headsaw-native

without-native: $(STAMP)
	@if test -e $(NATIVE_STAMP); then $(UNINSTALL_NATIVE); fi
	@echo "NATIVE is empty: the reference parser will be used (slower)"

build-native: $(STAMP)
	@echo "Building the native parser (a minute or two the first time) ..."
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --require-hashes -r requirements/native-build.txt
	@rm -rf $(VENV)/wheels
	@native/lock.sh restore && $(BIN)/maturin build --quiet --release --locked --compatibility linux -m native/Cargo.toml -i $(BIN)/python -o $(VENV)/wheels \
		|| { echo "the native parser could not be built (above is why); \`make NATIVE= ...\` leaves it out. After a change of Cargo.toml: native/lock.sh update"; exit 1; }
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --no-index --no-deps --force-reinstall $(VENV)/wheels/headsaw_native-*.whl
	@touch $(NATIVE_STAMP)

rust: $(READY)  ## Format, lint and test native/, where cargo is
	@if test -e $(NATIVE_STAMP); then $(MAKE) --no-print-directory check-rust; else echo "native/ is not checked: it was not built"; fi

check-rust:
	cd native && cargo fmt --check
	cd native && cargo clippy --locked --quiet --all-targets -- -D warnings
	cd native && cargo test --locked --quiet --no-default-features

check: format lint types contracts rust unit  ## Format, lint, types, import contracts, native/, unit tests: about a minute

format: $(STAMP)
	$(BIN)/ruff format --check service tests deploy native benchmarks

lint: $(STAMP)
	$(BIN)/ruff check service tests deploy native benchmarks

types: $(STAMP)
	$(BIN)/mypy

contracts: $(STAMP)
	$(BIN)/lint-imports --no-cache

unit: $(READY)
	$(BIN)/pytest -q -m "not thorough" tests/unit tests/property

test: $(READY) $(DEPLOY_TOOLS) $(SPARK) $(if $(SPARK),spark-dist) $(SERVICES_READY) wheels  ## Every test: unit, property, contract, conformance, shell, deploy, Spark
	$(BIN)/pytest -q

# As a user has it: both wheels in an environment that knows neither the sources nor cargo. tests/deploy/test_wheels.py uses it.
WHEELS := $(VENV)/installed
wheels: $(READY) $(WHEELS)/.dependencies  ## Build both wheels, and install them into an environment of their own
	@rm -f $(VENV)/wheels/headsaw-*.whl
	@$(BIN)/python -m hatchling build --target wheel --directory $(VENV)/wheels > /dev/null
	@$(PYTHON) -m pip --python $(WHEELS)/bin/python uninstall --quiet --yes headsaw headsaw-native 2> /dev/null
	@$(PYTHON) -m pip --python $(WHEELS)/bin/python install --quiet --disable-pip-version-check --no-index --no-deps $(VENV)/wheels/headsaw-*.whl \
		$$(test -e $(NATIVE_STAMP) && echo $(VENV)/wheels/headsaw_native-*.whl)

$(WHEELS)/.dependencies: requirements/run.txt | $(STAMP)
	@test -x $(WHEELS)/bin/python || $(PYTHON) -m venv --without-pip $(WHEELS)
	@$(PYTHON) -m pip --python $(WHEELS)/bin/python install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

conformance: $(READY)  ## Every line of the adversarial and published corpora is accounted for, and every value comes back
	$(BIN)/pytest -q tests/conformance

# Other NDJSON readers, at what was newest when they were installed; remove the folder to renew them.
PEERS := $(VENV)/peers
$(PEERS)/.installed: | $(STAMP)
	@test -x $(@D)/bin/python || $(PYTHON) -m venv --without-pip $(@D)
	@echo "Installing other NDJSON readers into $(@D) (a minute, once) ..."
	@$(PYTHON) -m pip --python $(@D)/bin/python install --quiet --disable-pip-version-check --upgrade pyarrow polars duckdb chdb datafusion zstandard
	@touch $@

conformance-peers: $(READY) $(PEERS)/.installed  ## The same table for other NDJSON readers, at their newest, into docs/conformance.md
	$(BIN)/python -m tests.conformance.peers --python $(PEERS)/bin/python --write docs/conformance.md

FUZZ := $(VENV)/fuzz
FUZZ_CORPUS := native/fuzz/corpus/parse
FUZZ_LIMITS = -dict=$(CURDIR)/native/fuzz/dictionary -max_len=2048 -timeout=10 -rss_limit_mb=2048 -max_total_time=$(SECONDS)
SECONDS ?= 60
fuzz-tools: $(STAMP)
	@test -x $(FUZZ)/bin/python || $(PYTHON) -m venv --without-pip $(FUZZ)
	@$(PYTHON) -m pip --python $(FUZZ)/bin/python install --quiet --require-hashes -r requirements/dev.txt
	@$(PYTHON) -m pip --python $(FUZZ)/bin/python install --quiet atheris

fuzz: fuzz-tools  ## Fuzz the whole conversion for SECONDS (60)
	PYTHONPATH=service $(FUZZ)/bin/python -m tests.conformance.fuzz -max_total_time=$(SECONDS)

# No sanitizer: the parser's only unsafe code is checked loads, overflow panics in this build, and any toolchain can make it.
fuzz-native:  ## Fuzz the native parser for SECONDS (60); another JSON reader is its judge
	@command -v cargo-fuzz > /dev/null || cargo install --quiet --locked cargo-fuzz
	@mkdir -p $(FUZZ_CORPUS)
	cd native && cargo fuzz run --sanitizer none parse fuzz/corpus/parse fuzz/seeds -- $(FUZZ_LIMITS)

fuzz-differential: $(READY) fuzz-tools  ## Both parsers on what fuzz-native found, and on new inputs for SECONDS (60)
	@$(PYTHON) -m pip --python $(FUZZ)/bin/python install --quiet --no-index --no-deps --force-reinstall $(VENV)/wheels/headsaw_native-*.whl
	@mkdir -p $(FUZZ_CORPUS) native/fuzz/artifacts
	$(BIN)/python -m tests.property.differential $(FUZZ_CORPUS) native/fuzz/seeds
	PYTHONPATH=service $(FUZZ)/bin/python -m tests.conformance.fuzz_differential $(FUZZ_CORPUS) native/fuzz/seeds -artifact_prefix=native/fuzz/artifacts/ $(FUZZ_LIMITS)

DOCUMENTS ?= 100000
differential: $(READY)  ## Both parsers on DOCUMENTS (100000) random documents, from SEED if one is given
	$(BIN)/python -m tests.property.documents $(DOCUMENTS) $(SEED)

deploy-tools: $(DEPLOY_TOOLS)  ## What tests/deploy runs: kubectl, validators and linters, in an environment of their own

$(DEPLOY_TOOLS): requirements/deploy.txt | $(STAMP)
	@test -x $(@D)/bin/python || $(PYTHON) -m venv --without-pip $(@D)
	@$(PYTHON) -m pip --python $(@D)/bin/python install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

spark: $(READY) $(SPARK_STAMP)  ## The environment of local Spark runs: pyspark, and everything that is in .venv
	@command -v java > /dev/null || { echo "Spark needs Java, which isn't on the PATH: install version 17 (Debian: openjdk-17-jre-headless)"; exit 1; }

# What .venv has is seen through a link, so both are always of one version, the native parser too.
$(SPARK_STAMP): requirements/spark.txt | $(STAMP)
	@test -x $(@D)/bin/python || $(PYTHON) -m venv --without-pip $(@D)
	@echo "Installing Spark into $(@D) (half a minute, once) ..."
	@$(PYTHON) -m pip --python $(@D)/bin/python install --quiet --disable-pip-version-check --require-hashes -r $<
	@echo "import os, site, sys; site.addsitedir(site.getsitepackages([os.path.dirname(sys.prefix)])[0])" \
		> $$($(@D)/bin/python -c 'import site; print(site.getsitepackages()[0])')/headsaw.pth
	@$(@D)/bin/python -c 'import headsaw.convert, pyspark'
	@touch $@

# SPARK_DIST_PYTHON goes into EMR's archive: a Python 3.11 that was built for systems as old as Amazon Linux 2023.
SPARK_DIST_PYTHON ?= $(BIN)/python
SPARK_DIST := dist/spark
spark-dist: $(READY)  ## What Glue and EMR need: job script, zip of wheels, Python environment; into dist/spark
	@mkdir -p $(SPARK_DIST) && rm -f $(SPARK_DIST)/*.whl
	@$(BIN)/python -m hatchling build --target wheel --directory $(SPARK_DIST) > /dev/null
	@if test -e $(NATIVE_STAMP); then native/lock.sh restore && $(BIN)/maturin build --quiet --release --locked -m native/Cargo.toml -i $(BIN)/python -o $(SPARK_DIST); fi
	@$(BIN)/python deploy/spark/build.py --pip $(PYTHON) --python $(SPARK_DIST_PYTHON) --cache $(VENV)/spark-wheels --requirements requirements/run.txt --output $(SPARK_DIST)

services: $(SERVICES_READY)  ## Local implementations of AWS's services that tests/contract runs over

$(SERVICES)/.installed: requirements/services.txt | $(STAMP)
	@test -x $(@D)/bin/python || $(PYTHON) -m venv --without-pip $(@D)
	@echo "Installing SeaweedFS and moto into $(@D) (once) ..."
	@$(PYTHON) -m pip --python $(@D)/bin/python install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(SERVICES)/%/.installed: tests/contract/services/install.sh tests/contract/services/%/pom.xml tests/contract/services/%/SHA256SUMS | $(STAMP)
	@echo "Installing $* into $(@D) (once) ..."
	@tests/contract/services/install.sh $* $(@D)

RACES ?= 200
contracts-real: $(READY) $(SERVICES_READY)  ## The contract suites over every implementation, and RACES=200 rounds of 50 concurrent claims over each ledger
	RACES=$(RACES) $(BIN)/pytest -q tests/contract

image: $(READY)  ## Build the image, run it hardened, and check it
	deploy/image/build-and-run.sh

demo: $(READY) $(if $(SPARK_OVER),spark)  ## The whole service on this machine: generated events, an embedded AWS, real workers, an audit; SPARK_OVER=5MB
	$(BIN)/headsaw demo $(if $(SPARK_OVER),--spark-over $(SPARK_OVER))

SEEDS ?= 1000
START ?= 0
simulate: $(STAMP)  ## Worlds of faults in virtual time, guarantees G1-G6 checked in each: SEEDS=1000, from START=0 on
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --start $(START)

MINUTES ?= 10
WORKERS ?= 4
LEASE ?= 5
chaos: $(READY)  ## Real workers, killed and paused, behind a proxy that fails as AWS does: MINUTES=10 WORKERS=4 LEASE=5 SEED=n
	@$(BIN)/python -m tests.chaos --minutes $(MINUTES) --workers $(WORKERS) --lease $(LEASE) $(if $(SEED),--seed $(SEED))

ROUNDS ?= 3
SIZE_MB ?= 128
bench: $(READY) $(PEERS)/.installed  ## NDJSON to Parquet by Headsaw and by others: ROUNDS=3 SIZE_MB=128 ONLY=flat,nested,gharchive,sparse,scaling WRITE=docs/benchmarks.md
	@$(BIN)/python -m benchmarks --python $(PEERS)/bin/python --rounds $(ROUNDS) --size-mb $(SIZE_MB) $(if $(ONLY),--only $(ONLY)) $(if $(TOOLS),--tools "$(TOOLS)") $(if $(WRITE),--write $(WRITE))

bench-decode: $(PEERS)/.installed  ## How fast gzip libraries inflate
	@$(PYTHON) -m pip --python $(PEERS)/bin/python install --quiet --disable-pip-version-check isal zlib-ng deflate
	@$(PEERS)/bin/python -m benchmarks.decode --size-mb $(SIZE_MB)

GB ?= 1
FILE_GB ?= 1
bench-spark: $(READY) $(SPARK_STAMP)  ## The delegated job against spark.read.json, on local Spark with two cores: GB=1 FILE_GB=1 ROUNDS=3 WRITE=docs/benchmarks.md (needs Java)
	@$(BIN)/python -m benchmarks.spark --packages "$$(echo $(VENV)/spark/lib/python*/site-packages)" --gb $(GB) --file-gb $(FILE_GB) --rounds $(ROUNDS) $(if $(WRITE),--write $(WRITE))

bench-e2e: $(READY)  ## One worker, 10,000 files of 10 KB: files a second, CPU and requests a file
	$(BIN)/headsaw bench-e2e

lock: $(STAMP)  ## Rewrite the requirements locks (needs uv) and native/locked.toml (needs cargo)
	uv pip compile pyproject.toml --extra dev --generate-hashes --no-emit-index-url --universal --python-version 3.11 --no-header -q -o requirements/dev.txt
	uv pip compile pyproject.toml --generate-hashes --no-emit-index-url --universal --python-version 3.11 --no-header -q -o requirements/run.txt
	uv pip compile requirements/emulator.in --generate-hashes --no-emit-index-url --universal --python-version 3.11 --no-header -q -o $(EMULATOR_LOCK)
	for name in deploy deploy-build native-build services spark; do uv pip compile requirements/$$name.in --generate-hashes --no-emit-index-url --universal --python-version 3.11 --no-header -q -o requirements/$$name.txt; done
	native/lock.sh update

clean:
	rm -rf $(VENV) native/target dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
