"""The report of a calibration as text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backtest.evaluation.calibration import LEVELS, PROCEDURES
from backtest.evaluation.calibration_limits import Limit


def calibration_text(report: Mapping[str, Any], limits: Sequence[Limit]) -> str:
    """Tables by group of worlds, then the bounds that are kept or broken."""
    lines: list[str] = []
    for name, group in report.items():
        lines += [f"{name}: {group['worlds']} worlds, {group['eligible']:,.0f} eligible hypotheses each", ""]
        lines += [] if group["is_planted"] else _rejections(group)
        lines += [*_procedures(group), ""]
    lines += ["Limits", ""]
    lines += [f"  {'kept  ' if limit.is_kept else 'BROKEN'}  {limit_text(limit)}" for limit in limits]
    return "\n".join(lines)


def limit_text(limit: Limit) -> str:
    """The bound, what was found, what is allowed."""
    found = "nothing" if limit.found is None else f"{limit.found:.4g}"
    allowed = f"at least {limit.least:g}" if limit.most == float("inf") else f"{limit.least:.4g} … {limit.most:.4g}"
    return f"{limit.text}: {found} (allowed: {allowed})"


def share_text(interval: Sequence[float | None], digits: int = 2) -> str:
    """A share and its interval in per cent; a dash where there is none."""
    value, low, high = interval
    if value is None:
        return "–"
    bounds = (
        "" if low is None or high is None else f" [{100 * max(low, 0):.{digits}f}, {100 * min(high, 1):.{digits}f}]"
    )
    return f"{100 * value:.{digits}f}{bounds}"


def _rejections(group: Mapping[str, Any]) -> list[str]:
    """Shares of true null hypotheses rejected, in per cent, with 95 % intervals over worlds."""
    lines = [f"  {'rejected, in %':<18}" + "".join(f"{f'at {level * 100:g} %':>22}" for level in LEVELS)]
    for kind, entries in group["rejection"].items():
        for horizon, entry in entries.items():
            cells = "".join(f"{share_text(entry[f'{level:g}']):>22}" for level in LEVELS)
            lines.append(f"  {kind + ' t, ' + horizon:<18}{cells}")
    return [*lines, ""]


def _procedures(group: Mapping[str, Any]) -> list[str]:
    head = f"  {'procedure':<48}{'worlds with any, in %':>24}{'discoveries':>13}"
    if group["is_planted"]:
        head += f"{'false share, in %':>22}{'power, in %':>22}{'trade found, in %':>22}{'event found, in %':>22}"
    lines = [head]
    for name, text in PROCEDURES.items():
        entry = group["procedures"][name]
        line = f"  {text:<48}{share_text(entry['share_with_any']):>24}{entry['mean_discoveries']:>13.1f}"
        if group["is_planted"]:
            line += "".join(
                f"{share_text(entry[key]):>22}" for key in ("false_share", "power", "trade_found", "event_found")
            )
        lines.append(line)
    if group["is_planted"]:
        lines += _estimates(group)
    return lines


def _estimates(group: Mapping[str, Any]) -> list[str]:
    lines = []
    for name in ("significant", "confirmed", "final"):
        entry = group["procedures"][name]
        if entry["means"]:
            raw, shrunk, truth = (entry[f"mean_{each}_bps"][0] for each in ("raw", "shrunk", "truth"))
            lines.append(
                f"  {PROCEDURES[name]}: raw {raw:z.1f}, shrunk {shrunk:z.1f}, truth {truth:z.1f} bps on average; "
                f"90 % intervals cover {share_text(entry['coverage'], 1)} %"
            )
    return lines
