"""The report of a calibration as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backtest.evaluation.calibration import LEVELS, PROCEDURES, Limit


def calibration_text(report: Mapping[str, Any], limits: Sequence[Limit]) -> str:
    """Tables by kind of world, then the bounds that are kept or broken."""
    lines: list[str] = []
    for name, group in report.items():
        lines += [f"{name}: {group['worlds']} worlds, {group['eligible']:,.0f} eligible hypotheses each", ""]
        lines += _rejections(group) if "planted" not in group else []
        lines += [*_procedures(group), ""]
    lines += ["Limits", ""]
    for limit in limits:
        verdict = "kept  " if limit.is_kept else "BROKEN"
        lines.append(f"  {verdict}  {limit.text}: {limit.found:.4g} (allowed {limit.least:g} … {limit.most:g})")
    return "\n".join(lines)


def _rejections(group: Mapping[str, Any]) -> list[str]:
    """Shares of true null hypotheses rejected, in per cent, with 95 % intervals over worlds."""
    lines = [f"  {'rejected, in %':<18}" + "".join(f"{f'at {level * 100:g} %':>22}" for level in LEVELS)]
    for kind, entries in group["rejection"].items():
        for horizon, entry in entries.items():
            cells = "".join(f"{_share(entry[f'{level:g}']):>22}" for level in LEVELS)
            lines.append(f"  {kind + ' t, ' + horizon:<18}{cells}")
    return [*lines, ""]


def _procedures(group: Mapping[str, Any]) -> list[str]:
    is_planted = "planted" in group
    head = f"  {'procedure':<40}{'worlds with any, in %':>24}{'discoveries':>13}"
    if is_planted:
        head += f"{'false share, in %':>22}{'power, in %':>22}{'event found':>13}"
    lines = [head]
    for name, text in PROCEDURES.items():
        entry = group["procedures"][name]
        line = f"  {text:<40}{_share(entry['share_with_any']):>24}{entry['mean_discoveries']:>13.1f}"
        if is_planted:
            found = f"{entry['event_found']}/{group['worlds']}"
            line += f"{_share(entry['false_share']):>22}{_share(entry['power']):>22}{found:>13}"
        lines.append(line)
    for name in ("confirmed", "final"):
        entry = group["procedures"][name]
        if is_planted and "mean_truth_bps" in entry:
            lines.append(
                f"  {PROCEDURES[name]}: estimated {entry['mean_estimate_bps']:.1f} bps on average, truth "
                f"{entry['mean_truth_bps']:.1f} bps"
            )
    return lines


def _share(interval: Sequence[float]) -> str:
    """A share and its interval in per cent."""
    value, low, high = (100 * each for each in interval)
    bounds = f" [{max(low, 0):.2g}, {min(high, 100):.3g}]" if low == low else ""
    return f"{value:.2f}{bounds}"
