"""Is the newest bar of each symbol recent enough? The same as `backtest monitor-data-freshness`.

python project/scripts/monitor_data_freshness.py --symbols BTCUSDT,ETHUSDT --timeframe 5m --max_staleness_bars 3
"""

from backtest.cli import door

if __name__ == "__main__":
    door("monitor-data-freshness")
