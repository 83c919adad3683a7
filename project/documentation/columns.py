"""What each file of a data root holds, and a sentence for every column of every table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backtest.discovery.day_scores import TOTALS_ONLY
from backtest.spec.compiled import Spec

Texts = Mapping[str, str]

HYPOTHESIS: Final[Texts] = {
    "candidate_id": "name of the hypothesis: event, trade, horizon, state and scope, joined by dots",
    "event_type": "event type, a name of `spec/events/`",
    "family": "family of the event type, the uppermost level of the control of false discoveries",
    "template_verb": "trade, a name of `spec/templates/`",
    "policy": "how the trade is entered and left: `lag1` enters one bar later, `up3_down1.5` are close barriers in ATR",
    "horizon": "longest time the trade is held, such as `60m`",
    "state_id": "market state at the event (`all` for any), or the filter that is tested",
    "symbol": "symbol, or `POOLED` for all symbols of the run together",
    "direction": "side of the trade: 1 with the event's direction, −1 against it",
}
BARS: Final[Texts] = {
    "timestamp": "open time of the bar, or stamp of the observation (UTC)",
    "open": "first price of the bar (quote currency)",
    "high": "highest price of the bar (quote currency)",
    "low": "lowest price of the bar (quote currency)",
    "close": "last price of the bar (quote currency)",
    "volume": "traded volume (base currency)",
    "quote_volume": "traded value (quote currency)",
    "trade_count": "number of trades",
    "taker_buy_volume": "volume in which the buyer took liquidity (base currency)",
    "taker_buy_quote_volume": "value in which the buyer took liquidity (quote currency)",
}
RAW: Final[Mapping[str, Texts]] = {
    "ohlcv_5m": BARS,
    "ohlcv_1m": BARS,
    "mark_5m": BARS,
    "index_5m": BARS,
    "premium_5m": {
        "timestamp": BARS["timestamp"],
        **{name: f"{which} premium index of the bar (fraction, may be negative)"
           for name, which in (("open", "first"), ("high", "highest"), ("low", "lowest"), ("close", "last"))},
    },
    "funding": {
        "timestamp": "stamp at which funding is paid (UTC)",
        "funding_rate": "paid by longs to shorts at the stamp (fraction of notional)",
        "funding_interval_hours": "hours since the stamp before; null where the source does not tell",
    },
    "metrics": {
        "timestamp": BARS["timestamp"],
        "open_interest": "open contracts at the stamp (base currency)",
        "open_interest_usd": "their value (USD)",
        "top_trader_account_ratio": "accounts of the largest traders, long over short",
        "top_trader_position_ratio": "positions of the largest traders, long over short",
        "global_account_ratio": "all accounts, long over short",
        "taker_volume_ratio": "taker buys over taker sales of the stamp's span",
    },
    "liquidations": {
        "timestamp": BARS["timestamp"],
        "long_liquidation_usd": "notional of longs liquidated within the bar, forced sales (USD)",
        "short_liquidation_usd": "notional of shorts liquidated within the bar, forced purchases (USD)",
        "liquidation_count": "number of liquidation orders",
    },
    "book_ticker": {
        "timestamp": BARS["timestamp"],
        "mean_spread_bps": "mean quoted spread of the bar, weighted by time (bps of mid)",
        "max_spread_bps": "largest quoted spread of the bar (bps of mid)",
        "best_bid_depth_usd": "mean size at the best bid (USD)",
        "best_ask_depth_usd": "mean size at the best ask (USD)",
        "book_imbalance": "bid size less ask size over their sum, at the best prices",
        "book_coverage": "share of the bar for which quotes are known",
    },
    "book_depth": {
        "timestamp": BARS["timestamp"],
        "bid_depth_1pct_usd": "bids within 1 % of mid, mean of the bar's snapshots (USD)",
        "ask_depth_1pct_usd": "asks within 1 % of mid, mean of the bar's snapshots (USD)",
        "bid_depth_5pct_usd": "bids within 5 % of mid, mean of the bar's snapshots (USD)",
        "ask_depth_5pct_usd": "asks within 5 % of mid, mean of the bar's snapshots (USD)",
        "depth_coverage": "share of the bar's half-minutes that have a snapshot",
    },
    "planted_drift": {
        "timestamp": BARS["timestamp"],
        "planted_drift": "log return that a simulated market added inside the bar: the truth a search must find",
    },
}  # fmt: skip
CLEANED: Final[Texts] = {
    **BARS,
    "is_gap": "the bar is missing; its prices are null, never filled in",
    "is_zero_volume": "nobody traded in the bar",
    "is_out_of_range": "the bar had a value that cannot be (a low above a high, a price of zero) and was taken out",
    "is_tainted": "the bar lies in a known defect of the venue's files, or its sources disagree",
    "funding_stamp_rate": "rate of the stamp in the bar as the account pays it; null in all other bars (fraction)",
    "taint": "data sets that cannot be trusted in this bar, separated by commas; null where there is none",
}
CLEANED_QUALITY: Final[Texts] = {
    "symbol": "symbol",
    "market": "`perp` or `spot`",
    "month": "calendar month, such as `2024-01`",
    "expected_bars": "bars that the month has",
    "bars": "bars that are there",
    "gap_bars": "bars that are missing",
    "longest_gap_bars": "length of the longest gap (bars)",
    "duplicates": "raw rows that repeat a bar",
    "off_grid": "raw rows whose time is no multiple of five minutes",
    "inconsistent": "bars taken out because their prices contradict each other",
    "out_of_range": "bars taken out because a value cannot be",
    "zero_volume": "bars in which nobody traded",
    "from_1m": "bars summed from one-minute bars",
}
RAW_QUALITY: Final[Texts] = {
    "market": "`perp` or `spot`",
    "symbol": "symbol",
    "dataset": "raw data set",
    "month": "calendar month, such as `2024-01`",
    "expected_rows": "rows that the month should have",
    "rows": "rows that are there, repetitions counted",
    "duplicate_rows": "rows that repeat another one's time",
    "conflicting_rows": "repetitions that say something else",
    "missing_rows": "rows that are not there",
    "gaps": "spans without rows",
    "out_of_range_values": "values that cannot be",
    "defects": "faults of the venue's files that were met while fetching",
}
CROSS_CHECK: Final[Texts] = {
    "symbol": "symbol",
    "measure": "which two sources disagree, or agree too well",
    "start": "open time of the span's first bar (UTC)",
    "end": "open time of the span's last bar (UTC)",
    "bars": "bars of the span that break the bound",
    "largest_bps": "largest difference within the span (bps)",
    "bound": "the bound that was broken, in words",
}
MARKET: Final[Texts] = {
    "timestamp": BARS["timestamp"],
    "market_return": "mean return of all symbols of the lake in the bar (fraction)",
    "market_return_volume_weighted": "the same, weighted by each symbol's traded value of the day before (fraction)",
    "btc_return": "return of BTCUSDT in the bar (fraction)",
    "return_dispersion": "standard deviation of the symbols' returns in the bar (fraction)",
}
EVENTS: Final[Texts] = {
    "event_id": "name of the occurrence: event type, symbol and time",
    "event_type": HYPOTHESIS["event_type"],
    "symbol": "symbol",
    "timestamp": "open time of the bar at whose close the event is known (UTC)",
    "direction": "side the event points to: 1 up, −1 down, 0 none",
    "strength": "how far the event lies beyond its threshold, as a share of it; null where that is not defined",
    "tainted": "a bar that the event rests on cannot be trusted",
}
SYMBOL_QUALITY: Final[Texts] = {
    "event_type": HYPOTHESIS["event_type"],
    "symbol": "symbol",
    "needs": "data sets that the event lacks; null where it lacks none",
    "n_bars": "bars that are there",
    "n_events": "occurrences",
    "n_joinable": "occurrences outside warm-ups, at which the expected volatility could be known",
    "n_joined": "those of them at which it and every state is known",
    "n_clustered": "occurrences within the clustering distance of the one before",
}
EVENT_QUALITY: Final[Texts] = {
    **SYMBOL_QUALITY,
    "symbols": "symbols on which the event can be detected, separated by commas",
    "per_10000_bars": "occurrences per 10,000 bars",
    "join_rate": "share of the joinable occurrences that are joined",
    "clustered_share": "share of the occurrences that are clustered",
    "verdict": "`tested`, or why not: too rare, too frequent, clustered, not joinable, unavailable",
    "is_tested": "the event's hypotheses are tested",
}
SCORES: Final[Texts] = {
    "policy": HYPOTHESIS["policy"],
    "horizon": HYPOTHESIS["horizon"],
    "state_id": "state; `atom:…` the disjoint cells of effect sizes; a filter, or `not:` and a filter where it does not hold",
    "day": "UTC day of the events, counted from 1970-01-01",
    "n": "trades of the day",
    "n_tainted": "those of them that rest on a bar that cannot be trusted",
    "sum_z": "sum of standardised returns",
    "sum_z2": "sum of squared standardised returns",
    "sum_y": "sum of abnormal returns in the event's direction (fraction)",
    "sum_y2": "sum of their squares",
    "sum_cost": "sum of costs that either side pays (fraction)",
    "sum_impact": "sum of the part of the cost that grows with the order (fraction)",
    "sum_log_turnover": "sum of the logarithm of the usual bar's traded value (USD)",
    "sum_funding": "sum of funding that a position in the event's direction pays (fraction)",
    "sum_favourable": "sum of the largest gains while held, in the event's direction (fraction)",
    "sum_adverse": "sum of the largest losses while held, in the event's direction (fraction)",
    "sum_truth": "sum of what the trades earn on average because of what was planted (fraction); simulated worlds only",
    "exposure_y": "how much `sum_y` falls for each unit of the mean bar return",
    "exposure_z": "how much `sum_z` falls for each unit of the mean bar return",
}
_SERIES: Final = ("policy", "horizon", "state_id")
_SUMMED: Final = [name for name in SCORES if name not in {*_SERIES, "day"} and not name.startswith("exposure_")]
SCORE_DAYS: Final[Texts] = {name: SCORES[name] for name in ("day", *_SUMMED) if name not in TOTALS_ONLY}
SCORE_SERIES: Final[Texts] = {
    **{name: SCORES[name] for name in _SERIES},
    "rows": "its rows in the file of days, where those of one series come after those of another",
    **{name: f"sum of `{name}` over its days in the discovery fold" for name in _SUMMED},
    **{f"confirmation_{name}": f"sum of `{name}` over its days in the confirmation fold" for name in _SUMMED},
}
REGISTER: Final[Texts] = {
    **{name: HYPOTHESIS[name] for name in ("event_type", "family", "policy", "horizon", "state_id", "symbol")},
    "with_verb": "trade in the event's direction; null where there is none",
    "against_verb": "trade against it; null where there is none. With both it is one two-sided hypothesis",
}
CANDIDATES: Final[Texts] = {
    **HYPOTHESIS,
    "alias_of": "the hypothesis with the very same trades that was tested in its place; null for one that was tested itself",
    "mirror_verb": "the same trade on the other side, tested by the same two-sided test; null where it is one-sided",
    "n_events": "trades in the discovery fold",
    "n_days": "days, or clusters of days, with trades",
    "effective_n": "independent trades that would have the same standard error",
    "cluster_days": "length of the clusters of its standard error (days)",
    "standard_error_ratio": "standard error of blocks of five days over that of clusters",
    "expectancy": "raw mean above the symbol's mean bar return, before costs (fraction per trade); of a filter the difference",
    "expectancy_standard_error": "its standard error, by day-cluster jackknife (fraction)",
    "cost": "fees, spread, impact and funding while held (fraction per trade)",
    "posterior_mean": "shrunk mean: what is left of it after the search picked it (fraction per trade)",
    "posterior_sd": "its posterior standard deviation (fraction)",
    "posterior_low": "lower end of its 90 % interval (fraction)",
    "posterior_high": "upper end of its 90 % interval (fraction)",
    "local_false_sign_rate": "posterior probability that the trade's mean is not positive",
    "p_block_null": "posterior probability that the event has no effect at this horizon at all",
    "after_cost_expectancy": "posterior mean less cost (fraction per trade)",
    "break_even_cost": "largest cost besides funding that leaves a posterior mean of zero (fraction)",
    "capacity_usd": "order at which half of the net return of a small one is left (USD)",
    "probability_above_cost": "posterior probability that the mean is above the cost",
    "mean_favourable_excursion": "mean of the largest gain while held (fraction)",
    "mean_adverse_excursion": "mean of the largest loss while held (fraction, positive)",
    "mean_standardised_return": "mean return in units of the trade's expected volatility: what is tested",
    "t_stat": "that mean over its standard error",
    "skewness": "skewness of one cluster's return in the trade's direction, pooled over the policy and horizon",
    "adjusted_t_stat": "t without what the skewness has in it; p belongs to this one",
    "degrees_of_freedom": "degrees of freedom of the t",
    "p_value": "p of the test, two-sided where there is a mirror, else one-sided",
    "q_value": "Benjamini–Hochberg over the whole search: share of false ones among all with a q this small",
    "family_wise_p": "p over the whole search by joint sign-flips (Romano–Wolf)",
    "confirmation_n_events": "trades in the confirmation fold",
    "confirmation_n_days": "days, or clusters of days, with trades there",
    "confirmation_expectancy": "raw mean there, before costs (fraction per trade); null unless it was a candidate",
    "confirmation_p": "one-sided p there, in the direction found in discovery",
    "confirmation_q": "Benjamini–Hochberg over all candidates there",
    "confirmation_level": "level that the budget of the confirmation fold left for it",
    "confirmation_level_at_first": "level at the fold's first opening",
    "confirmation_openings": "how many searches have opened this confirmation fold, with this one",
    "sharpe_ratio": "Sharpe ratio per year of the day sums, before costs (365 days)",
    "deflated_sharpe": "probability that it exceeds the best of `n_trials` trials by luck",
    "n_trials": "trials that the search and the ledger amount to",
    "backtest_overfitting": "how often the event's best trade of half the time loses in the other half",
    "cusum_p": "p of a drift of the mean within the discovery fold",
    "largest_day_share": "share of the sum of returns that the largest day makes",
    "largest_day_share_of_events": "share of the trades that the busiest day has",
    "tainted_share": "share of the trades, of both folds, that rest on a bar that cannot be trusted",
    "spans_same_sign": "spans of the discovery fold with the sign of the whole",
    "signs_by_year": "sign of the summed returns of each year, such as `2023+ 2024-`",
    "signs_by_symbol": "sign of the summed returns of each symbol",
    "gate_tree_bh": "found by TreeBH over families, events and hypotheses",
    "gate_tier_a": "found by the family-wise control (tier A)",
    "is_confirmation_candidate": "was tested on the confirmation fold",
    "search_scope": "`whole`, or `partial` where one event was scored again without the others",
    "gate_eligible": "enough events and days in both folds, no day with too large a share",
    "gate_significant": "TreeBH or tier A",
    "gate_day_concentration": "no day makes too much of the sum",
    "gate_confirmed": "the confirmation fold agrees",
    "gate_economic": "posterior mean above cost with enough probability",
    "gate_economic_conservative": "posterior mean above a multiple of the cost",
    "gate_stability": "the same sign in enough spans of the discovery fold",
    "gate_phase2_final": "passed every gate",
    "margin_eligible": "distance to the limit of that gate; negative: missed",
    "margin_significant": "distance to the limit of that gate; negative: missed",
    "margin_day_concentration": "distance to the limit of that gate; negative: missed",
    "margin_confirmed": "distance to the limit of that gate; negative: missed",
    "margin_economic": "distance to the limit of that gate; negative: missed (fraction)",
    "margin_economic_conservative": "distance to the limit of that gate; negative: missed (fraction)",
    "margin_stability": "distance to the limit of that gate; negative: missed (spans)",
    "fail_reasons": "gates that were missed, separated by commas; empty where none was",
}
PLACEBO: Final[Texts] = {
    "candidate_id": HYPOTHESIS["candidate_id"],
    "placebo_n_events": "trades at placebo times",
    "placebo_mean": "their mean return in the candidate's direction (fraction per trade)",
    "placebo_low": "lower end of its 90 % interval (fraction)",
    "placebo_high": "upper end of its 90 % interval (fraction)",
    "placebo_difference": "raw mean of the candidate less that of placebo times (fraction)",
    "placebo_difference_standard_error": "standard error of the difference (fraction)",
    "placebo_p": "one-sided p of a difference this large, of standardised returns",
}
VERDICTS: Final[Texts] = {
    **{name: text for name, text in CANDIDATES.items() if name in (
        "candidate_id", "event_type", "template_verb", "horizon", "state_id", "symbol", "direction", "gate_phase2_final",
        "n_events", "n_days", "expectancy", "posterior_mean", "cost", "after_cost_expectancy", "p_value")},
    "bootstrap_low": "lower end of the 90 % interval of the net raw mean over draws of days (fraction)",
    "bootstrap_high": "upper end of that interval (fraction)",
    "check_sub_periods": "gained in enough of six equal spans; null where it could not be judged, as of all checks",
    "check_leave_one_symbol_out": "enough is kept without each symbol",
    "check_leave_one_month_out": "enough is kept without each calendar month",
    "check_entry_delay": "enough is kept when entered a bar later",
    "check_horizon_neighbours": "enough is kept at half and at twice the horizon",
    "check_parameter_neighbours": "the sign is kept when each parameter of the event is changed by a fifth",
    "check_costs": "something is left at 1.5 times the costs",
    "check_bootstrap": "few draws of days earn less than the cost",
    "verdict": "`robust`, `fragile` or `not assessed`",
    "failed_checks": "checks that failed, separated by commas",
    "not_judged": "checks with nothing to judge, separated by commas",
    "reason": "why it was not assessed; null where it was",
}  # fmt: skip
CHECKS: Final[Texts] = {
    "candidate_id": HYPOTHESIS["candidate_id"],
    "check": "name of the check",
    "variation": "what was changed",
    "n_events": "trades of the changed trade",
    "mean": "its raw mean (fraction per trade)",
    "value": "what is held against the limit: usually the share of the candidate's own mean that is kept",
    "limit": "the limit in `spec/evaluation.yaml`",
    "passed": "whether the value keeps the limit; null where it is only shown",
    "note": "why it was not judged",
}
FOLDS: Final[Texts] = {
    "fold": "number of the training window",
    "train_start": "first day of the training window",
    "train_end": "day after its last",
    "test_start": "first day of the test window",
    "test_end": "day after its last",
    "n_tested": "hypotheses tested in the training window",
    "n_found": "those that passed every gate there",
    "n_book": "finds in the fold's book: one an event, trade and horizon",
    "n_trades": "trades of the book in the test window",
    "n_days": "days, or clusters of days, with such trades",
    "expected_net": "mean net return that the training window promised (fraction per trade)",
    "net": "mean net return that came in the test window (fraction per trade)",
    "net_standard_error": "its standard error (fraction)",
}
FINDS: Final[Texts] = {
    "candidate_id": HYPOTHESIS["candidate_id"],
    "n_folds": "training windows",
    "n_found": "those in which it was found",
    "n_trades": "its trades in the test windows after those",
    "n_days": "days, or clusters of days, with such trades",
    "gross": "mean return of them before costs (fraction per trade)",
    "net": "mean return after costs and funding (fraction per trade)",
    "net_standard_error": "its standard error (fraction)",
    "net_p": "one-sided p of a net mean this high where it is zero",
}
WALKED: Final[Texts] = {
    **HYPOTHESIS,
    "fold": FOLDS["fold"],
    "p_value": "p in the training window",
    "expected_net": "net mean that the training window promised (fraction per trade)",
    "day": "day of the test window, counted from 1970-01-01; null where there was no trade",
    "n": "trades of the day",
    "gross": "sum of their returns before costs (fraction)",
    "net": "sum of their returns after costs and funding (fraction)",
}
BAR_RETURNS: Final[Texts] = {
    "symbol": "symbol",
    "leg": "empty for the perpetual itself, else its second leg",
    "day": "UTC day, counted from 1970-01-01",
    "n": "returns from open to open",
    "total": "their sum (fraction)",
    "last": "the one whose other end lies in the next day (fraction)",
}
VARIED: Final[Texts] = {
    "check": CHECKS["check"],
    "variation": CHECKS["variation"],
    **{name: HYPOTHESIS[name] for name in ("event_type", "policy", "horizon", "state_id")},
    "symbol": "symbol",
    **{name: SCORES[name] for name in ("day", "n", "sum_y", "sum_cost", "sum_funding")},
}
GATES: Final[Texts] = {
    "candidate_id": HYPOTHESIS["candidate_id"],
    "gate": "what is asked",
    "passed": "the answer; null where there was nothing to ask",
    "value": "figure that is held against the limit; of a gate of the profile its margin, held against 0",
    "limit": "the limit",
    "reason": "why it failed, in words",
}
PROMOTIONS: Final[Texts] = {
    **HYPOTHESIS,
    "after_cost_expectancy": CANDIDATES["after_cost_expectancy"],
    "test_net": "net mean in the test windows of the walk-forward (fraction per trade)",
    "is_promoted": "passed everything that the promotion asks",
    "failed_gates": "gates that failed, separated by commas",
    "reason": "why it was not promoted: the reason of the first gate that failed",
}
SIGNALS: Final[Texts] = {
    "strategy": "strategy or blueprint",
    "symbol": "symbol",
    "event_time": "open time of the bar at whose close the trigger is known (UTC)",
    "decision_time": "open time of the bar at whose close the entry is known (UTC); null where there is none",
    "side": "1 long, −1 short",
    "entry_lag_bars": "bars from the decision to the entry's open",
    "horizon_bars": "longest time held (bars)",
    "close_target": "distance from the entry of a close that takes the gain (price; of two legs a fraction); null for none",
    "close_stop": "distance of a close that takes the loss; as above",
    "target_distance": "distance of a resting order that takes the gain (price); null for none",
    "stop_distance": "distance of a resting order that takes the loss (price); null for none",
    "second_leg": "`spot` or `pair` where a second leg is traded against the first",
    "tainted": "a bar that the rule's expressions reach cannot be trusted",
    "skipped": "why there is no entry; null where there is one",
}
SIGNAL_BARS: Final[Texts] = {
    **{name: BARS[name] for name in ("timestamp", "open", "high", "low", "close")},
    "mark": "mark price at the close (quote currency)",
    "funding": "rate of the stamp in the bar, 0 without one (fraction)",
    "tradable": "the bar is there and somebody traded in it",
    "tainted": "the bar itself is known to be wrong",
    "volatility": "expected volatility per bar as known at the close (fraction)",
    "turnover_usd": "traded value of a usual bar as known at the close (USD)",
    "spot_open": "open of the spot bar (quote currency)",
    "spot_close": "close of the spot bar (quote currency)",
    "spot_turnover_usd": "traded value of a usual spot bar (USD)",
    "spot_tradable": "the spot bar is there and somebody traded in it",
}
TESTED: Final[Texts] = {
    "event_id": "strategy, symbol and time of the trigger",
    "strategy": "strategy or blueprint",
    "symbol": "symbol",
    "entry_time": "open time of the bar it enters at (UTC)",
    "exit_time": "open time of the bar it leaves at (UTC)",
    "gross_return": "fraction earned by the trade's side before costs and funding, as the search measures it",
}
TRADES: Final[Texts] = {
    "event_id": "strategy, symbol and time of the trigger",
    "signal": "number of the signal",
    "leg": "0, or 1 for the second leg",
    "strategy": "strategy or blueprint",
    "instrument": "the symbol",
    "side": "1 long, −1 short",
    "decision_time": "open time of the bar at whose close the entry is known (UTC)",
    "entry_time": "open time of the bar it entered in (UTC)",
    "exit_time": "open time of the bar it left in (UTC); null while open",
    "reason": "why it left: `horizon`, `close_target`, `close_stop`, `invalidation`, `target`, `stop`, `stop_gap`, `flip`, "
    "`liquidation` or `still_open`",
    "ambiguous": "a bar held both stop and target: the bound decided",
    "tainted": "its event, or a bar until the exit, is known to be wrong",
    "intrabar": "it left inside a bar, not at an open",
    "quantity": "size (base currency)",
    "notional": "value at the entry (USD)",
    "entry_reference": "price at the entry without slippage",
    "entry_price": "price at the entry with slippage",
    "exit_reference": "price at the exit without slippage",
    "exit_price": "price at the exit with slippage",
    "fees": "fees paid (USD)",
    "spread": "half-spreads paid (USD)",
    "impact": "market impact paid (USD)",
    "slippage": "spread and impact (USD)",
    "funding": "funding paid, of a spot leg the interest; negative: received (USD)",
    "liquidation_fee": "fee of a liquidation (USD)",
    "gross": "profit before all costs (USD)",
    "net": "profit after all costs (USD)",
    "net_return": "net over notional (fraction)",
    "mfe": "largest gain while held (fraction, ≥ 0)",
    "mae": "largest loss while held (fraction, ≥ 0)",
    "bars_held": "bars held",
    "bars_carried": "bars that an exit waited for one that could be filled",
    "span": "`in_sample`, `confirmation` or `after`: which days of the search it lies in",
}
EQUITY: Final[Texts] = {
    "timestamp": BARS["timestamp"],
    "equity": "cash and open positions at their marks (USD)",
    "drawdown": "below the highest so far (fraction, ≤ 0)",
    "gross_exposure": "value of all positions (USD)",
    "net_exposure": "longs less shorts (USD)",
    "maintenance_margin": "equity below which positions are closed (USD)",
    "traded_usd": "value traded in the bar (USD)",
    "n_open": "open trades",
    "equity_best": "equity under the other bound of what bars can have been (USD)",
}
METRICS: Final[Texts] = {
    "scope": "`portfolio`, `strategy` or `symbol`",
    "name": "which strategy or symbol; empty for the portfolio",
    "span": "`whole`, `in_sample`, `confirmation` or `after`",
    "bound": "`worst` (of a bar with both the stop comes first) or `best`",
    "start": "first day",
    "end": "last day",
    "n_days": "days",
    "n_trades": "trades",
    "max_drawdown_days": "longest time below a high (days)",
    "n_carried": "trades whose exit waited",
    "n_liquidated": "trades that were liquidated",
    "n_ambiguous": "trades that the bound decided",
    "n_tainted": "trades that rest on a bar known to be wrong",
    "total_return": "return over the span (fraction)",
    "annual_return": "return per year of 365 days (fraction)",
    "annual_volatility": "volatility per year of daily returns (fraction)",
    "sharpe_ratio": "Sharpe ratio per year",
    "sharpe_standard_error": "its standard error",
    "sortino_ratio": "Sortino ratio per year",
    "max_drawdown": "deepest fall below a high, at the closes of bars (fraction, ≤ 0)",
    "calmar_ratio": "annual return over the deepest fall",
    "turnover_per_year": "value traded over equity, per year",
    "mean_exposure": "mean of gross exposure over equity",
    "hit_rate": "share of trades with a gain",
    "profit_factor": "gains over losses",
    "expectancy": "mean net return of a trade on its notional (fraction)",
    "expectancy_low": "lower end of its 95 % interval over day clusters (fraction)",
    "expectancy_high": "upper end of that interval (fraction)",
    "net_usd": "profit after all costs (USD)",
    "deflated_sharpe": "probability that the Sharpe ratio exceeds the best of `n_trials` trials by luck",
    "n_trials": "trials it is deflated by",
    "overfitting_probability": "how often the best strategy of half of the days is at or below the median in the other half",
}
COSTS: Final[Texts] = {
    "scope": METRICS["scope"],
    "name": METRICS["name"],
    "gross": "profit before all costs (USD)",
    "fees": "fees paid (USD)",
    "spread": "half-spreads paid (USD)",
    "impact": "market impact paid (USD)",
    "funding": "funding and interest paid (USD)",
    "liquidation_fee": "fees of liquidations (USD)",
    "net": "profit after all costs (USD)",
    "traded_usd": "value traded, both sides (USD)",
    "gross_bps": "profit before all costs (bps of the notional at entry)",
    "fees_bps": "fees (bps of the notional at entry)",
    "spread_bps": "half-spreads (bps of the notional at entry)",
    "impact_bps": "market impact (bps of the notional at entry)",
    "funding_bps": "funding and interest (bps of the notional at entry)",
    "liquidation_fee_bps": "fees of liquidations (bps of the notional at entry)",
    "net_bps": "profit after all costs (bps of the notional at entry)",
}
PARITY: Final[Texts] = {
    "strategy": "strategy or blueprint",
    "symbol": "symbol",
    "verdict": "`equal`, `differs`, or `not comparable` where the search has no such trade",
    "n_tested": "trades that the search measures",
    "n_traded": "trades that the engine makes on an account without limits and costs",
    "n_equal": "trades that are the same in both",
    "n_only_tested": "trades of the search alone",
    "n_only_traded": "trades of the engine alone: carried for more than a day, or open at the end of the data",
    "n_different": "trades of both with other times or returns",
    "largest_difference": "largest difference of a trade's return (fraction)",
    "note": "why it is not comparable",
}


@dataclass(frozen=True)
class Table:
    """A Parquet file, or many of one form: where it lies below the data root, what a row is, a sentence a column."""

    group: str
    place: str
    row: str
    columns: Texts

    @property
    def pattern(self) -> re.Pattern[str]:
        """What a path below the data root is matched by: ``<…>`` is any one name, ``…`` anything."""
        parts = re.split(r"(<[^>]+>|…)", self.place)
        return re.compile("".join(
            ".+" if part == "…" else "[^/]+" if part.startswith("<") else re.escape(part) for part in parts
        ))  # fmt: skip


def tables(spec: Spec) -> tuple[Table, ...]:
    """Every table that the program writes."""
    from backtest.evaluation.expectancy import COLUMN_TEXTS

    states = {
        name: f"value of the state {name} in force at the event; null where none is known" for name in spec.states
    }
    flags = {
        state_id: f"the state {state.model.name} is {value} at the bar's close"
        for state in spec.states.values()
        for state_id, value in zip(state.values, state.model.values, strict=True)
    }
    events = {**EVENTS, **states}
    bar_columns = {name: f"{column.description.rstrip('.')} ({column.unit})" for name, column in spec.columns.items()}
    features = {name: f"{one.model.description.rstrip('.')} ({one.model.unit})" for name, one in spec.features.items()}
    seen = {name: f"{name} occurs in the bar" for name in spec.events}
    passed_on = "What the stages of a run hand each other"
    raw, months, run = "Raw data sets", "year=<YYYY>/month=<MM>/…parquet", "<run_id>"
    lake, backtest = f"lake/runs/{run}", f"reports/backtest/{run}"
    judged = {**SCORES, "event_type": HYPOTHESIS["event_type"], "symbol": "symbol", "leg": BAR_RETURNS["leg"]}
    return (
        *(Table(raw, f"lake/raw/<venue>/<market>/<SYMBOL>/{name}/{months}", "a row of the source", texts)
          for name, texts in RAW.items()),
        Table(raw, "lake/raw/<venue>/quality.parquet", "a month of a raw data set", RAW_QUALITY),
        Table("The shared lake", f"lake/cleaned/perp/<SYMBOL>/bars_5m/{months}", "a bar of the full five-minute grid",
              {**bar_columns, **CLEANED}),
        Table("The shared lake", f"lake/cleaned/spot/<SYMBOL>/bars_5m/{months}", "a spot bar of the full grid", CLEANED),
        Table("The shared lake", "lake/cleaned/<market>/<SYMBOL>/quality/<quarter>.parquet", "a month", CLEANED_QUALITY),
        Table("The shared lake", "lake/cleaned/perp/<SYMBOL>/cross_check.parquet", "a span of disagreement", CROSS_CHECK),
        Table("The shared lake", f"lake/features/perp/_market/5m/features_v1/{months}", "a bar", MARKET),
        Table("The shared lake", f"lake/features/perp/<SYMBOL>/5m/features_v1/{months}", "a bar",
              {"timestamp": BARS["timestamp"], **features}),
        Table("Events of a run", f"events/{run}/events.parquet", "an occurrence", events),
        Table("Events of a run", f"events/{run}/event_flags.parquet", "a bar of a symbol with an event",
              {"timestamp": BARS["timestamp"], "symbol": "symbol", **seen}),
        Table("Events of a run", f"events/{run}/event_quality.parquet", "an event type", EVENT_QUALITY),
        Table("Results of a run", f"reports/phase2/{run}/<EVENT>/candidates.parquet", "a hypothesis", CANDIDATES),
        Table("Results of a run", f"reports/phase2/{run}/placebo.parquet", "a candidate or near miss", PLACEBO),
        Table("Results of a run", f"reports/expectancy/{run}/expectancy.parquet", "a hypothesis", COLUMN_TEXTS),
        Table("Results of a run", f"reports/expectancy/{run}/robustness.parquet", "a candidate", VERDICTS),
        Table("Results of a run", f"reports/expectancy/{run}/robustness_checks.parquet", "a candidate and change", CHECKS),
        Table("Results of a run", f"reports/walk_forward/{run}/folds.parquet", "a training window", FOLDS),
        Table("Results of a run", f"reports/walk_forward/{run}/finds.parquet", "a find of any training window",
              {**HYPOTHESIS, **FINDS}),
        Table("Results of a run", f"reports/walk_forward/{run}/days.parquet", "a find and day of a test window", WALKED),
        Table("Results of a run", f"reports/promotions/{run}/promotions.parquet", "a candidate", PROMOTIONS),
        Table("Results of a run", f"reports/promotions/{run}/gates.parquet", "a candidate and gate", GATES),
        Table("Backtest of a run", f"{backtest}/trades.parquet", "a leg of a trade, cautious fills", TRADES),
        Table("Backtest of a run", f"{backtest}/trades_best.parquet", "a leg of a trade, the other bound", TRADES),
        Table("Backtest of a run", f"{backtest}/equity.parquet", "a bar", EQUITY),
        Table("Backtest of a run", f"{backtest}/strategy_returns.parquet", "a day and strategy", {
            "day": "UTC day", "strategy": "strategy or blueprint, alone on the account",
            "net_usd": "profit of the day, marked to market (USD)", "return": "the same over the starting equity (fraction)"}),
        Table("Backtest of a run", f"{backtest}/skipped.parquet", "a signal that became no trade", {
            "strategy": "strategy or blueprint", "symbol": "symbol", "event_time": SIGNALS["event_time"],
            "decision_time": SIGNALS["decision_time"], "reason": "why it became no trade",
            "stage": "`signal`: the rule did not ask; `account`: the account could not"}),
        Table("Backtest of a run", f"{backtest}/metrics.parquet", "a scope, name, span and bound", METRICS),
        Table("Backtest of a run", f"{backtest}/monthly.parquet", "a month", {
            "month": "calendar month, such as `2024-01`", "return": "return of the account (fraction)",
            "net_usd": "profit after all costs (USD)", "n_trades": "trades that left in it"}),
        Table("Backtest of a run", f"{backtest}/costs.parquet", "a scope and name", COSTS),
        Table("Backtest of a run", f"{backtest}/capacity.parquet", "a starting equity", {
            "starting_equity_usd": "equity the account began with (USD)", "total_return": METRICS["total_return"],
            "sharpe_ratio": METRICS["sharpe_ratio"], "net_bps": COSTS["net_bps"],
            "notional_over_equity": "sum of the notionals at entry over the starting equity", "n_trades": METRICS["n_trades"]}),
        Table("Backtest of a run", f"{backtest}/correlation.parquet", "a pair of strategies", {
            "first": "strategy", "second": "the other one", "correlation": "correlation of their daily returns",
            "n_days": "days with both"}),
        Table("Backtest of a run", f"{backtest}/parity.parquet", "a strategy and symbol", PARITY),
        Table(passed_on, f"{lake}/states/<SYMBOL>.parquet", "a bar",
              {"timestamp": BARS["timestamp"], **flags}),
        Table(passed_on, f"{lake}/detected/<SYMBOL>/<quarter>.hits.parquet",
              "a bar at which an event's condition holds", events),
        Table(passed_on, f"{lake}/detected/<SYMBOL>/<quarter>.states.parquet", "a bar", {
            "timestamp": BARS["timestamp"], **flags, "is_gap": CLEANED["is_gap"],
            "expected_volatility": "expected volatility per bar as known at the close (fraction)"}),
        Table(passed_on, f"{lake}/events/<SYMBOL>.quality.parquet", "an event type",
              SYMBOL_QUALITY),
        Table(passed_on, f"{lake}/events/<SYMBOL>.parquet", "an occurrence", events),
        Table(passed_on, f"{lake}/register.parquet", "a hypothesis, before any return is read",
              REGISTER),
        Table(passed_on, f"{lake}/scores/<EVENT>/<SYMBOL>.series.parquet",
              "a policy, horizon and state: the rows of the file beside it", SCORE_SERIES),
        Table(passed_on, f"{lake}/scores/<EVENT>/<SYMBOL>.parquet",
              "a policy, horizon, state and day, in the order of the file of series",
              SCORE_DAYS),
        Table(passed_on, f"{lake}/variations/<SYMBOL>.parquet", "a changed trade and day", VARIED),
        Table(passed_on, f"{lake}/walk_forward/<SYMBOL>.bar_returns.parquet", "a day and leg",
              BAR_RETURNS),
        Table(passed_on, f"{lake}/walk_forward/scores/<EVENT>/<SYMBOL>.parquet",
              "a policy, horizon, state and day, without drift", judged),
        Table(passed_on, f"{lake}/walk_forward/folds/<fold>.parquet",
              "a find and day of a test window", WALKED),
        Table(passed_on, f"{lake}/signals/<SYMBOL>.signals.parquet", "a signal", SIGNALS),
        Table(passed_on, f"{lake}/signals/<SYMBOL>.bars.parquet", "a bar", SIGNAL_BARS),
        Table(passed_on, f"{lake}/signals/<SYMBOL>.tested.parquet", "a trade", TESTED),
        Table(passed_on, f"{lake}/signals/<SYMBOL>.invalidation.parquet", "a bar", {
            "timestamp": BARS["timestamp"], "…": "a further column a strategy: its invalidation holds at the bar's close"}),
    )  # fmt: skip


def undescribed(spec: Spec, root: Path) -> list[str]:
    """Parquet files below a data root that no table is, and columns of the others without a sentence."""
    import polars as pl

    found: dict[str, None] = {}
    every = tables(spec)
    for path in sorted(root.rglob("*.parquet")):
        place = path.relative_to(root).as_posix()
        table = next((one for one in every if one.pattern.fullmatch(place)), None)
        if table is None:
            found[f"{place} is no table of the reference"] = None
        elif "…" not in table.columns:
            missing = [name for name in pl.read_parquet_schema(path) if name not in table.columns]
            found |= dict.fromkeys(f"{table.place}: {name}" for name in missing)
    return list(found)
