"""What each kind of YAML file may say, as frozen models; cross-references are checked in `spec.reader`."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

BAR_MINUTES: Final = 5
LONGEST_HORIZON_BARS: Final = 2016
POOLED: Final = "POOLED"
"""The scope of a hypothesis over all symbols of a run, in the place of a symbol."""
ALL_STATES: Final = "all"
"""The state that always holds."""

_HORIZON = re.compile(r"([1-9]\d{0,4})(m|h|d)")
_MINUTES = {"m": 1, "h": 60, "d": 1440}


def horizon_bars(horizon: str) -> int:
    """Bars of a horizon such as ``15m``, ``4h`` or ``1d``; ValueError where it is no whole number of bars."""
    matched = _HORIZON.fullmatch(horizon)
    if matched is None:
        raise ValueError(f"found {horizon!r}; a horizon is a number and m, h or d, such as 5m, 60m, 4h")
    minutes = int(matched[1]) * _MINUTES[matched[2]]
    if minutes % BAR_MINUTES or minutes // BAR_MINUTES > LONGEST_HORIZON_BARS:
        raise ValueError(
            f"found {horizon!r}; a horizon is a multiple of {BAR_MINUTES} minutes, at most "
            f"{LONGEST_HORIZON_BARS * BAR_MINUTES // 1440} days"
        )
    return minutes // BAR_MINUTES


def _checked_horizon(horizon: str) -> str:
    horizon_bars(horizon)
    return horizon


def _name(pattern: str, shown: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(name: str) -> str:
        if not compiled.fullmatch(name):
            raise ValueError(f"found {name[:60]!r}; a name is {shown}")
        return name

    return AfterValidator(check)


def _known_zone(zone: str) -> str:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"found {zone[:60]!r}; a time zone has an IANA name, such as Europe/London") from None
    return zone


Zone = Annotated[str, AfterValidator(_known_zone)]
Name = Annotated[str, _name(r"[a-z][a-z0-9_]{0,63}", "lower-case letters, digits and '_', starting with a letter")]
EventName = Annotated[str, _name(r"[A-Z][A-Z0-9_]{0,63}", "upper-case letters, digits and '_', starting with a letter")]
Horizon = Annotated[str, AfterValidator(_checked_horizon)]
Expression = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class Model(BaseModel):
    """Frozen, strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Column(Model):
    """A column of the cleaned bars that expressions may name."""

    unit: str
    dataset: str
    description: str


class KnownDefect(Model):
    """A known fault of the venue's files: which, when, why, and who says so.

    ``symbols`` null is every symbol; ``end`` is exclusive; ``rows`` is how many rows of one symbol it concerns.
    """

    venue: Name
    market: Literal["perp", "spot"]
    dataset: Name
    symbols: tuple[str, ...] | None
    file: str
    start: dt.datetime
    end: dt.datetime
    rows: Annotated[int, Field(ge=1)] | None = None
    cause: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _is_a_span(self) -> KnownDefect:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("start and end need a time zone, such as 2023-11-10T03:40:00Z")
        if self.end <= self.start:
            raise ValueError(f"end {self.end} is not after start {self.start}")
        return self


class Feature(Model):
    """A number known at a bar's close."""

    name: Name
    unit: str
    expression: Expression
    description: str
    source: str | None = None


class State(Model):
    """A partition of bars by what is known at their close."""

    name: Name
    description: str
    values: Annotated[dict[Name, Expression], Field(min_length=1)]

    def state_id(self, value: str) -> str:
        return f"{self.name}_{value}"


class Prevalence(Model):
    """Bounds on how often an event may occur, in the place of those of the quality gate."""

    min_per_10000_bars: Annotated[float, Field(ge=0)] | None = None
    max_per_10000_bars: Annotated[float, Field(ge=0)] | None = None


