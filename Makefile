# Needs Python >= 3.11, make and a C library; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

JOBS ?= 2
BRANCHES := cached networks experts aligned studies

.PHONY: env lock repro test acceptance lint docs $(BRANCHES)

env: .venv/.installed

.venv/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "aigid needs Python >= 3.11, found " + sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	$(BIN)/aigid weights fetch clip_vit_b16_int8 efficientnet_lite0
	touch $@

lock:  ## resolve the dependencies of pyproject.toml anew
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade \
	    --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet --output-file requirements.lock

# Branches of the pipeline that meet only where it begins and ends, each a list of its stages in their order.
detectors = $(shell sed -n 's/^ *\([a-z0-9_]*\): {<<: [*]$(1),.*/\1/p' dvc.yaml)
each = $(foreach stage,$(1),$(addprefix $(stage)@,$(2)))
detect = $(call each,train score evaluate,$(1))
cached: STAGES = extract train_gendet_teacher $(call detect,$(call detectors,embeddings)) controls cross \
    $(call each,evaluate,control_shallow control_shuffled control_noise control_container)
networks: STAGES = vae $(call detect,$(filter-out featdistill,$(call detectors,images)))
experts: STAGES = train_featdistill_stage1 train_featdistill_stage2 $(call detect,featdistill) compare_featdistill
aligned: STAGES = align train_sef embed_sef fuse_sef score@sef evaluate@sef compare_sef audit
studies: STAGES = draw_gendet perturb
studies: cached networks

repro: env  ## what `dvc repro` alone does too, one stage after the other
	$(BIN)/python -m aigid.core.params
	$(BIN)/dvc repro describe
	$(MAKE) --jobs=$(JOBS) $(BRANCHES)
	$(BIN)/dvc repro

$(BRANCHES):
	$(BIN)/dvc --wait-for-lock repro --single-item $(STAGES)

PYTEST = sh stages/python -m pytest --numprocesses=$(JOBS) --dist=loadfile --no-loadscope-reorder

test: env
	OMP_NUM_THREADS=1 $(PYTEST)

acceptance: env  ## what wants a finished `make repro`, or takes long, and tests of the tests
	$(PYTEST) -m "acceptance or slow"
	sh stages/python -m tests.mutants

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

docs: env  ## the documentation, into site/; its tools are the extra docs of pyproject.toml
	$(BIN)/python -c 'import mkdocs' 2>/dev/null || $(BIN)/uv pip install --quiet --python $(BIN)/python --requirement pyproject.toml --extra docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
