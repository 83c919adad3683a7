"""Is a window free of the days used for discovery? The same as `backtest validate-oos-window`.

python project/scripts/validate_oos_window.py --run_id <run_id> --eval_start 2025-01-01 --eval_end 2025-07-01
"""

from backtest.cli import door

if __name__ == "__main__":
    door("validate-oos-window")
