"""Templates to pages: every value is escaped, an undefined name is a fault."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from backtest.reports.html.scripts import as_script
from backtest.reports.html.terms import explanations, term

if TYPE_CHECKING:
    from jinja2 import Environment

PACKAGE: Final = "backtest.reports.html"
NAVIGATION: Final = (
    ("index.html", "Overview"),
    ("candidates.html", "Candidates"),
    ("events.html", "Events"),
    ("promotion.html", "Promotion"),
    ("backtest.html", "Backtest"),
    ("data.html", "Data"),
    ("calibration.html", "Calibration"),
    ("operations.html", "Operations"),
    ("terms.html", "Terms"),
)
STATIC: Final = ("report.css", "theme.js", "report.js")


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader(PACKAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.globals["term"] = term
    return made


def page(
    template: str,
    *,
    run_id: str,
    title: str,
    section: str,
    depth: int = 0,
    scripts: Sequence[str] = (),
    **values: Any,
) -> str:
    """One page of a run's report.

    Parameters
    ----------
    section : the entry of the navigation that the page belongs to.
    depth : how many folders below the report's own it lies.
    scripts : data files, relative to the report's folder, that are read before the page's script.
    """
    return (
        _environment()
        .get_template(template)
        .render(
            run_id=run_id,
            site_name=run_id,
            title=title,
            section=section,
            base="../" * depth,
            home="../" * depth,
            navigation=NAVIGATION,
            scripts=scripts,
            **values,
        )
    )


def list_page(template: str, *, title: str, assets: str, scripts: Sequence[str], **values: Any) -> str:
    """A page over several runs; `assets` is the folder that holds its style sheet and scripts."""
    return (
        _environment()
        .get_template(template)
        .render(
            run_id="",
            site_name="Backtest",
            title=title,
            section="",
            base=assets,
            home="",
            navigation=(),
            scripts=scripts,
            **values,
        )
    )


def static_files() -> dict[str, str]:
    """Style sheet, scripts and the explanations of terms, by their place in a report's folder."""
    folder = resources.files(PACKAGE) / "static"
    files = {f"assets/{name}": (folder / name).read_text(encoding="utf-8") for name in STATIC}
    return files | {"assets/terms.js": as_script("terms", explanations())}
