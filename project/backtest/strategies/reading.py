"""Blueprints from JSON lines that anybody may have written: every fault told, nothing that explodes read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from pydantic import ValidationError

from backtest.errors import DataError, did_you_mean, listed
from backtest.outside_bytes import nesting_depth
from backtest.strategies.blueprints import BLUEPRINT_VERSION, Blueprint

MAX_FILE_BYTES: Final = 64 << 20
MAX_LINE_CHARACTERS: Final = 1 << 20
MAX_DEPTH: Final = 20
MAX_BLUEPRINTS: Final = 20_000


def parse_blueprints(text: str, source: str) -> list[Blueprint]:
    """The blueprints of JSON lines, in their order; empty lines count for nothing.

    Raises
    ------
    DataError
        That lists every line's faults: what is no JSON, too large or too deep, of an unknown version, or says something a
        blueprint may not say. `source` names the file in it.
    """
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if len(lines) > MAX_BLUEPRINTS:
        raise DataError(f"{source} has {len(lines):,} lines; at most {MAX_BLUEPRINTS:,} blueprints are read.")
    found: dict[str, Blueprint] = {}
    faults: list[str] = []
    for number, line in lines:
        try:
            blueprint = _parsed(line)
        except ValueError as fault:
            told = _sentences(fault) if isinstance(fault, ValidationError) else [str(fault)]
            faults += [f"line {number}: {sentence}" for sentence in told]
            continue
        if blueprint.blueprint_id in found:
            faults.append(f"line {number}: the blueprint {blueprint.blueprint_id} is there already")
        found[blueprint.blueprint_id] = blueprint
    if faults:
        raise DataError(f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in {source}:\n{listed(faults)}")
    return list(found.values())


def _parsed(line: str) -> Blueprint:
    """A blueprint; ValueError with a sentence where it is none."""
    if len(line) > MAX_LINE_CHARACTERS:
        raise ValueError(f"has {len(line):,} characters; at most {MAX_LINE_CHARACTERS:,} are read")
    if (depth := nesting_depth(line, enough=MAX_DEPTH)) > MAX_DEPTH:
        raise ValueError(f"is nested {depth:,} deep; at most {MAX_DEPTH} is read")
    try:
        value = json.loads(line, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as fault:
        raise ValueError(f"is no JSON: {fault.msg} at character {fault.pos + 1}") from None
    except RecursionError:
        raise ValueError("is nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError(f"is a JSON {type(value).__name__}; a blueprint is an object")
    version = value.get("version")
    if type(version) is not int or version != BLUEPRINT_VERSION:
        raise ValueError(
            f"version {str(version)[:40]!r} is not known; this program reads version {BLUEPRINT_VERSION}. "
            "Write the run's blueprints again: make discover-edges RUN_ID=…"
        )
    return Blueprint.model_validate(value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"names {twice[:60]!r} twice")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"holds {name}, which is no number of JSON")


def _sentences(fault: ValidationError) -> list[str]:
    """Each error as field, what was found, what is allowed."""
    return [_sentence(error) for error in fault.errors(include_url=False)]


def _sentence(error: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "the blueprint"
    if error["type"] == "missing":
        return f"{where}: is missing"
    if error["type"] == "extra_forbidden":
        last = str(error["loc"][-1])
        hint = did_you_mean(last, Blueprint.model_fields) if len(error["loc"]) == 1 else ""
        return f"{where[:100]}: is no field of a blueprint.{hint}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{where}: {message}"
    return f"{where}: found {str(error.get('input'))[:60]!r}; {message[:1].lower()}{message[1:]}"
