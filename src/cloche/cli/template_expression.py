"""The inside of a template's `{{ }}`: from its words to a function of a Scope."""

from __future__ import annotations

from cloche.cli.template_functions import FUNCTIONS, field
from cloche.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Value = Any
    Expression = Callable[["Scope"], Value]

_MOST_DEPTH = 50  # of nested parentheses
_CONSTANTS = {"true": True, "false": False, "nil": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "a": "\a", "b": "\b", "0": "\0"}


class Scope:
    """What a template sees at one place: the dot, and the variables by name (`$` is the whole)."""

    __slots__ = ("dot", "variables")

    def __init__(self, dot: Value, variables: dict[str, Value]) -> None:
        self.dot = dot
        self.variables = variables


def declaration(text: str) -> tuple[list[str], bool, Expression]:
    """(names, whether the value is stored, expression) of `$a, $b := pipeline` or a pipeline."""
    words = _words(text)
    for mark in (":=", "="):
        if mark in words:
            at = words.index(mark)
            names = [word for word in words[:at] if word != ","]
            if not names or len(names) > 2 or not all(name.startswith("$") for name in names):
                raise InvalidArgument(f'template parsing error: bad declaration in "{text}"')
            return names, True, _Expressions(words[at + 1 :], text).whole()
    return [], False, _Expressions(words, text).whole()


def _words(text: str) -> list[str]:
    """The words of an action: operands, `|`, `(`, `)`, `,`, `:=`, `=`; strings keep their quotes."""
    words: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        if character in " \t\r\n":
            position += 1
            continue
        end = _word_stop(text, position)
        words.append(text[position:end])
        position = end
    return words


def _word_stop(text: str, position: int) -> int:
    character = text[position]
    if character in "\"'`":
        return _string_end(text, position)
    if text.startswith(":=", position):
        return position + 2
    if character in "|(),=":
        # A field of a parenthesised value, `(index . 0).Name`, sticks to its parenthesis.
        end = position + 1
        if character == ")" and text[end : end + 1] == ".":
            return _word_end(text, end)
        return end
    return max(_word_end(text, position), position + 1)


def _word_end(text: str, position: int) -> int:
    while position < len(text) and text[position] not in " \t\r\n|(),=\"'`:":
        position += 1
    return position


def _string_end(text: str, position: int) -> int:
    quote, start = text[position], position
    position += 1
    while position < len(text):
        if text[position] == "\\" and quote != "`":
            position += 1
        elif text[position] == quote:
            return position + 1
        position += 1
    raise InvalidArgument(f"template parsing error: unterminated quoted string {text[start:]}")


class _Expressions:
    """Recursive descent over one action's words."""

    def __init__(self, words: list[str], text: str) -> None:
        self._words = words
        self._text = text
        self._next = 0
        self._depth = 0

    def whole(self) -> Expression:
        expression = self._pipeline()
        if self._next < len(self._words):
            raise self._unexpected(self._words[self._next])
        return expression

    def _peek(self) -> str:
        return self._words[self._next] if self._next < len(self._words) else ""

    def _pipeline(self) -> Expression:
        expression = self._command(None)
        while self._peek() == "|":
            self._next += 1
            expression = self._command(expression)
        return expression

    def _command(self, piped: Expression | None) -> Expression:
        word = self._peek()
        if word[:1].isalpha() and word not in _CONSTANTS:
            self._next += 1
            function = FUNCTIONS.get(word)
            if function is None:
                raise InvalidArgument(f'template parsing error: function "{word}" not defined')
            operands = self._operands() + ([piped] if piped else [])
            return _call(function, operands)
        operands = self._operands()
        if not operands or (word[0] != "." and (piped or len(operands) > 1)):
            raise self._unexpected(word or "end of the action")
        # A field may be a method, as in `{{.Label "name"}}`.
        return _method(operands[0], operands[1:] + ([piped] if piped else []), word)

    def _operands(self) -> list[Expression]:
        operands: list[Expression] = []
        while (word := self._peek()) and word != "|" and not word.startswith(")"):
            self._next += 1
            operands.append(self._parenthesised() if word == "(" else self._operand(word))
        return operands

    def _parenthesised(self) -> Expression:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise InvalidArgument("template parsing error: nested too deep")
        inner = self._pipeline()
        closing = self._peek()
        if not closing.startswith(")"):
            raise self._unexpected("end of the action")
        self._next += 1
        self._depth -= 1
        return _fields(inner, closing[1:])

    def _operand(self, word: str) -> Expression:
        if word[0] == ".":
            return _fields(lambda scope: scope.dot, word if word != "." else "")
        if word[0] == "$":
            name, dot, rest = word.partition(".")
            return _fields(lambda scope: scope.variables[name], dot + rest)
        if word[0] in "\"'`":
            text = _unquoted(word)
            return lambda scope: text
        if word in _CONSTANTS:
            constant = _CONSTANTS[word]
            return lambda scope: constant
        if word in FUNCTIONS:
            return _call(FUNCTIONS[word], [])
        return _number(word, self._unexpected(word))

    def _unexpected(self, word: str) -> InvalidArgument:
        return InvalidArgument(f'template parsing error: unexpected "{word}" in "{{{{{self._text}}}}}"')


def _fields(start: Expression, chain: str) -> Expression:
    if not chain:
        return start
    names = chain[1:].split(".")
    if not all(names):
        raise InvalidArgument(f'template parsing error: bad field "{chain}"')

    def expression(scope: Scope) -> Value:
        value = start(scope)
        for name in names:
            value = field(value, name)
        return value

    return expression


def _call(function: Callable[..., Value], operands: list[Expression]) -> Expression:
    return lambda scope: function(*[operand(scope) for operand in operands])


def _method(value: Expression, operands: list[Expression], name: str) -> Expression:
    if not operands:
        return value

    def expression(scope: Scope) -> Value:
        method = value(scope)
        if not callable(method):
            raise TypeError(f"{name} is not a method: it takes no arguments")
        return method(*[operand(scope) for operand in operands])

    return expression


def _number(word: str, error: InvalidArgument) -> Expression:
    try:
        value = int(word, 0)
    except ValueError:
        try:
            number = float(word)
        except ValueError:
            raise error from None
        return lambda scope: number
    return lambda scope: value


def _unquoted(word: str) -> str:
    body = word[1:-1]
    if word[0] == "`" or "\\" not in body:
        return body
    parts, position = [], 0
    while position < len(body):
        if body[position] == "\\" and position + 1 < len(body):
            position += 1
            parts.append(_ESCAPES.get(body[position], "\\" + body[position]))
        else:
            parts.append(body[position])
        position += 1
    return "".join(parts)
