"""The fault an expression can have, shown with a caret under the offending character."""

from __future__ import annotations

from typing import Final

from backtest.errors import SpecError

SHOWN_CHARACTERS: Final = 100


class ExpressionError(SpecError):
    """An expression does not say what it may say.

    Parameters
    ----------
    text
        The whole expression as it stands in the spec.
    offset
        Index into `text` of the offending character.
    found
        What is wrong, in a few words.
    allowed
        What may stand there, and the nearest valid name.
    """

    def __init__(self, text: str, offset: int, found: str, allowed: str) -> None:
        self.text = text
        self.offset = max(0, min(offset, len(text)))
        self.found = found
        self.allowed = allowed
        super().__init__(f"{found}{self._where()}\n{_pointed(text, self.offset)}\n{allowed}")

    def __reduce__(self) -> tuple[type[ExpressionError], tuple[str, int, str, str]]:
        return ExpressionError, (self.text, self.offset, self.found, self.allowed)

    def _where(self) -> str:
        line = self.text.count("\n", 0, self.offset) + 1
        column = self.offset - (self.text.rfind("\n", 0, self.offset) + 1) + 1
        return f" (line {line}, character {column}):" if "\n" in self.text.strip() else f" (character {column}):"


def _pointed(text: str, offset: int) -> str:
    """The offending line and a caret below it; of a long line, the part around the caret."""
    start = text.rfind("\n", 0, offset) + 1
    end = text.find("\n", offset)
    line = text[start : end if end >= 0 else len(text)]
    column = offset - start
    first = max(0, min(column - SHOWN_CHARACTERS // 2, len(line) - SHOWN_CHARACTERS))
    shown = line[first : first + SHOWN_CHARACTERS]
    before = "…" if first > 0 else ""
    after = "…" if first + SHOWN_CHARACTERS < len(line) else ""
    printable = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in shown)
    return f"    {before}{printable}{after}\n    {' ' * (len(before) + column - first)}^"
