# make demo: a trained, evaluated and exported network from nothing. make lint: ruff, mypy, codespell, clang-format.
# make test: the test suite without the long tests; make test-fast: without the slow ones too; make test-all: all tests.
# make docs: the documentation as a site in build/site.
# make wheel, make sdist: a wheel for all GPUs that nvcc knows, and the source archive, in dist/. make release-check: builds
# both twice, compares, and tries them (docs/release.md). make test-lowest: the oldest dependencies. make test-asan: the native libraries' tests under AddressSanitizer.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
NATIVE := setup.py $(shell find csrc -name '*.h' -o -name '*.inc' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')
CSRC := git ls-files -z 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.cu' 'csrc/*.cuh'
# Processes that run tests; 0: none but make's own.
JOBS ?= 2
ASAN := $(CURDIR)/build/asan
NATIVE_TESTS := tests/ops tests/data/test_grids.py tests/data/test_regions.py tests/pooling/test_pooling_methods.py

# One thread in each process: two processes with two threads each would wait for each other. Bytecode is kept, which some
# environments switch off: pytest takes 7 s to rewrite the assertions of all tests.
PYTEST = OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(PY) -m pytest -n $(JOBS) --dist worksteal

.PHONY: demo test test-fast test-long test-all test-lowest docs wheel sdist release-check test-asan lint format install clean

install: $(INSTALLED)

# torch first and alone: the extension is built against it, without build isolation, so that no second torch comes in.
$(INSTALLED): pyproject.toml constraints.txt $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit("videopool needs Python 3.11 or newer, this is %d.%d; name one with make PYTHON=python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo "installing into $(VENV): torch and what videopool needs, then its kernels; this takes some minutes"
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools wheel ninja torch
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[train,study,onnx,dev,docs]'
	@$(PY) -c 'import videopool.ops as ops; print("installed; SoftPool kernels:", ops.backend())'
	@touch $@

demo: $(INSTALLED)
	$(VENV)/bin/videopool demo

test: $(INSTALLED)
	$(PYTEST) -m "not long"

test-fast: $(INSTALLED)
	$(PYTEST) -m "not slow and not long"

# Runs of several processes, and exports of large graphs.
test-long: $(INSTALLED)
	$(PYTEST) -m long

test-all: $(INSTALLED)
	$(PYTEST)

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

test-lowest: $(INSTALLED)
	.ci/lowest

# The time of the last commit is the date of all files in archives, so that builds of one commit are identical.
EPOCH = SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2> /dev/null || echo 1704067200)}

wheel: $(INSTALLED)
	$(EPOCH) VIDEOPOOL_CUDA_ARCHS=all $(PY) -m pip wheel --quiet --no-build-isolation --no-deps -w dist .

sdist: $(INSTALLED)
	$(EPOCH) $(PY) setup.py --quiet sdist --formats gztar --dist-dir dist

release-check: $(INSTALLED)
	.ci/release

runtime = $$($${CXX:-g++} -print-file-name=$(1))
# A copy of the package with sanitized libraries; the normal ones stay where they are. --capture=sys shows the report.
test-asan: $(INSTALLED)
	rm -rf $(ASAN)
	mkdir -p $(ASAN)
	cp -r videopool $(ASAN)
	rm -f $(ASAN)/videopool/ops/*.so
	VIDEOPOOL_SANITIZE=address VIDEOPOOL_BUILD=cpu $(PY) setup.py build_ext --build-lib $(ASAN)
	LD_PRELOAD="$(call runtime,libasan.so):$(call runtime,libstdc++.so)" ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=$(ASAN) \
	  $(PY) -m pytest --capture=sys -o "pythonpath=$(ASAN) ." $(NATIVE_TESTS)

lint: $(INSTALLED)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	git ls-files -z | xargs -0 $(VENV)/bin/codespell
	$(CSRC) | xargs -0 $(VENV)/bin/clang-format --dry-run -Werror

format: $(INSTALLED)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .
	$(CSRC) | xargs -0 $(VENV)/bin/clang-format -i

clean:
	rm -rf $(VENV) build *.egg-info videopool/ops/*.so runs/demo
