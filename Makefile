# Everything goes into .venv; nothing else is needed than python3 >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo

.PHONY: setup demo web test test-all test-web bench bench-gpu lint format types clean

setup: $(VENV)/.installed

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"lentigo needs Python 3.11 or newer, found {sys.version.split()[0]}; set PYTHON=python3.12 or the like")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[train,fetch,tune,web]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.created pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.installed

demo: setup
	$(BIN)/lentigo compare --out $(DEMO)
	$(BIN)/lentigo export $(DEMO)/runs/vgg11 --out $(DEMO)/model

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not web"

test-all: web $(VENV)/.installed-dev
	$(BIN)/python -m pytest

# The page for the phone: needs node 20.19 or newer and npm; its tests also Debian's chromium.
WEB := src/lentigo/deploy/web
WEB_SOURCES := $(shell find web -name node_modules -prune -o -type f -print)

web: $(WEB)/index.html

# Exactly what package-lock.json names, by its sums; after a change of package.json: cd web && npm run lock
web/node_modules/.installed: web/package.json web/package-lock.json web/.npmrc
	cd web && npm ci --no-audit --no-fund
	@touch $@

$(WEB)/index.html: web/node_modules/.installed $(WEB_SOURCES)
	cd web && npm run --silent types && npm run --silent build

test-web: web $(VENV)/.installed-dev
	LENTIGO_WEB_REQUIRED=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m web tests/web

# make bench DATA=../shared/data/kaggle10605; without DATA on drawn lesions
bench: $(VENV)/.installed-dev
	OMP_NUM_THREADS=2 $(BIN)/python benchmarks/duplicates.py $(DATA)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/coverage.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/calibration_error.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/delong.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/lesion_masks.py
	$(if $(DATA),OMP_NUM_THREADS=2 $(BIN)/python benchmarks/plain_loop.py $(DATA) --batches 25 --networks tiny_vgg)
	$(if $(DATA),OMP_NUM_THREADS=1 $(BIN)/python benchmarks/input_pipeline.py $(DATA))
	$(if $(DATA),OMP_NUM_THREADS=1 $(BIN)/python benchmarks/training_scale.py $(DATA))
	$(BIN)/python benchmarks/start_up.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/fuzz_images.py --workers 1
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/kill.py
	OMP_NUM_THREADS=2 $(BIN)/python benchmarks/cam.py --images 128 --vgg11-images 64
	$(BIN)/python benchmarks/single_image.py
	$(if $(DATA),OMP_NUM_THREADS=1 $(BIN)/python benchmarks/quality.py $(dir $(DATA)))
	$(if $(wildcard $(DEMO)/model),$(BIN)/python benchmarks/malformed_uploads.py $(DEMO)/model/model.onnx)
	$(if $(wildcard $(DEMO)/model),$(BIN)/python benchmarks/serve_load.py $(DEMO)/model/model.onnx)
	$(if $(wildcard $(DEMO)/model),$(BIN)/python benchmarks/page.py $(DEMO)/model)

# make bench-gpu DATA=../shared/data/kaggle10605; without a GPU, or without DATA, a dry run on drawn lesions
bench-gpu: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/gpu.py $(DATA)
	$(if $(DATA),$(BIN)/python benchmarks/determinism.py $(DATA))

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(DEMO) $(WEB) web/node_modules build dist *.egg-info src/*.egg-info
