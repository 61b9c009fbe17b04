# What a newcomer types. Needs make, git and Python 3.11 or newer; the rest comes from pip.
#
#   make test ARGS="tests.server -k upload --failfast"
#   make test PYTHON=python3.13 VENV=.venv-3.13 DJANGO="~=6.1.0"

PYTHON ?= python3
VENV ?= .venv
ADDRESS ?= 127.0.0.1:8000
# The releases of Django to install, as pip writes them ("~=5.2.0"); empty for any supported one.
DJANGO ?=
ARGS ?=
SCENARIO ?= trivial
PEER ?= django-daphne

bin := $(VENV)/bin
pip := $(bin)/python -m pip --disable-pip-version-check
django := $(if $(DJANGO),"django$(DJANGO)")
# An extra is installed once for each state of pyproject.toml: its stamp remembers.
stamp := $(VENV)/.installed

.PHONY: help demo test heavy compliance django-suites addons check format docs bench profile matrix ci clean
.DEFAULT_GOAL := help
# Half an environment would count as a whole one the next time.
.DELETE_ON_ERROR:

help: ## Print this list.
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' Makefile | expand -t 24

demo: $(stamp) ## Serve the example project at http://127.0.0.1:8000.
	$(bin)/python example_project/manage.py migrate --verbosity 0
	$(bin)/python example_project/manage.py runserver $(ADDRESS)

test: $(stamp)-test ## Run the tests; ARGS go to runtests.py.
	@bash .ci/programs
	$(bin)/python runtests.py $(ARGS)

heavy: $(stamp)-test ## Run the tests that take long or need a lot of memory.
	$(bin)/python runtests.py --tag heavy $(ARGS)

compliance: $(stamp)-test ## Run Autobahn's WebSocket test suite; it needs a Python 2.7.
	$(bin)/python -m tests.compliance.autobahn $(ARGS)

django-suites: $(stamp)-test ## Run Django's own tests with our handler in the place of Django's.
	$(bin)/python -m tests.django_suites $(ARGS)

addons: $(stamp)-test $(stamp)-addons ## Compare packages around Django under our handler and Django's.
	$(bin)/python runtests.py --tag addons $(ARGS)

check: $(stamp)-test $(stamp)-dev ## Lint, compare the layout and check the types.
	@status=0; for tool in "ruff check" "ruff format --check" mypy; do \
	    echo "$$tool"; $(bin)/$$tool || status=1; done; exit $$status

format: $(stamp)-dev ## Lay out the code and sort the imports.
	$(bin)/ruff check --fix
	$(bin)/ruff format

docs: $(stamp) ## Write the reference of settings, flags and variables anew.
	$(bin)/python docs/generate.py

bench: $(stamp) ## Compare the speed with other servers; ARGS=--full for all there is.
	$(bin)/python benchmarks/run.py $(ARGS)

profile: $(stamp) ## Draw where the server spends its time under a load: SCENARIO=trivial.
	$(bin)/python benchmarks/flame.py $(SCENARIO) --peer $(PEER) $(ARGS)

matrix: ## Run the tests on every supported Python found here.
	bash .ci/run tests

ci: ## Do all that the continuous integration does.
	bash .ci/run

clean: ## Remove the environments and caches.
	rm -rf .venv .venv-* benchmarks/.venv benchmarks/results .mypy_cache .ruff_cache build dist

$(bin)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || { \
	    version=$$($(PYTHON) -V 2>&1) || version="not to be run"; \
	    echo "django_daphne needs Python 3.11 or newer, and $(PYTHON) is $$version." \
	        "Name another one: make PYTHON=python3.13 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(stamp): pyproject.toml | $(bin)/python
	$(pip) install --quiet --editable . $(django)
	@touch $@

$(stamp)-%: pyproject.toml | $(bin)/python
	$(pip) install --quiet --editable '.[$*]' $(django)
	@touch $@