class Event(Model):
    """An event type: when it occurs, which way it points, and what is tested on it."""

    event_type: EventName
    family: EventName
    description: str
    mechanism: str
    when: Expression
    direction: Expression
    strength: Expression | None = None
    """How far the event lies beyond its threshold. Where left out, the excess of the quantity that `when` compares, as a
    share of its threshold, where `when` begins with one comparison; else unknown."""
    needs: tuple[str, ...] | None = None
    """Data sets its expressions end in; derived, and checked where given."""
    parameters: dict[Name, int | float] = Field(default_factory=dict)
    cooldown_bars: Annotated[int, Field(ge=0, le=LONGEST_HORIZON_BARS)] = 12
    templates: Annotated[tuple[Name, ...], Field(min_length=1)]
    horizons: Annotated[tuple[Horizon, ...], Field(min_length=1)]
    states: tuple[Name, ...] | None = None
    """Names of the states it is conditioned on besides ``all``; every state where left out."""
    prevalence: Prevalence = Prevalence()

    @model_validator(mode="after")
    def _no_repetitions(self) -> Event:
        for field in ("templates", "horizons", "states"):
            entries = getattr(self, field) or ()
            if len(set(entries)) != len(entries):
                raise ValueError(f"{field} names something twice")
        return self


class Session(Model):
    """Trading hours of an exchange in its own time, on weekdays without its holidays."""

    name: Name
    timezone: Zone
    opens: dt.time
    closes: dt.time
    weekdays: Annotated[tuple[Annotated[int, Field(ge=0, le=6)], ...], Field(min_length=1)] = (0, 1, 2, 3, 4)
    since: dt.date | None = None
    until: dt.date | None = None
    """First day on which these hours no longer hold."""

    @model_validator(mode="after")
    def _in_order(self) -> Session:
        if self.opens >= self.closes:
            raise ValueError(f"opens at {self.opens:%H:%M}, not before it closes at {self.closes:%H:%M}")
        return self


class Release(Model):
    """Dates of one kind of announcement, complete from `covers_from` until before `covers_until`."""

    name: Name
    timezone: Zone
    time: dt.time
    covers_from: dt.date
    covers_until: dt.date
    source: str
    dates: Annotated[tuple[dt.date, ...], Field(min_length=1)]
    also: dict[dt.date, dt.time] = Field(default_factory=dict)
    """Dates with a time of their own."""

    @model_validator(mode="after")
    def _covered(self) -> Release:
        dates = [*self.dates, *self.also]
        if list(self.dates) != sorted(set(self.dates)) or set(self.also) & set(self.dates):
            raise ValueError("dates are listed once, in ascending order")
        outside = [date for date in dates if not self.covers_from <= date < self.covers_until]
        if outside:
            raise ValueError(f"{outside[0]} lies outside {self.covers_from} … {self.covers_until}")
        return self


