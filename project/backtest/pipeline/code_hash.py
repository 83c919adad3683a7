"""Which source files decide what a stage computes, and their hashes: found from imports, without importing."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import backtest
from backtest.errors import DataError
from backtest.lake.files import write_text
from backtest.outside_bytes import parsed_json

# A module that names one of these imports by a computed name; it is taken to reach all modules of its package.
DYNAMIC_IMPORTS: Final = frozenset({"import_module", "iter_modules", "walk_packages"})
_COMPILED: Final = frozenset({".pyc", ".pyo", ".so", ".nbi", ".nbc"})
_WHOLE_PACKAGE: Final = ".*"
"""Ends the name of a package all of whose modules are imported."""


class CodeHashes:
    """Hashes of modules and of all they import from one package, each file read once.

    With `index`, a file, the names that a source imports are kept across runs, by the hash of that source: every source is
    read and hashed in each run, but only a new one is parsed. An index that is damaged, or made by other code than this,
    is made anew.

    Parameters
    ----------
    package, folder : the package that is followed and where it lies; what is imported from elsewhere is not hashed.
    """

    def __init__(self, package: str = "backtest", folder: Path | None = None, *, index: Path | None = None) -> None:
        self._package = package
        self._folder = folder or Path(backtest.__file__).parent
        self._modules: dict[str, Path] = {}
        self._direct: dict[str, tuple[str, frozenset[str]]] = {}
        self._data: dict[Path, dict[str, str]] = {}
        self._reached: dict[frozenset[str], dict[str, str]] = {}
        self._index = index
        self._kept = _kept(index) if index is not None else {}
        self._used: dict[str, tuple[str, ...]] = {}

    def keep(self) -> None:
        """Write the index, without sources that are gone; what cannot be written is parsed again next time."""
        if self._index is None or self._used == self._kept:
            return
        content = {"made_by": _maker(), "imports": self._used}
        with contextlib.suppress(DataError):
            write_text(self._index, json.dumps(content, separators=(",", ":"), sort_keys=True), flush=False)

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
            if self._path(module).name == "__init__.py" and self._is_followed(module):
                hashes.update(self._data_of(self._path(module).parent))
        return dict(sorted(hashes.items()))

    def _data_of(self, package_folder: Path) -> dict[str, str]:
        if package_folder not in self._data:
            self._data[package_folder] = {
                path.relative_to(self._folder.parent).as_posix(): _hash(path) for path in _data(package_folder)
            }
        return self._data[package_folder]

    def _read(self, module: str) -> tuple[str, frozenset[str]]:
        if module not in self._direct:
            path = self._path(module)
            source = path.read_bytes()
            digest = hashlib.blake2b(source, digest_size=16).hexdigest()
            key = f"{module} {path.name} {digest}"  # relative names depend on the module's own
            names = self._kept.get(key)
            if names is None:
                names = tuple(sorted(set(self._imported(module, path, source))))
            self._used[key] = names
            self._direct[module] = digest, frozenset(self._files_of(names, leave_out=module))
        return self._direct[module]

    def _imported(self, module: str, path: Path, source: bytes) -> Iterator[str]:
        """Names below the followed package that a source imports, be they modules, packages or what is in one."""
        if module == self._package:
            return  # it hands out names of what lies inside it, which no stage asks it for
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for node in _executed(ast.parse(source, filename=str(path))):
            if isinstance(node, ast.Import):
                names = [name.name for name in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = _absolute(node, package)
                names = [base, *(f"{base}.{name.name}" for name in node.names)]
            elif _name(node) in DYNAMIC_IMPORTS and self._is_followed(module):
                names = [f"{package}{_WHOLE_PACKAGE}"]
            else:
                continue
            yield from filter(self._is_followed, names)

    def _files_of(self, names: Iterable[str], leave_out: str) -> Iterator[str]:
        """The modules that `names` and the packages around them and around `leave_out` are, as far as there are files."""
        for name in [*names, leave_out]:
            if name.endswith(_WHOLE_PACKAGE):
                package = name.removesuffix(_WHOLE_PACKAGE)
                yield from (module for module in self._found() if module.startswith(f"{package}.") or module == package)
                continue
            while name:
                if name != leave_out and name in self._found():
                    yield name
                name = name.rpartition(".")[0]

    def _found(self) -> dict[str, Path]:
        """Every module of the followed package by its name; a package goes before a module of the same name."""
        if not self._modules:
            for folder, folders, files in os.walk(self._folder):
                folders[:] = [name for name in folders if name != "__pycache__"]
                package = ".".join((self._package, *Path(folder).relative_to(self._folder).parts))
                for file in files:
                    if file == "__init__.py":
                        self._modules[package] = Path(folder, file)
                    elif file.endswith(".py"):
                        self._modules.setdefault(f"{package}.{file.removesuffix('.py')}", Path(folder, file))
        return self._modules

    def _is_followed(self, module: str) -> bool:
        return module == self._package or module.startswith(f"{self._package}.")

    def _path(self, module: str) -> Path:
        """Source of a module: of the followed package by its name, of any other by where it was imported from."""
        path = self._found().get(module)
        if path is None:
            file = getattr(sys.modules.get(module), "__file__", None)
            if file is None:
                raise LookupError(f"module {module} has no source file, so a stage in it cannot be hashed")
            path = Path(file)
        return path


def _maker() -> str:
    """What decides how an index is made: this module and the grammar of this Python."""
    return f"{_hash(Path(__file__))} {sys.implementation.cache_tag}"


def _kept(index: Path) -> dict[str, tuple[str, ...]]:
    """An index as it was kept; nothing where there is none, or a damaged or foreign one."""
    try:
        content = parsed_json(index.read_bytes())
        if content["made_by"] != _maker():
            return {}
        kept = {key: tuple(names) for key, names in content["imports"].items() if isinstance(names, list)}
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return {}
    return {key: names for key, names in kept.items() if all(isinstance(name, str) for name in names)}


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
