"""Which source files decide what a stage computes, and their hashes: found from imports, without importing."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import backtest

# A module that names one of these imports by a computed name; it is taken to reach all modules of its package.
DYNAMIC_IMPORTS: Final = frozenset({"import_module", "iter_modules", "walk_packages"})
_COMPILED: Final = frozenset({".pyc", ".pyo", ".so", ".nbi", ".nbc"})


class CodeHashes:
    """Hashes of modules and of all they import from one package, each file read once.

    Parameters
    ----------
    package, folder : the package that is followed and where it lies; what is imported from elsewhere is not hashed.
    """

    def __init__(self, package: str = "backtest", folder: Path | None = None) -> None:
        self._package = package
        self._folder = folder or Path(backtest.__file__).parent
        self._direct: dict[str, tuple[str, frozenset[str]]] = {}
        self._reached: dict[frozenset[str], dict[str, str]] = {}

    def of(self, modules: Iterable[str]) -> dict[str, str]:
        """Hash by name for `modules` and everything they reach: modules, packages, data files beside them.

        A data file of a package (a template, a schema) is named by its path.
        """
        start = frozenset(modules)
        if start not in self._reached:
            self._reached[start] = self._reach(start)
        return dict(self._reached[start])

    def _reach(self, modules: frozenset[str]) -> dict[str, str]:
        hashes: dict[str, str] = {}
        waiting = sorted(modules)
        while waiting:
            module = waiting.pop()
            if module in hashes:
                continue
            hashes[module], imported = self._read(module)
            waiting.extend(sorted(imported - hashes.keys()))
            folder = self._path(module).parent
            if self._path(module).name == "__init__.py" and self._is_followed(module):
                hashes.update((path.relative_to(self._folder.parent).as_posix(), _hash(path)) for path in _data(folder))
        return dict(sorted(hashes.items()))

    def _read(self, module: str) -> tuple[str, frozenset[str]]:
        if module not in self._direct:
            path = self._path(module)
            source = path.read_bytes()
            self._direct[module] = (
                hashlib.blake2b(source, digest_size=16).hexdigest(),
                frozenset(self._imported(module, path, source)),
            )
        return self._direct[module]

    def _imported(self, module: str, path: Path, source: bytes) -> Iterator[str]:
        if module == self._package:
            return  # it hands out names of what lies inside it, which no stage asks it for
        is_package = path.name == "__init__.py"
        package = module if is_package else module.rpartition(".")[0]
        if self._is_followed(module):
            yield from self._with_parents(module, leave_out=module)
        for node in _executed(ast.parse(source, filename=str(path))):
            if isinstance(node, ast.Import):
                for name in node.names:
                    yield from self._with_parents(name.name)
            elif isinstance(node, ast.ImportFrom):
                base = _absolute(node, package)
                yield from self._with_parents(base)
                for name in node.names:
                    yield from self._with_parents(f"{base}.{name.name}")
            elif _name(node) in DYNAMIC_IMPORTS and self._is_followed(module):
                yield from self._members(package)

    def _with_parents(self, module: str, leave_out: str = "") -> Iterator[str]:
        """`module` and the packages around it, as far as they are files of the followed package."""
        parts = module.split(".")
        for length in range(1, len(parts) + 1):
            name = ".".join(parts[:length])
            if name != leave_out and self._is_followed(name) and self._locate(name) is not None:
                yield name

    def _members(self, package: str) -> Iterator[str]:
        folder = self._folder.joinpath(*package.split(".")[1:])
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join((package, *(parts[:-1] if parts[-1] == "__init__" else parts)))

    def _is_followed(self, module: str) -> bool:
        return module == self._package or module.startswith(f"{self._package}.")

    def _locate(self, module: str) -> Path | None:
        base = self._folder.joinpath(*module.split(".")[1:])
        return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)

    def _path(self, module: str) -> Path:
        """Source of a module: of the followed package by its name, of any other by where it was imported from."""
        path = self._locate(module) if self._is_followed(module) else None
        if path is None:
            file = getattr(sys.modules.get(module), "__file__", None)
            if file is None:
                raise LookupError(f"module {module} has no source file, so a stage in it cannot be hashed")
            path = Path(file)
        return path


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING:``, which never run."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and _name(node.test) == "TYPE_CHECKING":
            waiting.extend(node.orelse)
        else:
            waiting.extend(ast.iter_child_nodes(node))


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """``from ..a import b`` as seen from `package`: the absolute name of a."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def _data(package_folder: Path) -> Iterator[Path]:
    """Files of a package that are no modules, not looking into packages below it."""
    for path in sorted(package_folder.iterdir()):
        if path.is_dir():
            if path.name != "__pycache__" and not (path / "__init__.py").exists():
                yield from _data(path)
        elif path.suffix != ".py" and path.suffix not in _COMPILED and not path.name.startswith("."):
            yield path


def _hash(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
