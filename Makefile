# The README's commands, in a virtual environment of their own.
BIN := .venv/bin

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	python3 -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@

demo: install
	$(BIN)/schedopt run studies/demo-vocals-linear.toml

# Before a commit: format, lint, types of the files that it changes, and the quick tests of pure functions, files and
# settings. Under a minute.
CHANGED = $(shell git diff --name-only --diff-filter=d HEAD -- '*.py'; git ls-files --others --exclude-standard -- '*.py')
QUICK := tests/test_architecture.py tests/test_config.py tests/test_rules.py tests/test_schedules.py \
  tests/files tests/metrics tests/search/test_selection.py tests/songs/test_naming.py
check: install
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(if $(strip $(CHANGED)),$(BIN)/python -m mypy $(CHANGED))
	$(BIN)/python -m pytest -q -m 'not slow' $(QUICK)

# The whole suite, as in CI.
test: install
	python3 tests/system_parts.py
	$(BIN)/python -m pytest

.PHONY: install demo check test