class Calendar(Model):
    """What is known beforehand of a date: sessions of exchanges, or releases with a column of their own."""

    name: Name
    description: str
    sessions: tuple[Session, ...] = ()
    releases: tuple[Release, ...] = ()

    @model_validator(mode="after")
    def _one_kind(self) -> Calendar:
        if bool(self.sessions) == bool(self.releases):
            raise ValueError("a calendar has either sessions or releases")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the bar columns made of it."""
        if self.sessions:
            return ("session_open", "session_close")
        return (self.name, f"minutes_to_{self.name}", f"minutes_since_{self.name}")


SecondLeg = Literal["spot", "pair"]
"""What the other leg of a relative-value trade is: the spot market of the symbol, or another perpetual (`pairs`)."""


class Policy(Model):
    """How a trade enters and leaves, seen from the event's direction; two policies that are equal trade the same series.

    Every policy can be traded: it decides at closes and trades at the open of a later bar. A barrier is met when a bar
    *closes* beyond it; the trade leaves at the next open.

    Attributes
    ----------
    entry_lag_bars : bars from the close that decides on the entry to the open at which it is made.
    retrace_fraction, retrace_within_bars : wait, at most so many bars, for the first close that gives back this fraction
        of the move that led to the event.
    breakout_atr, breakout_within_bars : wait, at most so many bars, for the first close this many ATR away from the
        event's close, to either side. The side of that break takes the place of the event's direction in everything
        that follows: barriers, returns, the sign of the verb.
    upper_barrier_atr, lower_barrier_atr : a close this far for, or against, that direction ends the trade, in ATR at the
        event; of a trade with a second leg, in gaps between the legs (`Discovery.spot_gap`).
    second_leg : the trade earns the return of the perpetual less that of this leg, of the same notional, entered and left
        at the same opens.
    """

    entry_lag_bars: Annotated[int, Field(ge=1, le=288)]
    retrace_fraction: Annotated[float, Field(gt=0, le=2)] | None = None
    retrace_within_bars: Annotated[int, Field(ge=1, le=288)] = 1
    breakout_atr: Annotated[float, Field(gt=0, le=100)] | None = None
    breakout_within_bars: Annotated[int, Field(ge=1, le=288)] = 1
    upper_barrier_atr: Annotated[float, Field(gt=0, le=100)] | None = None
    lower_barrier_atr: Annotated[float, Field(gt=0, le=100)] | None = None
    second_leg: SecondLeg | None = None

    @property
    def has_barriers(self) -> bool:
        return self.upper_barrier_atr is not None or self.lower_barrier_atr is not None

    @property
    def policy_id(self) -> str:
        """A short unique name, such as ``lag1`` or ``lag1_up2_down1.5_retrace0.5in6`` or ``lag1_less_spot``."""
        parts = [f"lag{self.entry_lag_bars}"]
        if self.upper_barrier_atr is not None:
            parts.append(f"up{self.upper_barrier_atr:g}")
        if self.lower_barrier_atr is not None:
            parts.append(f"down{self.lower_barrier_atr:g}")
        if self.retrace_fraction is not None:
            parts.append(f"retrace{self.retrace_fraction:g}in{self.retrace_within_bars}")
        if self.breakout_atr is not None:
            parts.append(f"break{self.breakout_atr:g}in{self.breakout_within_bars}")
        if self.second_leg is not None:
            parts.append(f"less_{self.second_leg}")
        return "_".join(parts)

    @property
    def is_its_own_mirror(self) -> bool:
        """Whether the trade on the other side is minus this one: its barriers are equal, or it has none."""
        return self.upper_barrier_atr == self.lower_barrier_atr

    @property
    def waits_bars(self) -> int:
        """Bars after the event in which the close that decides on the entry may lie."""
        waits = (self.retrace_fraction, self.retrace_within_bars), (self.breakout_atr, self.breakout_within_bars)
        return max((bars for condition, bars in waits if condition is not None), default=0)

    def longest_window_bars(self, horizon: int) -> int:
        """Bars from the event to the last bar whose price the trade may use when nothing is halted."""
        return self.waits_bars + self.entry_lag_bars + horizon


class Entry(Model):
    """When a template enters: `lag_bars` after the event's bar, or after the first close that retraces or breaks out."""

    lag_bars: Annotated[int, Field(ge=1, le=288)] = 1
    retrace_fraction: Annotated[float, Field(gt=0, le=2)] | None = None
    breakout_atr: Annotated[float, Field(gt=0, le=100)] | None = None
    within_bars: Annotated[int, Field(ge=1, le=288)] | None = None

    @model_validator(mode="after")
    def _waiting_is_bounded(self) -> Entry:
        if self.retrace_fraction is not None and self.breakout_atr is not None:
            raise ValueError("retrace_fraction and breakout_atr are two entries; a template has one")
        waits = self.retrace_fraction is not None or self.breakout_atr is not None
        if waits != (self.within_bars is not None):
            raise ValueError("within_bars goes together with retrace_fraction or breakout_atr")
        return self


class Exit(Model):
    """When a template leaves before its horizon: a close this far in its favour or against it.

    In ATR; of a trade against spot in gaps, the distance of the basis from its mean when the event occurred.
    """

    target_atr: Annotated[float, Field(gt=0, le=100)] | None = None
    stop_atr: Annotated[float, Field(gt=0, le=100)] | None = None
    target_gaps: Annotated[float, Field(gt=0, le=100)] | None = None
    stop_gaps: Annotated[float, Field(gt=0, le=100)] | None = None


