"""The three requirements files: written from pyproject.toml, compared with each other, compared with an environment.

    python project/scripts/requirements.py lock [--upgrade]   resolve and write requirements.lock, .txt and -dev.txt
    python project/scripts/requirements.py check              do the three files and pyproject.toml agree?
    python project/scripts/requirements.py installed          does this interpreter have exactly these versions?

requirements.lock holds everything with hashes, for Python 3.11 to 3.13 and every platform. requirements.txt holds the
same versions of what runs the program, and the program itself; pip takes no hashes beside `-e`, hence two forms.
requirements-dev.txt holds what developing adds.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LOCK, RUNTIME, DEVELOPMENT = "requirements.lock", "requirements.txt", "requirements-dev.txt"
HEADER = "# Written by `make lock` from pyproject.toml; do not edit.\n"
EDITABLE = "-e ."
OLDEST_PYTHON = "3.11"


def pins(text: str) -> list[str]:
    """Each requirement as ``name==version`` or ``name==version ; marker``, without hashes, comments and options."""
    joined = text.replace("\\\n", " ")
    found = []
    for line in joined.splitlines():
        requirement = re.sub(r"\s+--hash=\S+", "", line.split("#", 1)[0]).strip()
        if requirement and not requirement.startswith("-"):
            found.append(requirement)
    return found


def name_of(requirement: str) -> str:
    """The package's normalised name."""
    matched = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement)
    if matched is None:
        raise SystemExit(f"{requirement!r} is not a requirement")
    return re.sub(r"[-_.]+", "-", matched[0]).lower()


def version_of(pin: str) -> str:
    """The version after ``==``."""
    return pin.split(";", 1)[0].partition("==")[2].strip()


# -- writing ---------------------------------------------------------------------------------------------


def lock(repository: Path, *, upgrade: bool) -> None:
    """Write the three files; locked versions stay unless `upgrade`, so a rerun gives the same bytes."""
    everything = ["--all-extras", "--generate-hashes", "--output-file", LOCK, *(["--upgrade"] if upgrade else [])]
    _resolve(repository, everything)
    locked = (repository / LOCK).read_text(encoding="utf-8")
    if not locked.startswith(HEADER):
        (repository / LOCK).write_text(HEADER + locked, encoding="utf-8")
    runtime = pins(_resolve(repository, ["--constraints", LOCK]))
    added = [pin for pin in pins(locked) if pin not in runtime]
    (repository / RUNTIME).write_text(HEADER + "\n".join([*runtime, EDITABLE]) + "\n", encoding="utf-8")
    (repository / DEVELOPMENT).write_text(HEADER + "\n".join(added) + "\n", encoding="utf-8")


def _resolve(repository: Path, options: list[str]) -> str:
    form = ["--universal", "--python-version", OLDEST_PYTHON, "--no-header", "--no-annotate", "--no-emit-index-url"]
    command = [sys.executable, "-m", "uv", "--quiet", "pip", "compile", *form, "--no-emit-find-links"]
    done = subprocess.run(
        [*command, *options, "pyproject.toml"], cwd=repository, check=False, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout


# -- comparing -------------------------------------------------------------------------------------------


def disagreements(repository: Path) -> list[str]:
    """One sentence for each way in which the files and pyproject.toml contradict each other; empty where they agree."""
    texts = {name: (repository / name).read_text(encoding="utf-8") for name in (LOCK, RUNTIME, DEVELOPMENT)}
    locked, runtime, development = (pins(texts[name]) for name in (LOCK, RUNTIME, DEVELOPMENT))
    found = [f"{name} has no exact version for {pin}" for name in texts for pin in pins(texts[name]) if "==" not in pin]
    found += [f"{LOCK} has no hash for {pin}" for pin in _without_hash(texts[LOCK])]
    found += [f"{pin} is in {LOCK} and in neither {RUNTIME} nor {DEVELOPMENT}" for pin in locked
              if pin not in runtime and pin not in development]  # fmt: skip
    versions = {(name_of(pin), version_of(pin)) for pin in locked}
    found += [f"{pin} of {file} is not in {LOCK}" for file, listed in ((RUNTIME, runtime), (DEVELOPMENT, development))
              for pin in listed if (name_of(pin), version_of(pin)) not in versions]  # fmt: skip
    if EDITABLE not in texts[RUNTIME].splitlines():
        found.append(f"{RUNTIME} lacks the line {EDITABLE}")
    found += [f"{name} names a package index" for name, text in texts.items() if re.search(r"https?://", text)]
    return found + _undeclared(repository, runtime, [*runtime, *development])


def _without_hash(text: str) -> list[str]:
    entries = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
    return [entry for entry in entries if entry and not entry.startswith("#") and "--hash=sha256:" not in entry]


def _undeclared(repository: Path, runtime: list[str], everything: list[str]) -> list[str]:
    """What pyproject.toml asks for and the pins do not give."""
    from packaging.requirements import Requirement

    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [(line, runtime, RUNTIME) for line in project["dependencies"]]
    for extra in project.get("optional-dependencies", {}).values():
        asked += [(line, everything, f"{RUNTIME} and {DEVELOPMENT}") for line in extra]
    found = []
    for line, listed, where in asked:
        requirement = Requirement(line)
        given = [version_of(pin) for pin in listed if name_of(pin) == name_of(requirement.name)]
        if not given or not all(requirement.specifier.contains(version, prereleases=True) for version in given):
            found.append(f"pyproject.toml asks for {line}; {where} give {', '.join(given) or 'none'}")
    return found


def differences(repository: Path) -> list[str]:
    """One sentence for each pinned package that this interpreter lacks or has in another version."""
    try:
        from packaging.requirements import Requirement
    except ModuleNotFoundError:
        return ["packaging is not installed"]
    found = []
    for pin in pins((repository / LOCK).read_text(encoding="utf-8")):
        requirement = Requirement(pin)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{requirement.name} is not installed")
            continue
        if version != version_of(pin):
            found.append(f"{requirement.name} is {version}, locked is {version_of(pin)}")
    package = importlib.util.find_spec("backtest")
    home = repository / "project" / "backtest" / "__init__.py"
    if package is None or package.origin is None or Path(package.origin).resolve() != home.resolve():
        found.append(f"backtest is not installed from {repository}")
    return found


def main(arguments: list[str]) -> int:
    """Run one of the three; exit code 1 where files or versions differ."""
    match arguments:
        case ["lock"] | ["lock", "--upgrade"]:
            lock(REPOSITORY, upgrade="--upgrade" in arguments)
            faults, mend = disagreements(REPOSITORY), "mend pyproject.toml, then: make lock"
        case ["check"]:
            faults, mend = disagreements(REPOSITORY), "make lock"
        case ["installed"]:
            faults, mend = differences(REPOSITORY), "pip install -r requirements.txt -r requirements-dev.txt"
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        print(f"mended by: {mend}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
