"""The operator's pages name what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
OPERATIONS = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^\.PHONY: ([a-z-]+)$", MAKEFILE, flags=re.MULTILINE))


def test_operations_lists_exactly_the_targets_of_the_makefile() -> None:
    assert set(re.findall(r"^\| `make ([a-z-]+)", OPERATIONS, flags=re.MULTILINE)) == TARGETS


@pytest.mark.parametrize("page", ["README.md", "docs/operations.md"])
def test_every_make_call_and_every_path_of_a_page_exists(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, flags=re.MULTILINE)) <= TARGETS
    for path in re.findall(r"\b(?:project|docs)/[\w/.-]+\w", text):
        assert (REPOSITORY / path).exists(), path


def test_every_script_of_the_runbook_is_named() -> None:
    for script in sorted((REPOSITORY / "project" / "scripts").glob("*.py")):
        assert f"project/scripts/{script.name}" in OPERATIONS
