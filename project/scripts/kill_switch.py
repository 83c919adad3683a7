"""May trading go on? The same as `backtest kill-switch`.

python project/scripts/kill_switch.py --run_id <run_id> --symbol BTCUSDT --max_staleness_bars 3 --max_drawdown -0.15
"""

from backtest.cli import door

if __name__ == "__main__":
    door("kill-switch")
