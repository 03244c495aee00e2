# The workbook's commands; `make help` lists them. Each sets up what is missing first.

EXERCISE ?= exercise-01
SUBMISSION ?=
PYTHON ?= python3

IN_VENV := .venv/bin/python
BOOTSTRAP := $(PYTHON) grader/setup/bootstrap.py
# Exit status 1 says "not full marks yet": a result, and no reason for make to speak of an error.
GRADED := || { status=$$?; [ $$status -eq 1 ] || exit $$status; }
# Two modules at a time: most of what a test does is wait for a container.
PYTEST := $(IN_VENV) -m pytest --numprocesses=2 --no-loadscope-reorder
# 8 x 8 pixels of 0 to 16: a zero, the first of scikit-learn's digits.
DIGIT := [0,0,5,13,9,1,0,0,0,0,13,15,10,15,5,0,0,3,15,2,0,11,8,0,0,4,12,0,0,8,8,0,\
0,5,8,0,0,9,8,0,0,4,11,0,1,12,7,0,0,2,14,5,10,12,0,0,0,0,6,13,10,0,0,0]

.DEFAULT_GOAL := help
.PHONY: help setup grade test test-full check bench stack stack-down lab doctor clean python packages dev-packages

help: ## this list
	@echo "make setup        get everything this machine lacks: Python packages, Docker, images"
	@echo "make grade        grade your work; EXERCISE=exercise-02 SUBMISSION=path choose another"
	@echo "make lab          open the lessons in JupyterLab"
	@echo "make stack        start the live stack of the lessons, and say how to talk to it"
	@echo "make stack-down   stop it; what it stored is kept"
	@echo "make doctor       what this machine has and lacks"
	@echo "make clean        remove what interrupted gradings left behind"
	@echo "make check        style, types and unit tests: less than a minute"
	@echo "make test         the tests, with live containers and a part of tests/submissions"
	@echo "make test-full    the same, with all of tests/submissions graded with every check"
	@echo "make bench        what is measured side by side, in one table: half an hour of a machine that does nothing else"

python:
	@command -v $(PYTHON) > /dev/null || { \
	  echo "Python 3.11 or newer is needed:"; echo "    sudo apt-get install python3 python3-venv"; exit 3; }

setup: python
	@$(BOOTSTRAP)

packages: python
	@$(BOOTSTRAP) --packages-only

dev-packages: python
	@$(BOOTSTRAP) --dev --packages-only

grade: setup
	@$(IN_VENV) -m grader $(EXERCISE) $(if $(SUBMISSION),--submission "$(SUBMISSION)") $(GRADED)

test: python
	@$(BOOTSTRAP) --dev
	$(IN_VENV) -m ruff check
	$(IN_VENV) -m ruff format --check
	$(IN_VENV) -m mypy
	$(PYTEST) $(IN_FULL)

test-full: IN_FULL := --in-full
test-full: test

check: dev-packages
	$(IN_VENV) -m ruff check
	$(IN_VENV) -m ruff format --check
	$(IN_VENV) -m mypy
	$(PYTEST) tests/unit

bench: python
	@$(BOOTSTRAP) --dev
	$(IN_VENV) -m tests.benchmarks

stack: setup
	docker compose up --detach --wait
	@api=$$(docker compose port api 8000); prometheus=$$(docker compose port prometheus 9090); \
	printf '%s\n' "" "The stack is up. Show it a handwritten digit, twice, and see which answer came from the cache:" \
	  "    curl -s $$api/predict -H 'Content-Type: application/json' -d '{\"pixels\": $(DIGIT)}'" \
	  "Numbers: http://$$prometheus      Lessons: make lab      Stop it: make stack-down"

stack-down:
	docker compose down

lab: setup
	$(IN_VENV) -m jupyterlab $(if $(filter 0,$(shell id -u)),--allow-root) --LabApp.default_url=/lab/tree/notebooks/00-welcome.ipynb

doctor: packages
	@$(IN_VENV) -m grader doctor

clean: packages
	@$(IN_VENV) -m grader clean
