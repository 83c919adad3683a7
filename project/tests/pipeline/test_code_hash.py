from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
import toy_stages

from backtest.pipeline.code_hash import CodeHashes

SOURCES = {
    "__init__.py": "def opened():\n    import backed.unrelated",
    "stage.py": """
from typing import TYPE_CHECKING
from .numeric import mean
if TYPE_CHECKING:
    import backed.only_for_types
def run():
    import numpy, backed.late
    from backed.numeric.deep import inner as x
""",
    "late.py": "from . import sibling",
    "sibling.py": "",
    "only_for_types.py": "",
    "unrelated.py": "",
    "numeric/__init__.py": "",
    "numeric/mean.py": "",
    "numeric/deep/__init__.py": "from ..median import median",
    "numeric/deep/inner.py": "",
    "numeric/median.py": "",
    "numeric/unused.py": "",
    "numeric/table.csv": "1,2",
    "numeric/data/more.txt": "",
    "registry/__init__.py": "",
    "registry/find.py": "import pkgutil\nfor module in pkgutil.iter_modules(): pass",
    "registry/member.py": "import backed.unrelated",
}
REACHED = {
    *("backed", "backed.stage", "backed.late", "backed.sibling", "backed.numeric", "backed.numeric.mean"),
    *("backed.numeric.deep", "backed.numeric.deep.inner", "backed.numeric.median"),
    *("backed/numeric/table.csv", "backed/numeric/data/more.txt"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, source in SOURCES.items():
        path = tmp_path / "backed" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return tmp_path / "backed"


def _hashes(folder: Path, module: str = "backed.stage") -> dict[str, str]:
    return CodeHashes("backed", folder).of([module])


def test_imports_are_followed_through_functions_packages_and_relative_names(folder: Path):
    assert set(_hashes(folder)) == REACHED


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_change_counts_exactly_where_the_file_is_reached(folder: Path, name: str):
    before = _hashes(folder)
    with (folder / name).open("a") as file:
        file.write("\n# changed")
    after = _hashes(folder)
    dotted = "backed." + name.removesuffix(".py").replace("/", ".")
    changed = {key for key in after if after[key] != before.get(key)}
    assert changed == ({dotted.removesuffix(".__init__"), f"backed/{name}"} & REACHED)


def test_a_module_that_imports_by_computed_names_reaches_its_whole_package(folder: Path):
    reached = set(_hashes(folder, "backed.registry.find"))
    assert {"backed.registry.member", "backed.unrelated"} <= reached
    assert "backed.late" not in reached


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are parsed."""
    names: list[str] = []
    parse = ast.parse
    monkeypatch.setattr(ast, "parse", lambda source, filename: names.append(Path(filename).name) or parse(source))
    return names


def _kept(folder: Path) -> dict[str, str]:
    hashes = CodeHashes("backed", folder, index=folder.parent / "index.json")
    found = hashes.of(["backed.stage"])
    hashes.keep()
    return found


def test_a_source_is_parsed_once_however_many_runs_there_are(folder: Path, parsed: list[str]):
    first = _kept(folder)
    assert len(parsed) == 8  # all that is reached but the package itself, which is not looked into
    parsed.clear()
    assert _kept(folder) == first == _hashes(folder)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_with_an_index_a_change_counts_as_without(folder: Path, name: str, parsed: list[str]):
    _kept(folder)
    parsed.clear()
    with (folder / name).open("a") as file:
        file.write("\nimport backed.registry.member  # new")
    after = _kept(folder)
    is_reached = {name, "backed." + name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")} & REACHED
    if name.endswith(".py") and is_reached and name != "__init__.py":
        assert parsed[0] == Path(name).name
        assert "backed.unrelated" in after
    assert after == _hashes(folder)


def test_a_module_that_appears_where_a_name_was_imported_is_reached(folder: Path):
    (folder / "sibling.py").write_text("from backed.numeric import later")
    assert "backed.numeric.later" not in _kept(folder)
    (folder / "numeric" / "later.py").touch()
    assert "backed.numeric.later" in _kept(folder)


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "null", '{"imports": {}}', '{"made_by": 1, "imports": {}}', "[" * 100_000),
        '{"made_by": "other code", "imports": {"KEY": []}}',
        '{"made_by": "MAKER", "imports": {"KEY": "backed"}}',
        '{"made_by": "MAKER", "imports": {"KEY": [1]}}',
        '{"made_by": "MAKER", "imports": []}',
    ],
)
def test_a_damaged_or_foreign_index_is_made_anew(folder: Path, content: str, parsed: list[str]):
    expected = _kept(folder)
    index = folder.parent / "index.json"
    sound = index.read_text()
    written = json.loads(sound)
    key = next(key for key in written["imports"] if key.startswith("backed.stage "))
    index.write_text(content.replace("MAKER", written["made_by"]).replace("KEY", key))
    parsed.clear()
    assert _kept(folder) == expected
    assert "stage.py" in parsed
    assert index.read_text() == sound


def test_an_index_that_cannot_be_written_changes_nothing(folder: Path):
    hashes = CodeHashes("backed", folder, index=folder / "stage.py" / "index.json")
    assert set(hashes.of(["backed.stage"])) == REACHED
    hashes.keep()


def test_import_cycles_end(folder: Path):
    (folder / "sibling.py").write_text("import backed.late")
    assert {"backed.late", "backed.sibling"} <= set(_hashes(folder))


def test_a_module_outside_the_package_is_hashed_with_what_it_imports_from_it():
    reached = CodeHashes().of([toy_stages.__name__])
    assert {toy_stages.__name__, "backtest.lake.files", "backtest.errors", "backtest.pipeline.stage"} <= set(reached)
    assert not [name for name in reached if name.startswith(("os", "ctypes"))]


def test_a_module_without_source_is_told():
    with pytest.raises(LookupError, match="no_such_module has no source file"):
        CodeHashes().of(["no_such_module"])
