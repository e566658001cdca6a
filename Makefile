# The two commands of a newcomer are `make quickstart` and `make test`; both set everything up in .venv first.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: quickstart install test test-slow lint format generated clean

quickstart: install
	snakemake report
	@echo "the report: $(CURDIR)/results/report.html"

install: .venv/installed

# setuptools comes from the lock too, so that nothing is fetched besides it
.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	pip install --quiet --disable-pip-version-check -r requirements.lock
	pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# lint and the fast tests, in under 15 minutes on two cores: two processes with a thread each
test: install lint
	OMP_NUM_THREADS=1 pytest -m "not slow" --durations 10 --numprocesses 2

# minutes each: the quickstart from a fresh clone, two dozen kills, real data, with clusters beside them. Two trainings on
# the same two cores take five times as long as one where threads that wait for each other spin, and twice where not.
test-slow: install
	OMP_WAIT_POLICY=passive pytest -m slow --durations 10 --numprocesses 2 -vv

lint: install
	ruff check
	ruff format --check
	snakefmt --check Snakefile workflow
	snakemake --lint

format: install
	ruff check --fix
	ruff format
	snakefmt Snakefile workflow

# the files that are made from the pydantic models; a test holds them against the models
generated: install
	trm schema config > workflow/schemas/config.schema.json
	trm schema experiment > workflow/schemas/experiment.schema.json
	sed -i '/^## All keys/q' config/README.md && echo >> config/README.md && trm schema keys >> config/README.md

# everything made here but the results
clean:
	rm -rf .venv .snakemake .pytest_cache .ruff_cache .hypothesis build src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
