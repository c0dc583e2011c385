# Each target installs what it needs first; later runs find it installed and start within seconds.

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/ready
PROFILE ?=
DATA ?=
QUICK ?=
DURATION ?= 300
SEED ?=
CALLS ?= 5000
JOBS ?= 2

.PHONY: help demo run call test check ruff docs pictures bench chaos cluster soak clean

help:
	@echo "make demo             place one call through a real Asterisk; record, store and mail it; show the result"
	@echo "make run              start voxrec with Asterisk, a phone and a mailbox to experiment with; Ctrl-C stops them"
	@echo "make run DATA=DIR     the same with the data of an earlier run, such as that of 'make demo' in demo/"
	@echo "make call PROFILE=ID  place a test call to a Profile while 'make run' is running"
	@echo "make test             run ruff, mypy, and the live and unit tests on JOBS=2 processors"
	@echo "make test PACKAGE=..  run the tests of one package, module, class or method: PACKAGE=tests.web"
	@echo "make check            run ruff and mypy only"
	@echo "make ruff             run ruff only"
	@echo "make docs             build the documentation into docs/_build/html; broken references are errors"
	@echo "make pictures         take the pictures of the console in docs/pictures"
	@echo "make bench            run the benchmarks and write bench/RESULTS.md; QUICK=1 runs one round of each"
	@echo "make chaos            place calls while components fail; DURATION=seconds, SEED=number repeats a run"
	@echo "make cluster          the same with three nodes behind Kamailio and a PostgreSQL with a standby"
	@echo "make soak             place CALLS=5000 short calls and check that no resource leaks"
	@echo "make clean            remove everything that the other targets created in this directory"

demo: $(READY)
	@$(VENV)/bin/python -m voxrec.sandbox.demo

run: $(READY)
	@exec $(VENV)/bin/python -m voxrec.sandbox.run $(DATA)

call: $(READY)
	@$(VENV)/bin/python -m voxrec.sandbox.call "$(PROFILE)"

ruff: $(READY)
	@echo "== ruff"
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .

check: ruff
	@echo "== mypy"
	@$(VENV)/bin/mypy

ifdef PACKAGE
test: $(READY)
	@$(VENV)/bin/trial --temp-directory=.trial $(PACKAGE)
else
# mypy is part of tests.run
test: ruff
	@$(VENV)/bin/python -m voxrec.sandbox.rootfs asterisk-22 asterisk-16 kamailio chromium
	@$(VENV)/bin/python -m tests.run --jobs "$(JOBS)"
endif

docs: $(READY)
	@$(VENV)/bin/python -m sphinx --fail-on-warning --keep-going --nitpicky --quiet docs docs/_build/html
	@echo "docs/_build/html/index.html"

pictures: $(READY)
	@$(VENV)/bin/trial --temp-directory=.trial tests.browser.pictures

bench: $(READY)
	@$(VENV)/bin/python -m bench $(if $(QUICK),--quick)

chaos: $(READY)
	@$(VENV)/bin/python -m voxrec.sandbox.chaos --duration "$(DURATION)" $(if $(SEED),--seed "$(SEED)")

cluster: $(READY)
	@$(VENV)/bin/python -m voxrec.sandbox.chaos.cluster --duration "$(DURATION)" $(if $(SEED),--seed "$(SEED)")

soak: $(READY)
	@$(VENV)/bin/python -m voxrec.sandbox.chaos.soak --calls "$(CALLS)"

$(READY): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "== Installing Python and its venv module with apt-get"; \
			apt-get -q update && DEBIAN_FRONTEND=noninteractive \
				apt-get -q -y --no-install-recommends install python3 python3-venv; \
		else \
			echo "voxrec needs Python 3.11 or later with the venv module: apt install python3-venv" >&2; exit 1; \
		fi; }
	@echo "== Installing the dependencies from setup.cfg into $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@# compat mode puts the checkout itself on sys.path, where Twisted finds its plugin
	@# not all dependencies have a wheel or a pyproject.toml: older versions of pip warn without use-pep517
	@$(VENV)/bin/pip --disable-pip-version-check install --progress-bar off --use-pep517 \
		--config-settings editable_mode=compat --editable '.[dev]' \
		| sed --unbuffered -nE 's/^(Collecting [^ ]+|Successfully installed).*/   \1/p'
	@$(VENV)/bin/voxrec --version
	@touch $@

clean:
	rm -rf $(VENV) .trial demo run build dist docs/_build docs/_generated *.egg-info .mypy_cache .ruff_cache .hypothesis
