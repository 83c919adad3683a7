# ruff: noqa: E501 - one atom beside the other
"""Inputs that are almost right: samples of a format with bytes, tokens and lines changed, all by a seeded generator."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Final

ATOMS: Final = (
    b"", b"0", b"-1", b"1e999", b"-1e999", b"NaN", b"inf", b"nan", b"1e-400", b"9" * 30, b"9" * 5_000, b"-9223372036854775809",
    b"18446744073709551616", b"2147483648", b"0.1", b"1704067200000", b"99999999999999999999", b"null", b"true", b'""', b"[]",
    b"{}", b'"x"', b"[[[]]]", b'{"a":[null]}', b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", "é😀‮".encode(), b'"\\ud800"', b"'", b'"',
    b",", b";", b"\n", b"\r\n", b"\t", b"..", b"/", b"../../x", b"$(id)", b"`id`", b"%s%n", b"{{7*7}}", b"<script>", b"2024-01-01",
    b"2024-13-45", b"0000-00-00", b"9999-12-31T23:59:59Z", b"2024-01-01T00:00:00+99:99", b"1" + b"0" * 400, b"[" * 300, b"{" * 300,
    b"(" * 200, b"-" * 200, b"not " * 100, b"&a", b"*a", b"!!int ''", b"!!python/name:os.system", b"- " * 50, b"? : ", b"<<: ",
    b"__class__", b"lambda: 0", b"lag(close, -1)", b"rolling_mean(close, 999999999)", b"1_0", b"0x10", b"1e5", b"True", b"None",
)  # fmt: skip
"""What parsers stumble over, put in the place of a token."""
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[A-Za-z_][A-Za-z0-9_]*|[-+]?[0-9][0-9.eE+-]*|[^\s\w]')


def mutated(samples: Sequence[bytes], generator: random.Random) -> bytes:
    """One sample with one to four changes."""
    content = generator.choice(samples)
    for _ in range(generator.choice((1, 1, 1, 2, 2, 3, 4))):
        content = generator.choice(_CHANGES)(content, generator, samples)
    return content


def _atom_for_token(content: bytes, generator: random.Random, _: Sequence[bytes]) -> bytes:
    return _replaced(content, generator, generator.choice(ATOMS))


def _token_of_another(content: bytes, generator: random.Random, samples: Sequence[bytes]) -> bytes:
    other = _token(generator.choice(samples), generator)
    return content if other is None else _replaced(content, generator, other[0])


def _replaced(content: bytes, generator: random.Random, by: bytes) -> bytes:
    token = _token(content, generator)
    return content if token is None else content[: token.start()] + by + content[token.end() :]


def _token(content: bytes, generator: random.Random) -> re.Match[bytes] | None:
    """A token at a random place, or the first one behind it."""
    return _TOKEN.search(content, generator.randrange(len(content) + 1)) or _TOKEN.search(content)


def _byte(content: bytes, generator: random.Random, _: Sequence[bytes]) -> bytes:
    if not content:
        return bytes([generator.randrange(256)])
    at = generator.randrange(len(content))
    return content[:at] + bytes([generator.randrange(256)]) + content[at + 1 :]


def _bit(content: bytes, generator: random.Random, _: Sequence[bytes]) -> bytes:
    if not content:
        return content
    at = generator.randrange(len(content))
    return content[:at] + bytes([content[at] ^ (1 << generator.randrange(8))]) + content[at + 1 :]


def _inserted(content: bytes, generator: random.Random, _: Sequence[bytes]) -> bytes:
    at = generator.randrange(len(content) + 1)
    return content[:at] + generator.choice(ATOMS) + content[at:]


def _cut_out(content: bytes, generator: random.Random, _: Sequence[bytes]) -> bytes:
    at = generator.randrange(len(content) + 1)
    return content[:at] + content[at + generator.randrange(1, 20) :]


def _cut_off(content: bytes, generator: random.Random, _: Sequence[bytes]) -> bytes:
    return content[: generator.randrange(len(content) + 1)]


def _line_twice(content: bytes, generator: random.Random, _: Sequence[bytes]) -> bytes:
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    at, to = generator.randrange(len(lines)), generator.randrange(len(lines))
    return b"".join([*lines[:to], lines[at], *lines[to:]])


_CHANGES: Final = (
    _atom_for_token, _atom_for_token, _atom_for_token, _token_of_another, _byte, _bit, _inserted, _cut_out, _cut_off, _line_twice,
)  # fmt: skip