class Template(Model):
    """A trade verb: which side of the event's direction it takes, how it enters and how it leaves.

    A verb of either side is one two-sided test under one name: the trade on the other side must be minus this one.
    """

    template_verb: Name
    side: Literal["with", "against", "either"]
    description: str
    second_leg: SecondLeg | None = None
    entry: Entry = Entry()
    exit: Exit = Exit()

    @model_validator(mode="after")
    def _is_one_trade(self) -> Template:
        in_atr = (self.exit.target_atr, self.exit.stop_atr) != (None, None)
        in_gaps = (self.exit.target_gaps, self.exit.stop_gaps) != (None, None)
        if in_gaps and self.second_leg != "spot":
            raise ValueError("target_gaps and stop_gaps need second_leg: spot; the others are target_atr and stop_atr")
        if self.second_leg is not None and (in_atr or self.entry.within_bars is not None):
            raise ValueError(
                "a trade of two legs enters after lag_bars and leaves at its horizon, or after target_gaps or stop_gaps "
                "where its second leg is spot"
            )
        if self.side == "either" and not self.policy.is_its_own_mirror:
            raise ValueError("side 'either' needs a target and a stop at the same distance, or neither")
        if self.side != "either" and self.entry.breakout_atr is not None:
            raise ValueError("breakout_atr needs side 'either': the break, not the event, gives the direction")
        return self

    @property
    def sides(self) -> tuple[Literal["with", "against"], ...]:
        """The sides it can end on."""
        return ("with", "against") if self.side == "either" else (self.side,)

    @property
    def policy(self) -> Policy:
        upper = self.exit.target_atr if self.exit.target_gaps is None else self.exit.target_gaps
        lower = self.exit.stop_atr if self.exit.stop_gaps is None else self.exit.stop_gaps
        if self.side == "against":
            upper, lower = lower, upper
        retraces, breaks_out = self.entry.retrace_fraction is not None, self.entry.breakout_atr is not None
        within = self.entry.within_bars or 1
        return Policy(
            entry_lag_bars=self.entry.lag_bars,
            retrace_fraction=self.entry.retrace_fraction,
            retrace_within_bars=within if retraces else 1,
            breakout_atr=self.entry.breakout_atr,
            breakout_within_bars=within if breaks_out else 1,
            upper_barrier_atr=upper,
            lower_barrier_atr=lower,
            second_leg=self.second_leg,
        )


class Filter(Model):
    """A filter verb: no trade of its own. Its hypothesis is that a base trade earns more where `condition` holds at the
    event's bar than where it does not.

    ``base_with`` and ``base_against`` name the base trade on either side (mirror verbs); with both, one two-sided test
    whose sign picks the side. Bars at which the condition is unknown belong to neither group.
    """

    template_verb: Name
    description: str
    condition: Expression
    base_with: Name | None = None
    base_against: Name | None = None

    @model_validator(mode="after")
    def _has_a_base(self) -> Filter:
        if self.base_with is None and self.base_against is None:
            raise ValueError("needs base_with, base_against or both: the trade that it filters")
        return self


class MarginBracket(Model):
    """Margin of the part of a position's notional above `from_usd`, up to the next bracket."""

    from_usd: Annotated[float, Field(ge=0)]
    max_leverage: Annotated[float, Field(ge=1, le=200)]
    """Initial margin of a position this large is at least its notional over this."""
    maintenance_rate: Annotated[float, Field(gt=0, lt=1)]
    """Maintenance margin as a fraction of the notional inside the bracket."""


