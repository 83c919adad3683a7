"""May trading go on? The same as `backtest kill-switch`; what cannot even be started ends with 2 (HALT), never 1 (WARN).

python project/scripts/kill_switch.py --run_id <run_id> --symbol BTCUSDT --max_staleness_bars 3 --max_drawdown -0.15
"""

import sys

try:
    from backtest.cli import door
except Exception as fault:  # noqa: BLE001
    print(f"HALT: the kill switch cannot be started: {fault!r}", file=sys.stderr)
    raise SystemExit(2) from None

if __name__ == "__main__":
    door("kill-switch")
