# Every command does all of its own set-up; a second run takes seconds for it.

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/ready
PROFILE ?=
QUICK ?=
DURATION ?= 300
SEED ?=
CALLS ?= 5000

.PHONY: help demo run call test check bench chaos soak clean

help:
	@echo "make demo             a real call, recorded, stored and mailed, on parts that it sets up itself"
	@echo "make run              the same parts, to play with: Ctrl-C ends them"
	@echo "make call PROFILE=ID  place a test call while 'make run' runs"
	@echo "make test             ruff, mypy, unit tests and live tests"
	@echo "make bench            what calls, lists and REST cost against other programs, into bench/RESULTS.md: QUICK=1 for one round"
	@echo "make chaos            calls while all that can break breaks: DURATION=300 seconds, SEED= to have a run again"
	@echo "make soak             CALLS=5000 short calls, and whether everything ends where it began"
	@echo "make clean            remove what the above made in this directory"

demo: $(READY)
	@$(VENV)/bin/python -m voxrec.sandbox.demo

run: $(READY)
	@exec $(VENV)/bin/python -m voxrec.sandbox.run

call: $(READY)
	@$(VENV)/bin/python -m voxrec.sandbox.call "$(PROFILE)"

check: $(READY)
	@echo "== ruff"
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@echo "== mypy"
	@$(VENV)/bin/mypy

test: check
	@$(VENV)/bin/python -m voxrec.sandbox.rootfs asterisk-22 asterisk-16
	@echo "== trial"
	@$(VENV)/bin/trial --temp-directory=.trial tests

bench: $(READY)
	@$(VENV)/bin/python -m bench $(if $(QUICK),--quick)

chaos: $(READY)
	@$(VENV)/bin/python -m voxrec.sandbox.chaos --duration "$(DURATION)" $(if $(SEED),--seed "$(SEED)")

soak: $(READY)
	@$(VENV)/bin/python -m voxrec.sandbox.chaos.soak --calls "$(CALLS)"

$(READY): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "== Python with its venv module, from Debian"; \
			apt-get -q update && DEBIAN_FRONTEND=noninteractive \
				apt-get -q -y --no-install-recommends install python3 python3-venv; \
		else \
			echo "voxrec needs Python 3.11 or later with its venv module: apt install python3-venv" >&2; exit 1; \
		fi; }
	@echo "== Python environment in $(VENV): what setup.cfg names, from the package index of this machine"
	@$(PYTHON) -m venv $(VENV)
	@# compat: the checkout itself goes on the path, where Twisted looks for plugins
	@$(VENV)/bin/pip --disable-pip-version-check install --progress-bar off \
		--config-settings editable_mode=compat --editable '.[dev]' \
		| sed -nE 's/^(Collecting [^ ]+|Successfully installed).*/   \1/p'
	@$(VENV)/bin/voxrec --version
	@touch $@

clean:
	rm -rf $(VENV) .trial demo run build *.egg-info .mypy_cache .ruff_cache .hypothesis
