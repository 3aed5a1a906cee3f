# Two commands matter: `make demo` runs the main job on real input, `make test` checks everything.
# Both set themselves up in .venv from Python 3.11+ and the package registry. `make test` also fetches PyTorch, and
# needs Chromium on PATH; where that is missing, it installs it with apt-get, if it is root.

PYTHON ?= python3
TORCH  ?= torch==2.13.0
BIN    := .venv/bin
PROTO := src/cutwater/api/grpc
BENCHMARKS := blobs codecs dataplane memory pipeline planner prediction split_peers
CUTWATER_CACHE ?= $(CURDIR)/.cache
export CUTWATER_CACHE

.DEFAULT_GOAL := help
.PHONY: help demo test lint unit bed bench docs pictures screenshots proto lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.demo ## Kill a node of a cluster that answers for a real model; writes demo/index.html
	$(BIN)/cutwater demo --out demo

test: lint unit ## Lint, type-check, check the floors and run the tests, but those of bed

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Side by side, file by file; then, alone, what says how fast something is or uses what the machine has once.
unit: .venv/.test .venv/.torch
	$(BIN)/pytest -m "not alone and not bed" --numprocesses auto --dist loadfile --no-loadscope-reorder
	$(BIN)/pytest -m "alone and not bed"

bed: .venv/.test ## Cut a node off in network namespaces, and prove a plan on slow links (Linux, as root)
	$(BIN)/pytest -m bed
	$(BIN)/python benchmarks/three_links.py

bench: .venv/.bench ## Run those that BENCHMARKS names (interleaved, ratios); takes long
	for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py || exit 1; done

docs: .venv/.demo ## Write the pages that are made from the source: docs/settings.md
	$(BIN)/python -m cutwater.settings.table > docs/settings.md

pictures: .venv/.demo ## Draw the pictures of the readme anew
	$(BIN)/cutwater model make efficientnet-lite0
	$(BIN)/cutwater model show $(CUTWATER_CACHE)/efficientnet-lite0.onnx --cut "after blocks.7" --cut "after blocks.11" \
	  --svg docs/pictures/chain.svg
	$(BIN)/cutwater demo --out demo
	cp demo/throughput.svg docs/pictures/kill.svg

# Its descriptors are kept apart from the process's own, where a client's copies of the same messages may lie.
proto: .venv/.test ## Write the messages of gRPC anew from their definition
	cd $(PROTO) && ../../../../$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. inference.proto
	sed -i 's/_descriptor_pool.Default()/_descriptor_pool.DescriptorPool()/' $(PROTO)/inference_pb2.py

screenshots: .venv/.test ## Take the pictures of the dashboard anew, in a browser
	$(BIN)/python tests/dashboard/screenshots.py docs/pictures

lock: .venv/.uv ## Renew requirements/*.txt from pyproject.toml
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
	  pyproject.toml -o requirements/demo.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
	  pyproject.toml --extra video --group dev -o requirements/test.txt

clean: ## Remove everything the other targets made, the downloads included
	rm -rf .venv .cache demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Stamps: each is the time at which one set of packages was installed.
.venv/.uv:
	$(PYTHON) -c 'import sys; sys.exit("Cutwater needs Python 3.11 or newer; try: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check "uv>=0.5"
	touch $@

.venv/.demo: .venv/.uv requirements/demo.txt pyproject.toml
	$(BIN)/uv pip install -q --require-hashes -r requirements/demo.txt
	$(BIN)/uv pip install -q --no-deps -e .
	touch $@

.venv/.test: .venv/.demo requirements/test.txt
	$(BIN)/uv pip install -q --require-hashes -r requirements/test.txt
	touch $@

# The exporter's tests need PyTorch; pip, unlike uv, also looks where the machine's own configuration points.
.venv/.torch: .venv/.test
	$(BIN)/python -m pip install -q --disable-pip-version-check "$(TORCH)"
	touch $@

.venv/.bench: .venv/.torch
	$(BIN)/uv pip install -q --group bench
	touch $@