class MarginPeriod(Model):
    """What margin the venue asks from a day on, until the next period starts."""

    since: dt.date
    liquidation_fee_bps: Annotated[float, Field(ge=0, le=1000)]
    """Share of the notional that a liquidation costs besides the taker fee."""
    brackets: Annotated[tuple[MarginBracket, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _brackets_ascend(self) -> MarginPeriod:
        floors = [bracket.from_usd for bracket in self.brackets]
        if floors[0] != 0 or floors != sorted(set(floors)):
            raise ValueError(f"brackets start at {floors} USD; they ascend from 0, each once")
        rates = [bracket.maintenance_rate for bracket in self.brackets]
        leverages = [bracket.max_leverage for bracket in self.brackets]
        if rates != sorted(rates) or leverages != sorted(leverages, reverse=True):
            raise ValueError("in brackets maintenance_rate never falls and max_leverage never rises with the notional")
        if any(bracket.maintenance_rate * bracket.max_leverage >= 1 for bracket in self.brackets):
            raise ValueError(
                "maintenance_rate must lie below 1 / max_leverage, or positions are liquidated as they open"
            )
        return self


class ContractPeriod(Model):
    """Rules of a perpetual from a day on, until the next period starts; None where they are not known."""

    since: dt.date
    tick_size: Annotated[float, Field(gt=0)] | None = None
    """Smallest step of the price, in quote currency."""
    lot_size: Annotated[float, Field(gt=0)] | None = None
    """Smallest step of an order, in base currency."""
    min_notional_usd: Annotated[float, Field(ge=0)] = 0.0
    funding_interval_hours: Literal[1, 2, 4, 8] | None = None


class FeeTier(Model):
    """Fees from a volume on that the account traded in the 30 days before."""

    min_volume_30d_usd: Annotated[float, Field(ge=0)]
    taker_fee_bps: Annotated[float, Field(ge=0, le=100)]
    maker_fee_bps: Annotated[float, Field(ge=-10, le=100)]


class FeePeriod(Model):
    """Fees from a date on, until the next period starts."""

    since: dt.date
    taker_fee_bps: Annotated[float, Field(ge=0, le=100)]
    maker_fee_bps: Annotated[float, Field(ge=-10, le=100)] | None = None
    """Of an order that rested; the taker's where left out."""
    tiers: tuple[FeeTier, ...] = ()
    """Lower fees for larger volumes, ascending; only a backtest counts its volume, tests pay the first."""
    source: str

    @model_validator(mode="after")
    def _tiers_ascend(self) -> FeePeriod:
        floors = [tier.min_volume_30d_usd for tier in self.all_tiers]
        if floors != sorted(set(floors)):
            raise ValueError(f"tiers start at {floors[1:]} USD; they ascend from above 0, each once")
        return self

    @property
    def all_tiers(self) -> tuple[FeeTier, ...]:
        """The regular fee as the tier from 0 on, then the others."""
        maker = self.taker_fee_bps if self.maker_fee_bps is None else self.maker_fee_bps
        regular = FeeTier(min_volume_30d_usd=0.0, taker_fee_bps=self.taker_fee_bps, maker_fee_bps=maker)
        return (regular, *self.tiers)


class Contract(Model):
    """A perpetual and its rules over time; it exists from its listing to its delisting day, both included."""

    symbol: str
    note: str = ""
    listed: dt.date | None = None
    delisted: dt.date | None = None
    periods: Annotated[tuple[ContractPeriod, ...], Field(min_length=1)]
    margin: tuple[MarginPeriod, ...] = ()
    """Only a backtest needs it; empty where it is not known, and then the contract cannot be traded on margin."""
    fees: tuple[FeePeriod, ...] = ()
    """In the place of those of all contracts, where the venue charges others for this one; empty where it does not."""

    @model_validator(mode="after")
    def _in_order(self) -> Contract:
        for name, periods in (("periods", self.periods), ("margin", self.margin), ("fees", self.fees)):
            dates = [period.since for period in periods]
            if dates != sorted(set(dates)):
                raise ValueError(f"{name} are listed by ascending, distinct 'since' dates")
        if self.listed is not None and self.delisted is not None and self.delisted < self.listed:
            raise ValueError(f"delisted {self.delisted} lies before listed {self.listed}")
        return self

    def exists_on(self, day: dt.date) -> bool:
        return (self.listed is None or day >= self.listed) and (self.delisted is None or day <= self.delisted)

    def on(self, day: dt.date) -> ContractPeriod:
        """The rules of a day; those of the first period before it starts."""
        return next((period for period in reversed(self.periods) if period.since <= day), self.periods[0])

    def margin_on(self, day: dt.date) -> MarginPeriod | None:
        """The margin of a day, that of the first period before it starts; None where none is stated."""
        first = self.margin[0] if self.margin else None
        return next((period for period in reversed(self.margin) if period.since <= day), first)


class SpotCosts(Model):
    """What the spot leg of a relative-value trade costs; its impact has the coefficient of the perpetual's."""

    fees: Annotated[tuple[FeePeriod, ...], Field(min_length=1)]
    half_spread_bps: dict[str, Annotated[float, Field(ge=0, le=1000)]]
    borrow_bps_per_day: Annotated[float, Field(ge=0, le=1000)]
    """Interest on what is sold short. Charged on either side, as it must be paid on one of them."""

    @model_validator(mode="after")
    def _complete(self) -> SpotCosts:
        _check_costs(self.fees, self.half_spread_bps)
        return self


class Costs(Model):
    """What a round trip costs besides funding."""

    fees: Annotated[tuple[FeePeriod, ...], Field(min_length=1)]
    half_spread_bps: dict[str, Annotated[float, Field(ge=0, le=1000)]]
    impact_coefficient: Annotated[float, Field(ge=0, le=100)]
    order_usd: Annotated[float, Field(gt=0)]
    spot: SpotCosts

    @model_validator(mode="after")
    def _complete(self) -> Costs:
        _check_costs(self.fees, self.half_spread_bps)
        return self

    def for_contract(self, contract: Contract) -> Costs:
        """The costs of trading a contract: with its own fees where it has some."""
        return self.model_copy(update={"fees": contract.fees}) if contract.fees else self

    def on(self, day: dt.date) -> FeePeriod:
        """The fees of a day; those of the first period before it starts."""
        return next((period for period in reversed(self.fees) if period.since <= day), self.fees[0])


def _check_costs(fees: tuple[FeePeriod, ...], half_spread_bps: dict[str, float]) -> None:
    if "default" not in half_spread_bps:
        raise ValueError("half_spread_bps needs an entry 'default'")
    dates = [period.since for period in fees]
    if dates != sorted(set(dates)):
        raise ValueError("fees are listed by ascending, distinct 'since' dates")


class Stability(Model):
    """The mean keeps its sign in enough equal spans of the discovery fold."""

    spans: Annotated[int, Field(ge=2, le=24)]
    min_same_sign: Annotated[int, Field(ge=1, le=24)]


class GateProfile(Model):
    """Limits a candidate is held to; those that are left out are not asked for."""

    min_events: Annotated[int, Field(ge=2)]
    min_days: Annotated[int, Field(ge=2)]
    min_confirmation_days: Annotated[int, Field(ge=2)]
    max_day_share_of_sum: Share
    max_day_share_of_events: Share
    tree_level: Share
    family_wise_level: Share
    candidate_level: Share
    confirmation_level: Share
    min_probability_above_cost: Share
    conservative_cost_multiple: Annotated[float, Field(ge=1, le=10)]
    stability: Stability
    min_deflated_sharpe: Share | None = None
    """Probability that the Sharpe ratio is above the best that as many trials give by luck."""
    max_backtest_overfitting: Share | None = None
    """Probability that the event's best hypothesis of one half of the time is below the median in the other half."""
    min_cusum_p: Share | None = None
    """P of so large a drift of the mean within the discovery fold where it does not drift."""
    max_placebo_p: Share | None = None
    """P of so large an advantage over the same trade at placebo times where there is none."""
    min_years_same_sign: Share | None = None
    min_symbols_same_sign: Share | None = None
    max_tainted_share: Share | None = None


ProfileName = Literal["discovery", "promotion"]
SEARCH_WIDE: Final = frozenset({"tree_level", "family_wise_level", "candidate_level", "confirmation_level"})
"""Limits of a profile that no event can have of its own: they are levels of one control over the whole search."""


class EventQuality(Model):
    """Bounds outside which an event is reported and not tested."""

    min_per_10000_bars: Annotated[float, Field(ge=0)]
    max_per_10000_bars: Annotated[float, Field(ge=0)]
    min_join_rate: Share
    clustering_bars: Annotated[int, Field(ge=1)]
    max_clustered_share: Share


class Gates(Model):
    """Event quality, profiles, and overrides per event of single limits of a profile."""

    gate_e1: EventQuality
    confirmation_budget: Annotated[float, Field(ge=1, le=100)]
    """What all openings of one confirmation fold may spend together, in levels of the first one."""
    profiles: dict[ProfileName, GateProfile]
    overrides: dict[EventName, dict[ProfileName, dict[str, float | int | dict[str, int]]]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> Gates:
        missing = sorted({"discovery", "promotion"} - set(self.profiles))
        if missing:
            raise ValueError(f"profiles needs an entry {missing[0]!r}")
        allowed = set(GateProfile.model_fields) - SEARCH_WIDE
        for event, profiles in self.overrides.items():
            for name, limits in profiles.items():
                for limit in sorted(set(limits) - allowed):
                    why = " (a level of the whole search is the same for every event)" if limit in SEARCH_WIDE else ""
                    raise ValueError(
                        f"overrides of {event} name {limit!r}{why}; allowed are {', '.join(sorted(allowed))}"
                    )
                try:
                    self.profile(name, event)
                except ValueError as fault:
                    raise ValueError(f"overrides of {event}, {name}: {fault}") from None
        return self

    def profile(self, name: ProfileName, event_type: str) -> GateProfile:
        """A profile with the event's overrides."""
        profile = self.profiles[name]
        limits = self.overrides.get(event_type, {}).get(name)
        return GateProfile.model_validate({**profile.model_dump(), **limits}) if limits else profile

    def discovery_profile(self, event_type: str) -> GateProfile:
        """The discovery profile with the event's overrides."""
        return self.profile("discovery", event_type)

    def share_of_level(self, opening: int) -> float:
        """Share of a level that the n-th opening of a confirmation or out-of-sample window is held to.

        The first has all of it, the n-th (budget − 1)/((n − 1) n): summed over however many openings there will be, not
        more than the budget is spent, and the level of each is known beforehand.
        """
        return 1.0 if opening <= 1 else min(1.0, (self.confirmation_budget - 1.0) / ((opening - 1) * opening))


class Discovery(Model):
    """How hypotheses are tested; the expressions are read at the event's bar."""

    discovery_share: Annotated[float, Field(gt=0, lt=1)]
    sign_flip_draws: Annotated[int, Field(ge=99, le=99_999)]
    seed: Annotated[int, Field(ge=0)]
    periods_per_year: Annotated[int, Field(ge=1)]
    atom_states: tuple[Name, ...] = ()
    """States whose combinations are the cells that effect sizes are estimated on; without any, the symbols are."""
    expected_volatility: Expression
    fallback_direction: Expression
    average_true_range: Expression
    event_move: Expression
    bar_turnover_usd: Expression
    spot_turnover_usd: Expression
    spot_gap: Expression
    """How far the perpetual is from spot beyond what is usual, a fraction ≥ 0; the unit of `Exit.target_gaps`."""
    pairs: Annotated[dict[str, str], Field(min_length=1)]
    """The symbol that is the second leg of each symbol's pair trades; ``default`` for symbols without their own entry."""

    @model_validator(mode="after")
    def _pairs_are_two(self) -> Discovery:
        alone = [symbol for symbol, other in self.pairs.items() if symbol == other]
        if alone:
            raise ValueError(f"pairs: {alone[0]} is paired with itself")
        return self

    def pair(self, symbol: str) -> str | None:
        """The second leg of a symbol's pair trades; None where it has none."""
        other = self.pairs.get(symbol, self.pairs.get("default"))
        return None if other == symbol else other


class PlantedEdge(Model):
    """A mean return that a simulated market gives a trade after an event; everything else in it has mean zero."""

    event_type: EventName
    state_id: str = ALL_STATES
    side: Literal["with", "against"]
    horizon: Horizon
    bps: Annotated[float, Field(gt=0, le=1000)]

    @property
    def sign(self) -> int:
        return 1 if self.side == "with" else -1


class Simulation(Model):
    """The simulated market of the demonstration."""

    seed: Annotated[int, Field(ge=0)]
    symbols: Annotated[tuple[str, ...], Field(min_length=1)]
    start: dt.date
    days: Annotated[int, Field(ge=1, le=3650)]
    planted_edges: tuple[PlantedEdge, ...] = ()
