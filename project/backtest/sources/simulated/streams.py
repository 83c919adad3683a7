"""Random streams named by owner and purpose, and the linear filters their draws go through."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

Floats = NDArray[np.float64]

MARKET: Final = "market"


@dataclass(frozen=True)
class Streams:
    """The random streams of one owner: a symbol, or the market that all symbols have in common.

    A stream depends on seed, owner and purpose alone: another symbol, another order of symbols or a longer run leaves
    the draws that were there before as they were.
    """

    seed: int
    owner: str

    def generator(self, purpose: str) -> np.random.Generator:
        digest = hashlib.sha256(f"{self.owner}/{purpose}".encode()).digest()
        spawn_key = tuple(int.from_bytes(digest[at : at + 4], "little") for at in (0, 4, 8, 12))
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=spawn_key)))

    def normals(self, purpose: str, *shape: int) -> Floats:
        return self.generator(purpose).standard_normal(shape)

    def uniforms(self, purpose: str, *shape: int) -> Floats:
        """Draws in (0, 1]: safe to take the logarithm of."""
        return 1.0 - self.generator(purpose).random(shape)


def mean_reverting(shocks: Floats, half_life_bars: float, sd: float = 1.0) -> Floats:
    """A stationary first-order autoregression with standard deviation `sd`, driven by standard shocks, shape (n,)."""
    persistence = 0.5 ** (1.0 / half_life_bars)
    driven = shocks * (sd * np.sqrt(1.0 - persistence**2))
    driven[0] = shocks[0] * sd
    return np.asarray(lfilter([1.0], [1.0, -persistence], driven))


def decaying(impulses: Floats, half_life_bars: float) -> Floats:
    """Sum of past and present impulses, each halved every `half_life_bars`, shape (n,)."""
    return np.asarray(lfilter([1.0], [1.0, -(0.5 ** (1.0 / half_life_bars))], impulses))


def preceding(values: Floats, first: float = 0.0) -> Floats:
    """The value of the bar before, `first` at the first bar."""
    return np.concatenate(([first], values[:-1]))


def plateaus(
    streams: Streams,
    purpose: str,
    n_bars: int,
    *,
    per_bar: float,
    mean_bars: float,
    least: float = 1.0,
    mean: float = 1.0,
) -> Floats:
    """Sum of episodes that start at random bars, last two bars or more and hold one level of either sign, shape (n_bars,).

    Parameters
    ----------
    per_bar : probability that an episode starts in a bar.
    mean_bars : mean length beyond two bars.
    least, mean : smallest and mean size of a level; sizes beyond the smallest are exponential.
    """
    happens, lasts, size, side = (
        streams.uniforms(f"{purpose}/{what}", n_bars) for what in ("happens", "lasts", "size", "side")
    )
    starts = np.flatnonzero(happens <= per_bar)
    ends = np.minimum(starts + 2 + (-mean_bars * np.log(lasts[starts])).astype(np.int64), n_bars)
    levels = (least - (mean - least) * np.log(size[starts])) * np.where(side[starts] <= 0.5, 1.0, -1.0)
    held = np.zeros(n_bars)
    for start, end, level in zip(starts, ends, levels, strict=True):
        held[start:end] += level
    return held
