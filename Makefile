# Every target sets up what it needs in .venv. PYTHON may name another interpreter, 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: venv test test-slow check demo bench fuzz proof-dicom proof-resume proof-export

venv: $(READY)

# torch comes first and pinned, so that no later request picks another build of it.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "thoar needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# Two workers of one thread each; files stay whole, so that what a file's tests share is made once.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests src --doctest-modules -n 2 --dist loadfile

test-slow: $(READY)
	$(BIN)/python -m pytest tests -m slow

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

demo: $(READY)
	$(BIN)/python scripts/demo.py

# The benchmarks' short modes: they show that the scripts work, not how good anything is.
bench: $(READY)
	$(BIN)/thoar phantom runs/bench/heldout --cases 3 --seed 990317 --overwrite
	test -d runs/bench/sample || $(BIN)/thoar sample runs/bench/sample
	$(BIN)/python benchmarks/real_scans.py thorax --sample runs/bench/sample --phantoms runs/bench/heldout --short -o runs/bench/real_scans.json
	$(BIN)/python benchmarks/ablations.py runs/bench/ablations --seeds 0 --set train.coarse_epochs=1 --set train.joint_epochs=1 --set train.cases_per_epoch=3 -o runs/bench
	$(BIN)/python benchmarks/training_speed.py runs/bench/speed --short --steps 2 --threads 1
	$(BIN)/python benchmarks/inference.py runs/bench/inference --short --threads 1

# Spoilt DICOM through every reader; files that show a defect are kept in runs/fuzz.
fuzz: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python proofs/fuzz_dicom.py --files 100000

# What we promise of DICOM, measured: prints the tables, and writes the page if everything is as promised.
proof-dicom: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m proofs.dicom.report --page docs/explanation/dicom-promise.md

# A hundred kills of training runs, which must all end with the same bits; takes about four minutes.
proof-resume: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python proofs/resume.py --kills 100

# An exported model in an environment of its own, with numpy and ONNX Runtime alone; needs pip.
proof-export: $(READY)
	$(BIN)/python scripts/check_export.py runs/export
