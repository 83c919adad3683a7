"""What differs between two runs: the verdicts on their hypotheses, and what the runs were made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import polars as pl

Kind = Literal["data", "spec", "code", "parameters", "libraries"]

VERDICT_COLUMNS: Final[dict[str, pl.DataType]] = {
    "candidate_id": pl.String(),
    "n_events": pl.Int64(),
    "expectancy": pl.Float64(),
    "p_value": pl.Float64(),
    "gate_eligible": pl.Boolean(),
    "gate_phase2_final": pl.Boolean(),
    "fail_reasons": pl.String(),
}
LAYERS: Final = ("lake/raw/", "lake/cleaned/", "lake/features/")
"""Where data enters a run, the deepest first. Two runs are compared in the first layer that both have read."""


@dataclass(frozen=True)
class RunFacts:
    """What a run was made from, as its manifests record it.

    Attributes
    ----------
    files : content hash of every input file of every stage instance.
    modules : per stage instance, hash of each module of code it used.
    spec : per stage instance, hash of the parts of the spec it used.
    """

    run_id: str
    files: Mapping[str, Any]
    modules: Mapping[str, Mapping[str, Any]]
    spec: Mapping[str, str]
    ontology_hash: str | None
    parameters: Mapping[str, Any]
    libraries: Mapping[str, Any]
    commit: str | None


@dataclass(frozen=True)
class Cause:
    """One kind of thing that differs between two runs, with each difference as a text."""

    kind: Kind
    details: tuple[str, ...]


def verdict_changes(first: pl.DataFrame, second: pl.DataFrame) -> pl.DataFrame:
    """Hypotheses whose verdict differs, those that passed in one of the runs first.

    Returns
    -------
    DataFrame
        ``candidate_id``; ``verdict_first`` and ``verdict_second`` (``passed``, ``failed``, ``not eligible`` for too few
        events, ``absent`` where the run has no such hypothesis); count, mean return, p-value and failed gates of both.
    """
    joined = _with_verdict(first).join(
        _with_verdict(second), on="candidate_id", how="full", coalesce=True, suffix="_second"
    )
    named = joined.rename(
        {name: f"{name}_first" for name in ("verdict", "n_events", "expectancy", "p_value", "fail_reasons")}
    ).with_columns(pl.col("verdict_first", "verdict_second").fill_null("absent"))
    has_passed = (pl.col("verdict_first") == "passed") | (pl.col("verdict_second") == "passed")
    return named.filter(pl.col("verdict_first") != pl.col("verdict_second")).sort(~has_passed, pl.col("candidate_id"))


def change_counts(changes: pl.DataFrame) -> list[tuple[str, str, int]]:
    """How many hypotheses went from which verdict to which, the most frequent first."""
    counted = changes.group_by("verdict_first", "verdict_second").len()
    return list(counted.sort("len", "verdict_first", "verdict_second", descending=[True, False, False]).iter_rows())


def causes(first: RunFacts, second: RunFacts) -> list[Cause]:
    """Each kind of thing that differs between the runs; empty where nothing recorded does.

    Code and spec are compared for the stage instances both runs have. Files that only one of them read count as data
    where symbols, window and parameters are the same, else as a consequence of those.
    """
    shared = [name for name in first.modules if name in second.modules]
    parameters = _differing(first.parameters, second.parameters, show=True)
    changed, only_one = _file_differences(first.files, second.files)
    data = [
        f"{name} has other content" if _hash_kind(old) == _hash_kind(new) else
        f"{name} may have other content: different versions of the program recorded different hashes of it"
        for name, old, new in changed
    ]  # fmt: skip
    if not parameters:
        data += [f"{name} was read by one of them only" for name in only_one]
    modules = [_merged(facts.modules, shared) for facts in (first, second)]
    code = _differing(*modules)
    if code and first.commit != second.commit:
        code.insert(0, f"commit {_commit(first)} → {_commit(second)}")
    spec = [f"what {name} uses of it" for name in shared if first.spec.get(name) != second.spec.get(name)]
    if first.ontology_hash != second.ontology_hash:
        spec.insert(0, f"ontology hash {first.ontology_hash} → {second.ontology_hash}")
    found: list[tuple[Kind, list[str]]] = [
        ("data", data),
        ("spec", spec),
        ("code", code),
        ("parameters", parameters),
        ("libraries", _differing(first.libraries, second.libraries, show=True)),
    ]
    return [Cause(kind, tuple(details)) for kind, details in found if details]


def _with_verdict(candidates: pl.DataFrame) -> pl.DataFrame:
    verdict = (
        pl.when("gate_phase2_final")
        .then(pl.lit("passed"))
        .when(~pl.col("gate_eligible"))
        .then(pl.lit("not eligible"))
        .otherwise(pl.lit("failed"))
    )
    numbers = pl.col("expectancy", "p_value").fill_nan(None)
    return candidates.select("candidate_id", verdict.alias("verdict"), "n_events", numbers, "fail_reasons")


def _file_differences(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> tuple[list[tuple[str, Any, Any]], list[str]]:
    """Files of the first shared layer with other hashes (both named), and those that one of the runs alone has read."""
    for layer in LAYERS:
        mine, other = (
            {name: digest for name, digest in files.items() if name.startswith(layer)} for files in (first, second)
        )
        if mine and other:
            both = sorted(mine.keys() & other.keys())
            changed = [(name, mine[name], other[name]) for name in both if mine[name] != other[name]]
            return changed, sorted(mine.keys() ^ other.keys())
    return [], []


def _hash_kind(digest: object) -> str:
    """What comes before the colon of a content hash; earlier versions recorded none."""
    return str(digest).rpartition(":")[0]


def _merged(modules: Mapping[str, Mapping[str, Any]], instances: list[str]) -> dict[str, Any]:
    return {name: digest for instance in instances for name, digest in modules[instance].items()}


def _differing(first: Mapping[str, Any], second: Mapping[str, Any], *, show: bool = False) -> list[str]:
    names = [name for name in sorted({*first, *second}) if first.get(name) != second.get(name)]
    return [f"{name} {first.get(name)!r} → {second.get(name)!r}" if show else name for name in names]


def _commit(facts: RunFacts) -> str:
    return facts.commit[:12] if facts.commit else "unknown"
