"""Where alerts go: apprise's addresses (webhook, e-mail, Telegram, …), which hold secrets and are never printed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from backtest.errors import MisuseError

RETRY_SECONDS: Final = (1.0, 4.0)
"""Pauses before a failed alert is tried again; after them it waits for the next round."""


@dataclass(frozen=True)
class Channels:
    """Checked addresses. ``repr`` shows only how many there are."""

    addresses: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Channels({len(self.addresses)} addresses)"

    def send(
        self, title: str, body: str, *, is_grave: bool, pause: Callable[[float], object] = time.sleep
    ) -> tuple[int, ...]:
        """Send to every address, trying again where it fails; the places (from 1) of those that never took it.

        An address that took the alert does not get it again.
        """
        left = list(range(len(self.addresses)))
        for seconds in (*RETRY_SECONDS, None):
            left = [place for place in left if not _sent(self.addresses[place], title, body, is_grave=is_grave)]
            if not left or seconds is None:
                break
            pause(seconds)
        return tuple(place + 1 for place in left)


def channels_of(addresses: Sequence[str], origin: str) -> Channels:
    """The channels of some addresses; MisuseError, which names them by place and not by text, where one is not valid.

    `origin` is where they came from, for the message.
    """
    import apprise

    _silence()
    wrong = [str(place) for place, address in enumerate(addresses, start=1) if not apprise.Apprise().add(address)]
    if wrong:
        raise MisuseError(
            f"alert address {', '.join(wrong)} of {len(addresses)} in {origin} is none that apprise knows. "
            "Examples: json://host/path, mailto://user:password@host, tgram://token/chat"
        )
    return Channels(tuple(addresses))


def _sent(address: str, title: str, body: str, *, is_grave: bool) -> bool:
    import apprise

    _silence()
    sender = apprise.Apprise()
    kind = apprise.NotifyType.FAILURE if is_grave else apprise.NotifyType.INFO
    try:
        return bool(sender.add(address) and sender.notify(title=title, body=body, notify_type=kind))
    except Exception:  # noqa: BLE001 - whatever a plug-in raises may hold the address; the alert counts as not sent
        return False


def _silence() -> None:
    """Apprise logs addresses, with their secrets."""
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
