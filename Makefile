# DimeRec Serve: `make demo` shows it, `make test` proves it, `make` lists the rest.

PYTHON ?= python3
TORCH_INDEX ?=
EXTRA ?= cpu
PORT ?= 8000
REDIS ?=
DETACH ?=
WORKERS ?= 2
SHARED ?= ../shared/data
DATA ?=
MODELS ?=
CONFIG ?=
SEEDS ?= 3
EPOCHS ?= 20
PARTS ?= all
ROUNDS ?= 5
QUICK ?=
DEVICE ?= cpu
ONLY ?=
MINUTES ?= 30

export PYTHON TORCH_INDEX

bin := .venv/bin
everything := .venv/installed-cpu,tracing,bench,dev
demo := $(bin)/dimerec demo --directory .demo --port $(PORT) $(if $(REDIS),--redis $(REDIS))
external := .quality/rectools-env
audit := .audit
ours := files model index bundle engine training service cli benchmarks tests

.PHONY: help install demo stop test smoke fuzz quick audit sbom format lint types documents containers load bench quality small-logs retrieval-stage external chaos soak training-speed training-memory clean
.DEFAULT_GOAL := help

help: ## list the targets and the variables
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{ printf "  make %-15s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  PYTHON=$(PYTHON)   the interpreter to make .venv with, 3.11 or newer'
	@echo '  EXTRA=$(EXTRA)        cpu or gpu: which FAISS is installed'
	@echo '  TORCH_INDEX=$(TORCH_INDEX)     package index that has the wanted build of torch, besides pip'"'"'s own'
	@echo '  PORT=$(PORT)        where demo serves and load asks'
	@echo '  REDIS=$(REDIS)           redis://host:port/db, to keep the histories of demo there'
	@echo '  DETACH=$(DETACH)          1: demo returns when it is ready, and goes on until `make stop`'
	@echo '  DATA=$(DATA)            quality: data sets, separated by commas; empty: all'
	@echo '  MODELS=$(MODELS)          quality: recommenders of `dimerec benchmark --list`; empty: all but ablations'
	@echo '  CONFIG=$(CONFIG)          quality: NAME=FILE, a training configuration beside MODELS, under that name'
	@echo '  SEEDS=$(SEEDS)          quality: fits of each recommender that is random'
	@echo '  EPOCHS=$(EPOCHS)         training-speed: epochs of each fit'
	@echo '  PARTS=$(PARTS)         bench: parts of `python -m benchmarks.serving --help`, separated by commas'
	@echo '  ROUNDS=$(ROUNDS)          bench: rounds, in which the sides take turns'
	@echo '  QUICK=$(QUICK)           bench: 1: a minute, ours and plain FastAPI, nothing is written'
	@echo '  DEVICE=$(DEVICE)        bench: cpu or cuda'
	@echo '  ONLY=$(ONLY)            chaos: faults of `python -m tests.chaos --list`, separated by commas; empty: all'
	@echo '  MINUTES=$(MINUTES)        soak: how long'
	@echo '  SHARED=$(SHARED)  quality: directory of the public data sets'

# A file per set of extras, so that pip runs again when a requirement changed and only then.
.venv/installed-%: pyproject.toml constraints.txt docker/install.sh
	docker/install.sh .venv --editable '.[$*]'
	@touch '$@'

$(external)/installed: benchmarks/external/requirements.txt
	$(PYTHON) -m venv --clear $(external)
	$(external)/bin/pip install --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
	    --requirement $<
	@touch '$@'

$(audit)/installed: docker/audit-requirements.txt
	$(PYTHON) -m venv --clear $(audit)
	$(audit)/bin/pip install --disable-pip-version-check --requirement $<
	@touch '$@'

install: .venv/installed-$(EXTRA) ## make .venv and install into it

demo: .venv/installed-$(EXTRA) ## from real data to POST /recommend on 127.0.0.1:PORT
ifneq ($(DETACH),)
	@$(bin)/python docker/detached.py start .demo $(PORT) $(demo)
else
	@$(demo)
endif

stop: ## end what `make demo DETACH=1` started
	@$(PYTHON) docker/detached.py stop .demo

test: lint types ## everything that proves it: lint, types, tests (with a real Redis and a browser)
	@sh tests/provide.sh
	OMP_NUM_THREADS=1 $(bin)/python -m pytest -n $(WORKERS) --dist loadscope

smoke: $(everything) ## what takes longer: property tests with more cases, every recommender and measurement once
	@sh tests/provide.sh
	OMP_NUM_THREADS=1 $(bin)/python -m pytest -n $(WORKERS) --dist loadscope -m "smoke or hypothesis" \
	    --hypothesis-profile smoke

fuzz: $(everything) ## every property test with 10,000 cases and more: bundles, logs, batcher, merge, stores, keys (hours)
	@sh tests/provide.sh
	OMP_NUM_THREADS=1 $(bin)/python -m pytest -n $(WORKERS) --dist loadscope -m hypothesis \
	    --hypothesis-profile long --timeout 7200

quick: lint types ## the two-minute loop: lint, types, the tests of what changed
	@changed=$$($(bin)/python tests/changed.py); [ -z "$$changed" ] || \
	    OMP_NUM_THREADS=1 $(bin)/python -m pytest -n $(WORKERS) --dist loadscope $$changed

audit: $(audit)/installed ## dangerous calls in the code (bandit), known faults of the dependencies (pip-audit)
	$(audit)/bin/bandit --quiet --recursive -ll $(filter-out tests,$(ours)) docker
	$(audit)/bin/python docker/audit.py $(audit)/bin

sbom: $(audit)/installed .venv/installed-$(EXTRA) ## sbom.json: what a release consists of (CycloneDX)
	$(audit)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o sbom.json $(bin)/python

format: $(everything) ## let ruff lay out the code and sort the imports
	$(bin)/ruff check --select I --fix
	$(bin)/ruff format

lint: $(everything) ## style
	$(bin)/ruff check
	$(bin)/ruff format --check

types: $(everything) ## mypy, strict
	$(bin)/mypy $(addprefix -p ,$(ours))
	$(bin)/mypy docker

documents: $(everything) ## make README's table and answer and the picture of the packages anew
	$(bin)/python -m benchmarks.documents

containers: ## build the image, bring Compose up from nothing, try what docs/operations.md says (minutes)
	$(PYTHON) docker/containers.py

load: .venv/installed-$(EXTRA),bench ## a minute of load on the demo that is running
	$(bin)/locust -f benchmarks/load/locustfile.py --config benchmarks/load/locust.conf --host http://127.0.0.1:$(PORT)

# The bundle, its run and its data, as `make demo` leaves them.
.demo/bundles/CURRENT: | .venv/installed-$(EXTRA)
	$(demo) --prepare-only

bench: .venv/installed-$(EXTRA),bench .demo/bundles/CURRENT ## the service beside its past and other servers, to docs/results
	@sh tests/provide.sh
	$(bin)/python -m benchmarks.serving --parts $(PARTS) --rounds $(ROUNDS) --device $(DEVICE) $(if $(QUICK),--quick)

quality: .venv/installed-$(EXTRA),bench ## every recommender on every public data set, to docs/results (days)
	OMP_WAIT_POLICY=PASSIVE $(bin)/python -m benchmarks.quality.quality --shared $(SHARED) --seeds $(SEEDS) \
	    $(if $(DATA),--data $(DATA)) $(if $(MODELS),--models $(MODELS)) \
	    $(if $(CONFIG),--config $(CONFIG))
	$(bin)/python -m benchmarks.quality.plots docs/results/quality.json docs/images

external: .venv/installed-$(EXTRA),bench $(external)/installed ## SASRec of RecTools on the data of quality (days)
	$(MAKE) quality MODELS=rectools-sasrec

small-logs: .venv/installed-$(EXTRA),bench ## DimeRec, ItemKNN and Popularity on three small logs, to docs/results (minutes)
	OMP_WAIT_POLICY=PASSIVE $(bin)/python -m benchmarks.quality.small_logs --shared $(SHARED) --seeds $(SEEDS)

retrieval-stage: .venv/installed-$(EXTRA),bench ## draws beside guidance, controls and baselines over sessions of DATA, to docs/results (hours)
	OMP_WAIT_POLICY=PASSIVE $(bin)/python -m benchmarks.quality.retrieval_stage --shared $(SHARED) --seeds $(SEEDS) \
	    --others sasrec,sasrec-ce,comirec-sa,itemknn,popularity $(if $(DATA),--data $(DATA))

chaos: $(everything) ## the service and Redis under load, one fault after another, to docs/results (minutes)
	@sh tests/provide.sh
	OMP_NUM_THREADS=1 $(bin)/python -m tests.chaos --only '$(ONLY)'

soak: $(everything) ## the service at 70 % for MINUTES: memory, descriptors and threads, to docs/results
	@sh tests/provide.sh
	OMP_NUM_THREADS=1 $(bin)/python -m tests.chaos.soak --minutes $(MINUTES)

training-speed: .venv/installed-$(EXTRA),bench $(external)/installed ## our SASRec beside that of RecTools (hours)
	OMP_WAIT_POLICY=PASSIVE $(bin)/python -m benchmarks.quality.training_speed --events $(SHARED)/amazon-beauty.parquet \
	    --epochs $(EPOCHS) --seeds $(SEEDS)

training-memory: .venv/installed-$(EXTRA),bench ## memory of training on a log and on ten times the log
	OMP_WAIT_POLICY=PASSIVE $(bin)/python -m benchmarks.quality.training_memory compare --events $(SHARED)/movielens-1m.parquet

clean: stop ## remove .venv, .demo and caches
	rm -rf .venv .audit .demo .mypy_cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
