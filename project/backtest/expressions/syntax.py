"""From text to a Python syntax tree: characters, words, size and depth are checked before and after parsing."""

from __future__ import annotations

import ast
import keyword
import re
import unicodedata
from typing import Final

from backtest.expressions.faults import ExpressionError
from backtest.expressions.registry import OPERATORS

MAX_CHARACTERS: Final = 2_000
MAX_DEPTH: Final = 64
MAX_NODES: Final = 1_000

_WORDS: Final = frozenset({"and", "or", "not", "True", "False"})
_TOKEN: Final = re.compile(
    r"(?P<space>[ \t\r\n]+)"
    r"|(?P<number>(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<operator>\*\*|//|<<|>>|<=|>=|==|!=|[-+*/%<>(),])"
)
_ALLOWED: Final = (
    f"Allowed are names, numbers, {' '.join(OPERATORS)}, parentheses and calls of the language's functions."
)
_HINTS: Final = {
    "'": "Text in quotes is no value here; names stand without quotes.",
    '"': "Text in quotes is no value here; names stand without quotes.",
    "=": "Compare with ==; arguments are given by position, without a name.",
    ".": "Names have no attributes or methods; use a function, e.g. lag(x, 1).",
    ":": "There are no functions, assignments or slices of one's own; give an intermediate value its own feature file.",
    "[": "There is no indexing; an earlier value is lag(x, n).",
    "]": "There is no indexing; an earlier value is lag(x, n).",
    "{": "There are no sets or mappings.",
    "&": "Write `and` between conditions.",
    "|": "Write `or` between conditions.",
    "~": "Write `not` before a condition.",
    "!": "Write `not` before a condition, != to compare.",
    "^": "A power is **.",
    "#": "Comments belong in YAML, outside the expression.",
    "//": "Divide with /.",
    "<<": "Compare with <.",
    ">>": "Compare with >.",
    "None": "Test for a missing value with is_null(x).",
    "if": "Choose between two values with where(condition, a, b).",
    "else": "Choose between two values with where(condition, a, b).",
    "is": "Compare with ==, test for a missing value with is_null(x).",
    "in": "Compare with == and join the comparisons with `or`.",
    "lambda": "There are no functions of one's own; give an intermediate value its own feature file.",
    "for": "There are no loops; use a window function, e.g. rolling_sum(x, 12).",
}


def parse(text: str) -> ast.expr:
    """The syntax tree of `text`, at most MAX_DEPTH deep; offsets into it are offsets into `text`.

    Raises ExpressionError for anything else than one expression in the language's characters and words.
    """
    if len(text) > MAX_CHARACTERS:
        raise ExpressionError(
            text,
            MAX_CHARACTERS,
            f"the expression has {len(text):,} characters",
            f"At most {MAX_CHARACTERS:,} are allowed; give parts of it their own feature files.",
        )
    _check_words(text)
    _check_order(text)
    try:
        tree = ast.parse(re.sub(r"[\t\r\n]", " ", text).lstrip(" "), mode="eval").body
    except SyntaxError as fault:
        raise ExpressionError(text, _leading(text) + (fault.offset or 1) - 1, str(fault.msg), _ALLOWED) from None
    except (ValueError, RecursionError, MemoryError, OverflowError):
        raise _too_deep(text, 0) from None
    _check_size(text, tree)
    return tree


def offset_of(text: str, node: ast.expr) -> int:
    """Where `node` begins in `text`."""
    return _leading(text) + node.col_offset


def source_of(text: str, node: ast.expr) -> str:
    """What `node` reads in `text`, on one line, shortened."""
    end = _leading(text) + (node.end_col_offset or node.col_offset)
    source = " ".join(text[offset_of(text, node) : end].split())
    return source if len(source) <= 40 else f"{source[:39]}…"


def _leading(text: str) -> int:
    """Characters of white space before the expression, which are cut off before parsing."""
    return len(text) - len(text.lstrip(" \t\r\n"))


def _check_words(text: str) -> None:
    """Fault at the first character or word that is not the language's, and where brackets nest too deep."""
    position, depth = 0, 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise _stray(text, position)
        found = token[0]
        if found in _HINTS or (keyword.iskeyword(found) and found not in _WORDS):
            hint = _HINTS.get(found, "It is a reserved word.")
            raise ExpressionError(text, position, f"{found!r} is not part of the language", f"{hint} {_ALLOWED}")
        is_run_together = re.match(r"[A-Za-z_.]", text[token.end() : token.end() + 1]) is not None
        if token.lastgroup == "number" and (is_run_together or re.fullmatch(r"0[0-9_]*[1-9][0-9_]*", found)):
            raise ExpressionError(
                text, position, "this is neither a number nor a name", "Numbers are written like 12, 0.97 or 1e-6."
            )
        depth += (found == "(") - (found == ")")
        if depth > MAX_DEPTH:
            raise _too_deep(text, position)
        position = token.end()


def _check_order(text: str) -> None:
    """Fault where a value or an operator is missing, or a bracket has no partner."""
    open_brackets: list[int] = []
    before, needs_value = "", True
    for token in _TOKEN.finditer(text):
        found, at = token[0], token.start()
        if token.lastgroup == "space":
            continue
        is_operator = token.lastgroup == "operator" or found in ("and", "or", "not")
        if needs_value and is_operator and found not in ("(", ")", "-", "+", "not"):
            raise ExpressionError(text, at, f"a value is missing before {found!r}", _ALLOWED)
        if not needs_value and (not is_operator or found == "not"):
            raise ExpressionError(text, at, f"an operator or a comma is missing before {found!r}", _ALLOWED)
        if found == "(":
            open_brackets.append(at)
        if found == ")":
            if not open_brackets:
                raise ExpressionError(text, at, "this bracket closes none", "Each ) needs a ( before it.")
            if needs_value and before not in ("(", ","):
                raise ExpressionError(text, at, f"a value is missing after {before!r}", _ALLOWED)
            open_brackets.pop()
        before, needs_value = found, is_operator and found != ")"
    if open_brackets:
        raise ExpressionError(text, open_brackets[-1], "this bracket is not closed", "Each ( needs a ) after it.")
    if needs_value:
        after = f"after {before!r} a value is missing" if before else "the expression is empty"
        raise ExpressionError(text, len(text.rstrip()), after, _ALLOWED)


def _stray(text: str, position: int) -> ExpressionError:
    character = text[position]
    if character.isascii() and character.isprintable():
        shown = repr(character)
    else:
        shown = f"character U+{ord(character):04X} ({unicodedata.name(character, 'a control character')})"
    hint = _HINTS.get(character)
    return ExpressionError(
        text, position, f"{shown} is not part of the language", f"{hint} {_ALLOWED}" if hint else _ALLOWED
    )


def _too_deep(text: str, offset: int) -> ExpressionError:
    return ExpressionError(
        text,
        offset,
        "the expression is nested too deeply",
        f"At most {MAX_DEPTH} levels and {MAX_NODES:,} parts are allowed; give parts of it their own feature files.",
    )


def _check_size(text: str, tree: ast.expr) -> None:
    """Fault where the tree is too deep or too large; walks without recursion."""
    waiting: list[tuple[ast.AST, int]] = [(tree, 1)]
    n_nodes = 0
    while waiting:
        node, depth = waiting.pop()
        n_nodes += isinstance(node, ast.expr)
        if depth > MAX_DEPTH or n_nodes > MAX_NODES:
            raise _too_deep(text, offset_of(text, node) if isinstance(node, ast.expr) else 0)
        waiting.extend((child, depth + 1) for child in ast.iter_child_nodes(node))
