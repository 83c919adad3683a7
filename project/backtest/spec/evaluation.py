"""What ``spec/evaluation.yaml`` may say: how candidates are questioned after discovery."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from backtest.spec.models import Model, Share

Bars = Annotated[int, Field(ge=1, le=288)]


class SubPeriods(Model):
    """In how many equal spans of the discovery fold the trade must have earned a gross return."""

    spans: Annotated[int, Field(ge=2, le=60)]
    min_share_positive: Share


class Kept(Model):
    """Least share of a candidate's own mean that must be left when something of it is taken away or changed."""

    min_kept: Annotated[float, Field(ge=0, le=1)]


class EntryDelay(Kept):
    """Entries some bars later; one of the delays is judged, all are shown."""

    bars: Annotated[tuple[Bars, ...], Field(min_length=1)]
    judged_at_bars: Bars

    @model_validator(mode="after")
    def _judged_is_one(self) -> EntryDelay:
        if list(self.bars) != sorted(set(self.bars)):
            raise ValueError("bars are listed once, in ascending order")
        if self.judged_at_bars not in self.bars:
            raise ValueError(f"judged_at_bars is {self.judged_at_bars}, which is none of bars")
        return self


class HorizonNeighbours(Kept):
    """The same trade held for a multiple of its horizon."""

    factors: Annotated[tuple[Annotated[float, Field(gt=0, le=10)], ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _are_changes(self) -> HorizonNeighbours:
        if 1.0 in self.factors or len(set(self.factors)) != len(self.factors):
            raise ValueError("factors are distinct, and 1 is no change")
        return self


class ParameterNeighbours(Kept):
    """The event with each of its parameters changed by a share, up and down."""

    change: Annotated[float, Field(gt=0, lt=1)]


class CostMultiples(Model):
    """The shrunk mean against a multiple of what the trade costs besides funding; one multiple is judged."""

    multiples: Annotated[tuple[Annotated[float, Field(ge=1, le=10)], ...], Field(min_length=1)]
    judged_at: Annotated[float, Field(ge=1, le=10)]

    @model_validator(mode="after")
    def _judged_is_one(self) -> CostMultiples:
        if self.judged_at not in self.multiples:
            raise ValueError(f"judged_at is {self.judged_at:g}, which is none of multiples")
        return self


class DayBootstrap(Model):
    """Blocks of days drawn with replacement; the largest share of draws that may earn less than the trade costs."""

    draws: Annotated[int, Field(ge=100, le=100_000)]
    block_days: Annotated[int, Field(ge=1, le=60)]
    max_share_below_cost: Share


class Robustness(Model):
    """What is changed about a candidate, and how much of it must be left."""

    max_candidates: Annotated[int, Field(ge=1, le=10_000)]
    min_events: Annotated[int, Field(ge=2)]
    sub_periods: SubPeriods
    leave_one_symbol_out: Kept
    leave_one_month_out: Kept
    entry_delay: EntryDelay
    horizon_neighbours: HorizonNeighbours
    parameter_neighbours: ParameterNeighbours
    costs: CostMultiples
    bootstrap: DayBootstrap


class WalkForward(Model):
    """Rolling training windows in which the discovery is done again, and the blocks of the cross-validation."""

    folds: Annotated[int, Field(ge=2, le=52)]
    train_share: Annotated[float, Field(gt=0, lt=1)]
    """Share of all days in each training window; the test windows tile the days after the first one."""
    overfitting_blocks: Annotated[int, Field(ge=4, le=16, multiple_of=2)]


class Promotion(Model):
    """What promotion asks besides the gates of the profile `promotion`."""

    min_share_of_folds: Share
    """Share of the training windows in which the candidate must have been found."""
    min_test_trades: Annotated[int, Field(ge=1)]
    max_test_p: Share
    """One-sided p-value of its net mean in the test windows."""
    max_search_overfitting: Share
    """Probability that the search's best trial of one half of the time is below the median in the other half."""


class Evaluation(Model):
    """Everything that is asked of a candidate after discovery."""

    robustness: Robustness
    walk_forward: WalkForward
    promotion: Promotion
