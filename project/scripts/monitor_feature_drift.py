"""Have the features drifted (population stability index)? The same as `backtest monitor-feature-drift`.

python project/scripts/monitor_feature_drift.py --run_id <run_id> --symbol BTCUSDT
    --reference_window_days 30 --live_window_days 7
"""

from backtest.cli import door

if __name__ == "__main__":
    door("monitor-feature-drift")
