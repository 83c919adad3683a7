"""What each term of a report means, in words for a reader who has not met it."""

from __future__ import annotations

from typing import Final

from markupsafe import Markup

from backtest.reports.html.svg import element

TERMS: Final[dict[str, tuple[str, str]]] = {
    "hypothesis": (
        "Hypothesis",
        "One question put to the data: event × trade × holding time × market state × symbols. The list is written "
        "down and hashed before any "
        "return is read.",
    ),
    "ledger": (
        "Search ledger",
        "A file that records every search ever made on the same days and symbols. Whoever tries often enough finds "
        "something, so tries are "
        "counted, not declared.",
    ),
    "spec_hash": (
        "Spec hash",
        "Fingerprint of all definitions a result comes from. The same data and the same hash give the same result.",
    ),
    "bps": ("bps", "Basis point: 0.01 %. 10 bps of 10,000 USD are 10 USD."),
    "event": ("Event", "A moment that a rule picks out using data up to the close of its bar, never later."),
    "trade": (
        "Trade",
        "What is done after an event: with its direction or against it, how it is entered and when it is left.",
    ),
    "horizon": ("Horizon", "The longest time a trade is held, from the open of its entry bar."),
    "state": (
        "State",
        "A condition of the market known at the event's bar, such as high volatility; all means none is asked for.",
    ),
    "pooled": ("Pooled", "All symbols together. Events of one day on all symbols count as one cluster."),
    "n_events": ("n", "Number of trades in the discovery fold."),
    "n_days": (
        "Days",
        "Days of the discovery fold with at least one of the trades. They are what the standard error counts, not the trades.",
    ),
    "raw_mean": (
        "Raw mean",
        "Average return of a trade in the discovery fold before costs, less the symbol's own drift. It is too large "
        "on average for whatever was "
        "picked for its size.",
    ),
    "shrunk_mean": (
        "Shrunk mean",
        "The estimate after shrinkage: what is left of the raw mean when all hypotheses of the search are looked at "
        "together. The number to believe.",
    ),
    "shrinkage": (
        "Shrinkage",
        "Results that were selected for being large are too large on average. Shrinkage pulls each estimate towards "
        "zero by as much as the whole "
        "search says is luck (empirical Bayes; Stephens 2017).",
    ),
    "interval90": ("90 % interval", "The range that holds the true mean with probability 0.90 after shrinkage."),
    "interval95": (
        "95 % interval",
        "The range that would hold the true mean in 95 of 100 repetitions, with whole days as the unit that repeats.",
    ),
    "cost": (
        "Cost",
        "Two taker fees, the spread, market impact and funding paid while the trade is held, on average, per trade.",
    ),
    "net": ("Net", "Shrunk mean less cost: what is expected to be left of a trade."),
    "break_even": (
        "Break-even cost",
        "The largest cost besides funding at which the trade still earns nothing less than zero.",
    ),
    "capacity": (
        "Capacity",
        "Order size at which half of the net return of a small order is left; larger orders move the price too much.",
    ),
    "probability_above_cost": (
        "P(above cost)",
        "Probability that the true mean is larger than the cost, after shrinkage.",
    ),
    "false_sign_rate": (
        "False sign rate",
        "Probability that the true mean is not positive, after shrinkage (local false sign rate).",
    ),
    "p_block_null": (
        "P(no effect)",
        "Probability that the event has no effect at this horizon at all, by the whole search.",
    ),
    "skewness": (
        "skewness",
        "Whether a day's return has its long tail on the gaining (+) or the losing side (−), of all trades left alike.",
    ),
    "adjusted_t_stat": (
        "adjusted t",
        "t without what skewness alone would put into it: many small losses and few large gains can look significant.",
    ),
    "t_stat": ("t", "Mean divided by its standard error. Beyond ±2 it is surprising for one test, not for thousands."),
    "p_value": (
        "p-value",
        "How often a mean this far from zero would be seen if there were no effect. It knows nothing of the other "
        "thousands of tests.",
    ),
    "q_value": (
        "q-value",
        "The share of false discoveries to expect among everything with a q this small or smaller, over the whole search "
        "(Benjamini & Hochberg 1995).",
    ),
    "family_wise": (
        "Family-wise p",
        "How often the best of all hypotheses would look this good if none had any effect, found by flipping the "
        "signs of whole days "
        "(Romano & Wolf 2005).",
    ),
    "tree_bh": (
        "TreeBH",
        "Control of false discoveries in levels: families of events first, events inside them, then single hypotheses "
        "(Bogomolov and others 2021).",
    ),
    "tier_a": (
        "Tier A",
        "Survives the strictest test: a family-wise p over the whole search, held to the level in spec/gates.yaml.",
    ),
    "day_cluster": (
        "Day cluster",
        "All trades of a day, on all symbols, count as one observation, since they see the same market. Otherwise one "
        "wild day would look like a "
        "hundred independent proofs.",
    ),
    "discovery_fold": ("Discovery fold", "The first 70 % of the days: everything is searched and chosen there."),
    "confirmation_fold": (
        "Confirmation fold",
        "The last days, after a gap, untouched by the search. What was chosen is tested there once, in the direction "
        "already fixed.",
    ),
    "confirmed": (
        "Confirmed",
        "The untouched days agree: one-sided, with false discoveries controlled at 0.10 over all that were tested there.",
    ),
    "confirmation_q": (
        "Confirmation q",
        "q-value on the confirmation fold over all candidates that were tested there.",
    ),
    "embargo": (
        "Embargo",
        "Days between the two folds that nobody uses, at least as long as any trade, so that no trade spans both.",
    ),
    "placebo": (
        "Placebo band",
        "Where 95 % of the mean paths lie when the same trades are moved to other days at the same time of day. A "
        "real effect leaves the band.",
    ),
    "placebo_times": (
        "Placebo times",
        "The same trade made at bars of the same symbol, hour and volatility without an event near them. What it earns there "
        "is not the event's doing.",
    ),
    "excursions": (
        "Excursions (MFE, MAE)",
        "Maximum favourable and adverse excursion: how far the price moved in the trade's favour and against it while held.",
    ),
    "overfitting": (
        "Overfitting",
        "How often the best trade of one half of the time is at or below the median in the other half (Bailey and others "
        "2017).",
    ),
    "cusum": (
        "Drift of the mean",
        "Whether the cumulated sum of the returns strays further from a straight line than luck would let it.",
    ),
    "event_study": (
        "Event study",
        "The average price path around the trades, in their direction, less the symbol's drift, with zero at the entry.",
    ),
    "gate": ("Gate", "A condition that a candidate must meet. All limits stand in the spec and were fixed beforehand."),
    "margin": ("Margin", "Distance to the limit of a gate; negative where the limit was missed."),
    "eligible": (
        "Enough events",
        "At least the number of trades and days that a test needs in both folds, and no day with too many of them.",
    ),
    "economic": ("Economic", "The shrunk mean exceeds the cost with high probability, and also 1.5 times the cost."),
    "stability": ("Stability", "The effect has the same sign in at least 3 of 4 equal spans of the discovery fold."),
    "day_concentration": ("Day concentration", "No single day makes more than a quarter of the whole sum."),
    "tainted": (
        "Tainted",
        "Rests on a bar that cannot be trusted: a gap, a halt, a price out of range, or a known defect of the data.",
    ),
    "prevalence": ("Prevalence", "Occurrences of an event per 10,000 bars (about 35 days of 5-minute bars)."),
    "clustered": (
        "Clustering",
        "Share of occurrences that follow another one within 5 bars; too many mean that one happening is counted often.",
    ),
    "join_rate": (
        "Join rate",
        "Share of occurrences at which the expected volatility is known, so that they can be scored.",
    ),
    "cooldown": ("Cooldown", "Bars after an occurrence in which the same event is silent."),
    "co_occurrence": (
        "Co-occurrence",
        "Share of the row event's occurrences that have one of the column event on the same symbol within one hour.",
    ),
    "blueprint": ("Blueprint", "All an engine needs to trade a candidate exactly as it was tested."),
    "drawdown": ("Drawdown", "Loss since the highest equity so far, as a share of it."),
    "exposure": ("Exposure", "Value of the open positions as a share of the equity."),
    "fill_bounds": (
        "Fill bounds",
        "The same trades under a hopeful and a cautious assumption about the price they are filled at. The truth lies between.",
    ),
    "out_of_sample": ("Out of sample", "Days that no choice was made on."),
    "deflated_sharpe": (
        "Deflated Sharpe",
        "Probability that the Sharpe ratio is above what the best of so many tries would show by luck (Bailey & López "
        "de Prado 2014).",
    ),
    "sharpe": ("Sharpe ratio", "Mean return over its standard deviation, per year of 365 days."),
    "walk_forward": (
        "Walk-forward",
        "The rule is chosen on earlier days and judged on the next ones, again and again through time.",
    ),
    "promotion": (
        "Promotion",
        "A candidate that passed every gate is held to stricter ones, to its robustness and to a walk-forward. Who passes "
        "those too is promoted: worth trading on paper.",
    ),
    "robust": (
        "Robust",
        "The result is still there when a symbol, a month or a bar of delay is taken away and when parameters, horizon and "
        "costs are changed a little.",
    ),
    "mfe": ("MFE", "Maximum favourable excursion: how far the price moved in the trade's favour while it was held."),
    "mae": ("MAE", "Maximum adverse excursion: how far the price moved against the trade while it was held."),
    "psi": (
        "PSI",
        "Population stability index: how far the distribution of a feature has moved; above 0.25 is a large move.",
    ),
    "kill_switch": (
        "Kill switch",
        "Checks whether trading may go on: fresh data, no drift, drawdown and slippage within limits.",
    ),
    "false_discovery_rate": (
        "False discovery rate",
        "Expected share of false ones among everything that is called a discovery.",
    ),
    "power": ("Power", "Share of real effects of a given size that the procedure finds."),
    "calibration": (
        "Calibration",
        "The whole procedure run on simulated markets where the truth is known, to measure how often it is wrong.",
    ),
}
"""By key: the name as a reader sees it, and the explanation."""


def term(key: str, label: str | None = None) -> Markup:
    """A name that explains itself when pointed at, focused or tapped; KeyError for a key that has no explanation.

    The explanation itself stands once in a report, in the script of `explanations`.
    """
    name, _ = TERMS[key]
    return element("button", label or name, type="button", class_="term", data_term=key)


def explanations() -> dict[str, str]:
    """By key the text that a page shows at a term."""
    return {key: text for key, (_, text) in TERMS.items()}
