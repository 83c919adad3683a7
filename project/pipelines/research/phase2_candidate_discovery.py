"""Candidate discovery for one event type of a run. The same as `backtest discover-event`.

python project/pipelines/research/phase2_candidate_discovery.py
        --run_id <run_id> --event_type VOL_SHOCK --symbols BTCUSDT,ETHUSDT --mode research
"""

from backtest.cli import door

if __name__ == "__main__":
    door("discover-event")
