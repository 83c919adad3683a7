"""A simulated market: all raw data sets of a venue, looking real, in which no return can be foretold.

What it reproduces, and where each part is: volatility on several time scales with regimes, seasons, aftershocks and
the leverage effect (``volatility``), fat tails and jumps in prices that are exact martingales (``prices``), volume
and taker flow (``trading``), basis and funding (``carry``), open interest and liquidations (``positioning``), spread
and depth (``book``), venue halts and missing rows (``calendar``). Edges exist only where ``plant_drift`` puts them.
Equal settings and seed give equal bytes; symbols draw from streams of their own.

References
----------
Cont 2001 (Quantitative Finance 1), stylised facts; Andersen & Bollerslev 1997 (J. Empirical Finance 4), intraday
seasonality; Barndorff-Nielsen & Shephard 2001 (JRSS-B 63) and Corsi 2009 (J. Financial Econometrics 7), several time
scales; Hamilton 1989 (Econometrica 57), regimes; Nelson 1991 (Econometrica 59), asymmetric reaction to returns;
Merton 1976 (J. Financial Economics 3), jumps; Clark 1973 (Econometrica 41) and Andersen 1996 (J. Finance 51), volume
and volatility.
"""

from backtest.sources.simulated.market import SimulatedMarket, simulate_market
from backtest.sources.simulated.planting import plant_drift
from backtest.sources.simulated.settings import SimulationSettings, VolatilityComponent, VolatilityRegime

__all__ = [
    "SimulatedMarket",
    "SimulationSettings",
    "VolatilityComponent",
    "VolatilityRegime",
    "plant_drift",
    "simulate_market",
]
