# make test: sets up everything by itself, then lint, types and tests. The rest are its parts.
PYTHON := .venv/bin/python
# One thread in each of two test processes: on two cores that is faster than two threads in one.
WORKERS ?= 2

.PHONY: test set-up lint types pytest docs clean

test: lint types pytest

set-up:
	@./autoreel set-up dev

lint: set-up
	$(PYTHON) -m ruff check .

types: set-up
	$(PYTHON) -m mypy

pytest: set-up
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -q -n $(WORKERS) --dist worksteal

docs: set-up
	$(PYTHON) tools/command_help.py > docs/commands.md.new || { rm -f docs/commands.md.new; exit 1; }
	mv docs/commands.md.new docs/commands.md

clean:
	@if [ -e .venv ] && [ ! -e .venv/made-by-autoreel ]; then echo ".venv was not made by ./autoreel and stays"; \
	else rm -rf .venv .venv.lock; fi
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
