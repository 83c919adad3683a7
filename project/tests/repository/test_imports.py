"""Which package may import what, beside the layers that import-linter holds."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
PACKAGE = REPOSITORY / "project" / "backtest"
SETTINGS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
NOT_DOMAIN = {"alerting", "commands", "lake", "pipeline", "sources", "spec"}
DOMAIN = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py") if path.parent.name not in NOT_DOMAIN)
FORBIDDEN_IN_DOMAIN = {"os", "pathlib", "httpx", "yaml", "subprocess", "shutil", "socket", "time", "logging"}
AT_START_UP = {"typer", "backtest"} | set(sys.stdlib_module_names)


def _imports(path: Path, *, only_at_import: bool = False) -> Iterator[str]:
    """Names of imported modules; `only_at_import` leaves out functions and ``if TYPE_CHECKING``."""
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        if only_at_import and (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        ):
            continue
        pending.extend(ast.iter_child_nodes(node))


def _tops(path: Path, *, only_at_import: bool = False) -> set[str]:
    return {name.split(".")[0] for name in _imports(path, only_at_import=only_at_import)}


def test_the_domain_packages_are_found() -> None:
    assert {"cleaning", "discovery", "events", "expressions", "features", "states", "strategies"} <= set(DOMAIN)


@pytest.mark.parametrize("package", DOMAIN)
def test_a_domain_package_opens_no_file_uses_no_network_and_knows_no_lake(package: str) -> None:
    for path in (PACKAGE / package).rglob("*.py"):
        assert not _tops(path) & FORBIDDEN_IN_DOMAIN, path
        inner = {".".join(name.split(".")[:2]) for name in _imports(path)}
        assert not inner & {"backtest.lake", "backtest.sources", "backtest.pipeline", "backtest.commands"}, path


@pytest.mark.parametrize("package", DOMAIN)
def test_import_linter_knows_every_domain_package(package: str) -> None:
    (contract,) = (
        contract for contract in SETTINGS["tool"]["importlinter"]["contracts"] if contract["name"].startswith("Domain")
    )
    assert f"backtest.{package}" in contract["source_modules"], f"add backtest.{package} to the contracts"


def test_only_spec_reads_yaml_only_sources_use_the_network_and_only_alerting_sends_alerts() -> None:
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0]
        assert part == "spec" or "yaml" not in _tops(path), path
        assert part == "sources" or not _tops(path) & {"httpx", "urllib", "http", "requests"}, path
        assert part == "alerting" or "apprise" not in _tops(path), path


@pytest.mark.parametrize("path", sorted((PACKAGE / "commands").glob("*.py")), ids=lambda path: path.stem)
def test_a_command_imports_only_light_modules_when_it_is_loaded(path: Path) -> None:
    assert _tops(path, only_at_import=True) <= AT_START_UP


def test_every_imported_distribution_is_a_declared_dependency() -> None:
    project = SETTINGS["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["cluster"]]
    names = {re.split(r"[^A-Za-z0-9._-]", line)[0].lower() for line in declared}
    owners = importlib.metadata.packages_distributions()
    for path in PACKAGE.rglob("*.py"):
        for module in _tops(path) - set(sys.stdlib_module_names) - {"backtest", ""}:
            owner = {name.lower() for name in owners.get(module, [module])}
            assert owner & names, f"{path} imports {module}, which pyproject.toml does not name"
