"""The engine once more, slow and plain: every position is looked at in every bar, every sum is taken anew.

It shares no code with the kernel. Where the kernel finds an exit once and keeps it in a list, the twin asks at each bar
whether it has come; where the kernel keeps net quantities, the twin adds up positions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from backtest.engine.account import Account, FixedFraction, FixedNotional
from backtest.engine.ledger import ExitReason, Outcome
from backtest.engine.market import InstrumentRules, Market
from backtest.engine.signals import Signals

NAN = math.nan


@dataclass
class Leg:
    """A position, and what it has paid so far."""

    signal: int
    leg: int
    strategy: int
    instrument: int
    side: int
    entry_bar: int
    quantity: float
    entry_reference: float
    horizon_bar: int
    stop: float = NAN
    target: float = NAN
    partner: Leg | None = None
    entry_price: float = NAN
    leave_at: int | None = None
    leave_reason: ExitReason | None = None
    liquidated: bool = False
    exit_bar: int = -1
    exit_reference: float = NAN
    exit_price: float = NAN
    reason: ExitReason = ExitReason.STILL_OPEN
    ambiguous: bool = False
    fees: float = 0.0
    spread: float = 0.0
    impact: float = 0.0
    funding: float = 0.0
    liquidation_fee: float = 0.0

    @property
    def signed(self) -> float:
        return self.side * self.quantity


@dataclass
class Twin:
    """The account as it goes through the bars."""

    market: Market
    signals: Signals
    account: Account
    bound: str
    legs: list[Leg] = field(default_factory=list)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    equity: list[float] = field(default_factory=list)
    traded: list[tuple[int, float]] = field(default_factory=list)

    # What holds at a bar -------------------------------------------------------------------------------------------------

    def open_legs(self) -> list[Leg]:
        return [leg for leg in self.legs if leg.exit_bar == -1]

    def fillable(self, j: int, t: int) -> bool:
        m = self.market
        halted = m.halted is not None and bool(m.halted[j, t])
        tainted = m.tainted is not None and bool(m.tainted[j, t]) and not self.account.fill_in_tainted_bars
        return bool(m.tradable[j, t]) and not halted and not tainted

    def mark(self, j: int, t: int) -> float:
        """The last mark at or before the close of bar t; the entry's open where there is none before."""
        for bar in range(t, -1, -1):
            for price in (self.market.mark[j, bar], self.market.close[j, bar]):
                if not math.isnan(price):
                    return float(price)
        return float(next(leg.entry_reference for leg in self.legs if leg.instrument == j))

    def rule(self, j: int, t: int, name: str) -> float | np.ndarray:
        rules: InstrumentRules = self.market.rules[j]
        period = max(p for p, since in enumerate(rules.since_bar) if since <= t)
        return getattr(rules, name)[period]  # type: ignore[no-any-return]

    def bracket(self, j: int, t: int, notional: float) -> int:
        floors = self.rule(j, t, "bracket_floor_usd")
        return max(b for b, floor in enumerate(floors) if floor <= notional)  # type: ignore[arg-type]

    def maintenance(self, j: int, t: int, signed: float) -> float:
        """Slice by slice; of spot one rate a side."""
        notional = abs(signed)
        spot = self.market.rules[j].spot_margin
        if spot is not None:
            return notional * (spot.maintenance_long if signed > 0 else spot.maintenance_short)
        floors = [*self.rule(j, t, "bracket_floor_usd"), math.inf]  # type: ignore[misc]
        rates = self.rule(j, t, "maintenance_rate")
        total = 0.0
        for b, rate in enumerate(rates):  # type: ignore[arg-type]
            if floors[b] < notional:
                total += rate * (min(notional, floors[b + 1]) - floors[b])
        return total

    def initial_rate(self, j: int, t: int, notional: float, side: float) -> float:
        spot = self.market.rules[j].spot_margin
        if spot is not None:
            return spot.initial_long if side > 0 else spot.initial_short
        leverages = self.rule(j, t, "max_leverage")
        return 1.0 / min(self.account.leverage, leverages[self.bracket(j, t, notional)])  # type: ignore[index]

    def fee_rate(self, j: int, t: int, name: str) -> float:
        today = self.market.day[t]
        volume = self.account.other_volume_30d_usd
        volume += sum(usd for bar, usd in self.traded if today - 30 <= self.market.day[bar] < today)
        thresholds = self.rule(j, t, "tier_volume_usd")
        tier = max(i for i, threshold in enumerate(thresholds) if threshold <= volume)  # type: ignore[arg-type]
        return float(self.rule(j, t, name)[tier])  # type: ignore[index]

    def impact_scale(self, j: int, t: int) -> float:
        coefficient = self.market.rules[j].impact_coefficient
        volatility, turnover = self.market.volatility[j, t - 1], self.market.turnover_usd[j, t - 1]
        if coefficient == 0:
            return 0.0
        return 0.5 * coefficient * volatility / math.sqrt(turnover) if turnover > 0 and volatility >= 0 else NAN

    def net(self, j: int) -> float:
        return sum(leg.signed for leg in self.open_legs() if leg.instrument == j)

    def equity_at(self, t: int) -> float:
        """Start, profits of closed legs, and open legs at the mark of the close of bar t."""
        return self.account.starting_equity_usd + sum(self.profit(leg, t) for leg in self.legs)

    def profit(self, leg: Leg, t: int) -> float:
        price = leg.exit_price if leg.exit_bar != -1 else self.mark(leg.instrument, t)
        return leg.signed * (price - leg.entry_price) - leg.fees - leg.funding - leg.liquidation_fee

    # Steps of a bar ------------------------------------------------------------------------------------------------------

    def run(self) -> Twin:
        lag = self.signals.entry_lag_bars
        entry = [int(t) + (1 if lag is None else int(lag[i])) for i, t in enumerate(self.signals.decision_bar)]
        order = sorted(
            range(len(entry)), key=lambda i: (entry[i], self.signals.strategy[i], self.signals.instrument[i], i)
        )
        for t in range(self.market.n_bars):
            self.pay_funding(t)
            exits = self.due_exits(t)
            entries: list[Leg] = []
            for i in order:
                if entry[i] == t:
                    self.outcomes[i] = self.enter(i, t, exits, entries)
            self.fill(t, exits, entries)
            self.inside(t)
            self.equity.append(self.equity_at(t))
            self.decide_at_close(t)
        for i in order:
            self.outcomes.setdefault(i, Outcome.BEYOND_DATA)
        return self

    def pay_funding(self, t: int) -> None:
        for leg in self.open_legs():
            rate = self.market.funding[leg.instrument, t]
            leg.funding += leg.quantity * leg.entry_reference * self.market.rules[leg.instrument].borrow_per_bar
            if rate:
                leg.funding += leg.signed * self.mark(leg.instrument, t - 1) * rate

    def due_exits(self, t: int) -> list[Leg]:
        """Legs that leave at this open."""
        leaving = []
        for leg in self.open_legs():
            both = [leg] if leg.partner is None or leg.liquidated else [leg, leg.partner]
            if not all(self.fillable(other.instrument, t) for other in both):
                continue
            if leg.leave_at is not None and leg.leave_at <= t:
                leaving.append((leg, leg.leave_reason))
            elif leg.side * (self.market.open[leg.instrument, t] - leg.stop) <= 0:
                leaving.append((leg, ExitReason.STOP_GAP))
        for leg, reason in leaving:
            assert reason is not None
            leg.exit_bar, leg.reason = t, reason
        return [leg for leg, _ in leaving]

    def enter(self, i: int, t: int, exits: list[Leg], entries: list[Leg]) -> Outcome:
        s, account, market = self.signals, self.account, self.market
        j, side, strategy = int(s.instrument[i]), int(s.side[i]), int(s.strategy[i])
        h = -1 if s.hedge_instrument is None else int(s.hedge_instrument[i])
        ratio = 1.0 if s.hedge_ratio is None else float(s.hedge_ratio[i])
        sides = {j: side} if h == -1 else {j: side, h: -side}
        shares = {j: 1.0} if h == -1 else {j: 1.0, h: ratio}
        if not all(self.fillable(m, t) for m in sides):
            return Outcome.NOT_FILLABLE
        mine = [g for g in self.open_legs() if g.strategy == strategy and g.leg == 0 and g.instrument == j]
        if mine and account.overlap != "stack":
            if account.overlap == "skip" or mine[-1].side == side or any(g.entry_bar == t for g in mine):
                return Outcome.HELD_ALREADY
            partners = [g.partner for g in mine if g.partner is not None]
            if not all(self.fillable(g.instrument, t) for g in partners):
                return Outcome.HELD_ALREADY
            for leg in [*mine, *partners]:
                if leg.exit_bar == -1:
                    leg.exit_bar, leg.reason = t, ExitReason.FLIP
                    exits.append(leg)
        for m in sides:
            if math.isnan(self.impact_scale(m, t)):
                return Outcome.UNKNOWN_COST
            if account.max_participation < math.inf and not market.turnover_usd[m, t - 1] > 0:
                return Outcome.UNKNOWN_COST
        equity = self.equity[t - 1]
        sizing = account.sizings[strategy if len(account.sizings) > 1 else 0]
        weight = 1.0 if s.weight is None else float(s.weight[i])
        if isinstance(sizing, FixedFraction):
            asked = sizing.fraction * weight * equity
        elif isinstance(sizing, FixedNotional):
            asked = sizing.notional_usd * weight
        else:
            sigma = float(market.volatility[j, s.decision_bar[i]])
            if not sigma > 0:
                return Outcome.UNKNOWN_SIZE
            wanted = sizing.volatility_per_trade / (sigma * math.sqrt(s.horizon_bars[i]))
            asked = min(wanted, sizing.max_fraction) * weight * equity
        reference = float(market.open[j, t])
        stop = self.resting(i, "stop", reference, -side, j, t)
        target = self.resting(i, "target", reference, side, j, t)
        if side * (reference - stop) <= 0 or side * (reference - target) >= 0:
            return Outcome.BEYOND_STOP
        if equity <= 0:
            return Outcome.NO_EQUITY
        if not all(self.is_order(m, t, asked * shares[m]) for m in sides):
            return Outcome.TOO_SMALL
        allowed = min(asked, self.allowed(strategy, sides, shares, t, equity, asked))
        if not all(self.is_order(m, t, allowed * shares[m]) for m in sides):
            return Outcome.LIMITED
        made = [
            Leg(
                *(i, number, strategy, m, sides[m], t),
                quantity=self.lots(m, t, allowed * shares[m]),
                entry_reference=float(market.open[m, t]),
                horizon_bar=t + int(s.horizon_bars[i]),
                stop=stop,
                target=target,
            )
            for number, m in enumerate(sides)
        ]
        for leg in made:
            leg.leave_at, leg.leave_reason = leg.horizon_bar, ExitReason.HORIZON
        if h != -1:
            made[0].partner, made[1].partner = made[1], made[0]
        self.legs += made
        entries += made
        return Outcome.TRADED

    def resting(self, i: int, order: str, reference: float, direction: int, j: int, t: int) -> float:
        price, distance = getattr(self.signals, f"{order}_price"), getattr(self.signals, f"{order}_distance")
        found = NAN
        if distance is not None and not math.isnan(distance[i]):
            found = reference + direction * float(distance[i])
        if price is not None and not math.isnan(price[i]):
            found = float(price[i])
        tick = float(self.rule(j, t, "tick_size"))
        return math.floor(found / tick + 0.5) * tick if tick and not math.isnan(found) else found

    def lots(self, j: int, t: int, usd: float) -> float:
        lot, quantity = float(self.rule(j, t, "lot_size")), usd / float(self.market.open[j, t])
        return math.floor(quantity / lot + 1e-9) * lot if lot else quantity

    def is_order(self, j: int, t: int, usd: float) -> bool:
        quantity = self.lots(j, t, usd)
        return quantity * self.market.open[j, t] >= max(self.rule(j, t, "min_notional_usd"), 1e-6)

    def allowed(
        self, strategy: int, sides: dict[int, int], shares: dict[int, float], t: int, equity: float, asked: float
    ) -> float:
        """The largest notional of the first leg under each limit by itself; the smallest of them."""
        account, market = self.account, self.market
        used = sum(leg.quantity * leg.entry_reference for leg in self.open_legs() if leg.strategy == strategy)
        limits = [asked, (account.max_strategy_leverage * equity - used) / sum(shares.values())]
        exposure = {}
        for m in range(market.n_instruments):
            if any(leg.instrument == m for leg in self.open_legs()):
                price = market.open[m, t] if m in sides else self.mark(m, t - 1)
                exposure[m] = self.net(m) * price
        gross = sum(abs(usd) for usd in exposure.values())
        if len(sides) == 2:
            limits.append((account.max_leverage * equity - gross) / sum(shares.values()))
        for m, side in sides.items():
            own = side * exposure.get(m, 0.0)
            limits.append((account.max_symbol_leverage * equity - own) / shares[m])
            if len(sides) == 1:
                others = gross - abs(own)
                limits.append(account.max_leverage * equity - others - own)
            if account.max_participation < math.inf:
                limits.append(account.max_participation * market.turnover_usd[m, t - 1] / shares[m])
        if account.margin:
            free = equity - sum(abs(usd) * self.initial_rate(m, t, abs(usd), usd) for m, usd in exposure.items())
            so_far = max(min(limits), 0.0)
            rate = sum(
                shares[m] * self.initial_rate(m, t, abs(exposure.get(m, 0.0)) + so_far * shares[m], sides[m])
                for m in sides
            )
            closes = [max(-side * exposure.get(m, 0.0), 0.0) for m, side in sides.items()]
            limits.append((closes[0] if len(sides) == 1 else 0.0) + max(free, 0.0) / rate)
        return min(limits)

    def fill(self, t: int, exits: list[Leg], entries: list[Leg]) -> None:
        orders = [(leg, -leg.signed) for leg in exits] + [(leg, leg.signed) for leg in entries]
        volume = 0.0
        for leg, signed in orders:
            same = sum(abs(q) for g, q in orders if g.instrument == leg.instrument and q * signed > 0)
            other = sum(abs(q) for g, q in orders if g.instrument == leg.instrument and q * signed < 0)
            to_market = max(same - other, 0.0) if self.account.net_orders else abs(signed)
            share = to_market / same if self.account.net_orders else 1.0
            reference = float(self.market.open[leg.instrument, t])
            price, usd = self.take(leg, t, signed, reference, share, to_market)
            volume += usd
            if leg.exit_bar == -1:
                leg.entry_price = price
            else:
                self.leave(leg, t, reference, price)
        self.volume_today = volume

    def take(
        self, leg: Leg, t: int, signed: float, reference: float, share: float, to_market: float
    ) -> tuple[float, float]:
        """A market order: average price and USD."""
        if share == 0:
            return reference, 0.0
        j, direction = leg.instrument, 1 if signed > 0 else -1
        scale = next(x for bar in range(t, 0, -1) if not math.isnan(x := self.impact_scale(j, bar)))
        tick = float(self.rule(j, t, "tick_size"))
        half_spread = max(float(self.rule(j, t, "half_spread")), 0.5 * tick / reference)
        impact = scale * math.sqrt(to_market * reference)
        slip = min(half_spread + impact, 0.99)
        price = reference * (1 + direction * slip)
        if tick:
            price = (math.ceil(price / tick - 1e-9) if signed > 0 else math.floor(price / tick + 1e-9)) * tick
        size = abs(signed) * share
        paid = size * abs(price - reference)
        leg.impact += size * reference * min(impact, slip)
        leg.spread += paid - size * reference * min(impact, slip)
        leg.fees += size * price * self.fee_rate(j, t, "taker_fee")
        return reference + share * (price - reference), size * price

    def leave(self, leg: Leg, t: int, reference: float, price: float) -> None:
        leg.exit_reference, leg.exit_price = reference, price
        if leg.reason is ExitReason.LIQUIDATION:
            rate = float(self.rule(leg.instrument, t, "liquidation_fee"))
            leg.liquidation_fee = leg.quantity * price * rate

    def inside(self, t: int) -> None:
        """Resting orders and liquidation, and the bar's volume."""
        volume = self.volume_today
        hits = self.resting_hits(t)
        if self.bound == "best":
            volume += sum(self.leave_resting(leg, t, hit) for leg, hit in hits if hit[0] is ExitReason.TARGET)
        if self.account.margin and self.open_legs():
            volume += self.liquidate(t, {id(leg): hit[1] for leg, hit in hits if hit[0] is ExitReason.STOP})
        volume += sum(self.leave_resting(leg, t, hit) for leg, hit in hits if leg.exit_bar == -1 and not leg.liquidated)
        if volume:
            self.traded.append((t, volume))

    def resting_hits(self, t: int) -> list[tuple[Leg, tuple[ExitReason, float, bool]]]:
        hits = []
        m = self.market
        for leg in self.open_legs():
            j = leg.instrument
            if not self.fillable(j, t) or leg.liquidated or (leg.leave_at is not None and leg.leave_at <= t):
                continue
            through = leg.target + leg.side * self.account.target_through_ticks * float(
                self.rule(j, leg.entry_bar, "tick_size")
            )
            low, high = (m.low[j, t], m.high[j, t]) if leg.side > 0 else (m.high[j, t], m.low[j, t])
            stopped, reached = leg.side * (low - leg.stop) <= 0, leg.side * (high - through) >= 0
            if leg.entry_bar < t and leg.side * (m.open[j, t] - through) >= 0:
                hits.append((leg, (ExitReason.TARGET, leg.target, False)))
            elif stopped and (self.bound == "worst" or not reached):
                hits.append((leg, (ExitReason.STOP, leg.stop, reached)))
            elif reached:
                hits.append((leg, (ExitReason.TARGET, leg.target, stopped)))
        return hits

    def leave_resting(self, leg: Leg, t: int, hit: tuple[ExitReason, float, bool]) -> float:
        reason, reference, ambiguous = hit
        leg.exit_bar, leg.reason, leg.ambiguous = t, reason, ambiguous
        if reason is ExitReason.TARGET:
            leg.fees += leg.quantity * reference * self.fee_rate(leg.instrument, t, "maker_fee")
            self.leave(leg, t, reference, reference)
            return leg.quantity * reference
        price, usd = self.take(leg, t, -leg.signed, reference, 1.0, leg.quantity)
        self.leave(leg, t, reference, price)
        return usd

    def liquidate(self, t: int, stops: dict[int, float]) -> float:
        nets = {j: self.net(j) for j in range(self.market.n_instruments)}
        held = {leg.instrument for leg in self.open_legs()}

        def price(j: int, way: float) -> float:
            if not self.fillable(j, t):
                # A leg entered in a bar is in a fillable one, so the mark before is of a position carried in.
                return self.mark(j, t - 1)
            start = float(self.market.open[j, t])
            extreme = float(self.market.low[j, t] if nets[j] > 0 else self.market.high[j, t])
            return start + way * (extreme - start)

        def is_out(leg: Leg, way: float) -> bool:
            return id(leg) in stops and leg.side * (price(leg.instrument, way) - stops[id(leg)]) <= 0

        def left(way: float) -> float:
            equity = self.account.starting_equity_usd
            for leg in self.legs:
                at = leg.exit_price if leg.exit_bar != -1 else price(leg.instrument, way)
                if leg.exit_bar == -1 and is_out(leg, way):
                    at = stops[id(leg)]
                equity += leg.signed * (at - leg.entry_price) - leg.fees - leg.funding - leg.liquidation_fee
            return equity - sum(self.maintenance(j, t, nets[j] * price(j, way)) for j in held)

        if left(1.0) >= 0:
            return 0.0
        low, high = 0.0, 1.0
        if left(0.0) < 0:
            high = 0.0
        else:
            for _ in range(60):
                middle = (low + high) / 2
                low, high = (low, middle) if left(middle) < 0 else (middle, high)
        volume = 0.0
        prices = {j: price(j, high) for j in held}
        for leg in [g for g in self.open_legs() if not is_out(g, high)]:
            j = leg.instrument
            if not self.fillable(j, t):
                leg.liquidated, leg.leave_at, leg.leave_reason = True, t + 1, ExitReason.LIQUIDATION
                leg.stop = leg.target = NAN
                continue
            leg.exit_bar, leg.reason = t, ExitReason.LIQUIDATION
            filled, usd = self.take(leg, t, -leg.signed, prices[j], 1.0, leg.quantity)
            volume += usd
            self.leave(leg, t, prices[j], filled)
        return volume

    def decide_at_close(self, t: int) -> None:
        s, m = self.signals, self.market
        for leg in self.open_legs():
            if leg.leg == 1 or leg.liquidated or t + 1 > leg.horizon_bar or leg.leave_reason is not ExitReason.HORIZON:
                continue
            i, j = leg.signal, leg.instrument
            moved = leg.side * (m.close[j, t] - leg.entry_reference)
            if leg.partner is not None:
                other = leg.partner
                ratio = 1.0 if s.hedge_ratio is None else s.hedge_ratio[i]
                own = m.close[j, t] / leg.entry_reference - 1
                moved = leg.side * (own - ratio * (m.close[other.instrument, t] / other.entry_reference - 1))
            target = NAN if s.close_target is None else s.close_target[i]
            stop = NAN if s.close_stop is None else s.close_stop[i]
            mask = -1 if s.invalidation is None else s.invalidation[i]
            reason = None
            if moved >= target:
                reason = ExitReason.CLOSE_TARGET
            elif moved <= -stop:
                reason = ExitReason.CLOSE_STOP
            elif mask >= 0 and s.invalidation_masks is not None and s.invalidation_masks[mask, t]:
                reason = ExitReason.INVALIDATION
            if reason is not None:
                for both in [leg] if leg.partner is None else [leg, leg.partner]:
                    both.leave_at, both.leave_reason = t + 1, reason
