"""`make audit` lists exactly what is locked, with every hash, and needs no network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_the_bill_of_materials_lists_what_is_locked_with_its_hashes(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(REPOSITORY / ".venv" / "bin")
    (tmp_path / ".venv" / ".installed").write_text(str(tmp_path.resolve()), encoding="utf-8")
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    done = subprocess.run(
        ["make", "audit"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | nowhere,
    )
    assert done.returncode == 0, done.stderr
    made = json.loads((tmp_path / "sbom.cdx.json").read_text(encoding="utf-8"))
    assert made["bomFormat"] == "CycloneDX"
    lock = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    locked = re.findall(r"^([A-Za-z0-9._-]+)(?:\[.*?\])?==([^ ;\\]+)", lock, re.MULTILINE)
    assert sorted((part["name"], part["version"]) for part in made["components"]) == sorted(locked)
    hashes = [
        one["content"] for part in made["components"] for where in part["externalReferences"] for one in where["hashes"]
    ]
    assert sorted(hashes) == sorted(re.findall(r"--hash=sha256:([0-9a-f]{64})", lock))
    assert made["metadata"]["component"]["name"] == "backtest"
