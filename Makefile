# The README's commands, in a virtual environment of their own.
BIN := .venv/bin

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	python3 -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@

demo: install
	$(BIN)/schedopt run studies/demo-vocals-linear.toml

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/python -m pytest tests/test_style.py tests/test_architecture.py

.PHONY: install demo test lint
