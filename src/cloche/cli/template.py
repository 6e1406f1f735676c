"""Go's text templates, as far as people use them with `--format`.

A template is compiled into a tree of small functions of a Scope. Understood are fields
(`{{.State.Pid}}`), variables, pipelines and parentheses, `if`/`else if`/`else`, `range` with
`break` and `continue`, `with`, comments, trimming (`{{-`, `-}}`), literals, and the functions of
cloche.cli.template_functions. Errors are InvalidArgument and name the position.
"""

from __future__ import annotations

from cloche.cli.template_expression import Scope, declaration
from cloche.cli.template_functions import is_true, text_of
from cloche.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Value = Any
    Expression = Callable[[Scope], Value]
    Node = Callable[[Scope, list[str]], None]

_MOST_DEPTH = 50  # of nested blocks


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class Template:
    """A compiled template. Raises InvalidArgument where the text is not one."""

    def __init__(self, text: str) -> None:
        try:
            self._nodes = _Blocks(_pieces(text)).all()
        except RecursionError:
            raise InvalidArgument("template parsing error: nested too deep") from None

    def execute(self, data: Value) -> str:
        """Fill the template in with a document made of dicts, lists, text and numbers."""
        try:
            parts: list[str] = []
            _write(self._nodes, Scope(data, {"$": data}), parts)
            return "".join(parts)
        except (ValueError, TypeError, KeyError, IndexError, LookupError) as error:
            detail = error.args[0] if error.args else error
            raise InvalidArgument(f"template error: {detail}") from None
        except (_Break, _Continue):
            raise InvalidArgument("template error: break or continue outside a range") from None


def _write(nodes: list[Node], scope: Scope, parts: list[str]) -> None:
    for node in nodes:
        node(scope, parts)


def _pieces(text: str) -> list[tuple[str, str]]:
    """The text cut into ("text", …) and ("action", …) pieces, with the trimming done."""
    pieces: list[tuple[str, str]] = []
    position, trim = 0, False
    while True:
        start = text.find("{{", position)
        plain = text[position:] if start < 0 else text[position:start]
        if trim:
            plain = plain.lstrip(" \t\r\n")
        if start < 0:
            pieces.append(("text", plain))
            return pieces
        end = _end_of_action(text, start + 2)
        action = text[start + 2 : end]
        if action[:1] == "-" and action[1:2] in tuple(" \t\r\n"):
            plain, action = plain.rstrip(" \t\r\n"), action[1:]
        trim = action[-1:] == "-" and action[-2:-1] in tuple(" \t\r\n")
        pieces.append(("text", plain))
        pieces.append(("action", action[:-1].strip() if trim else action.strip()))
        position = end + 2


def _end_of_action(text: str, position: int) -> int:
    quote = ""
    start = position
    while position < len(text):
        character = text[position]
        if quote:
            if character == "\\" and quote != "`":
                position += 1
            elif character == quote:
                quote = ""
        elif character in "\"'`":
            quote = character
        elif text.startswith("}}", position):
            return position
        position += 1
    raise InvalidArgument(f"template parsing error: the action at character {start - 1} is not closed")


class _Blocks:
    """Builds the nodes of nested blocks out of the pieces."""

    def __init__(self, pieces: list[tuple[str, str]]) -> None:
        self._pieces = pieces
        self._next = 0
        self._depth = 0

    def all(self) -> list[Node]:
        nodes, stop, _ = self._until_stop()
        if stop:
            raise InvalidArgument(f'template parsing error: unexpected "{stop}"')
        return nodes

    def _until_stop(self) -> tuple[list[Node], str, str]:
        """Nodes up to `end` or `else`; which of them, and the words after it."""
        nodes: list[Node] = []
        while self._next < len(self._pieces):
            kind, text = self._pieces[self._next]
            self._next += 1
            if kind == "text":
                if text:
                    nodes.append(_literal(text))
                continue
            keyword, _, rest = text.partition(" ")
            if keyword in ("end", "else"):
                return nodes, keyword, rest.strip()
            if text and not text.startswith("/*"):
                nodes.append(self._action(keyword, rest.strip(), text))
        return nodes, "", ""

    def _action(self, keyword: str, rest: str, text: str) -> Node:
        if keyword in ("if", "with", "range"):
            self._depth += 1
            if self._depth > _MOST_DEPTH:
                raise InvalidArgument("template parsing error: nested too deep")
            node = self._block(keyword, rest)
            self._depth -= 1
            return node
        if keyword == "break":
            return _raiser(_Break)
        if keyword == "continue":
            return _raiser(_Continue)
        if keyword in ("define", "template", "block"):
            raise InvalidArgument(f'template parsing error: "{keyword}" is not supported here')
        names, declares, expression = declaration(text)
        return _assignment(names, expression) if declares else _output(expression)

    def _block(self, keyword: str, rest: str) -> Node:
        names, _, expression = declaration(rest)
        body, stop, words = self._until_stop()
        otherwise: list[Node] = []
        if stop == "else":
            chained = words.partition(" ")
            if chained[0] in ("if", "with"):
                otherwise, stop = [self._block(chained[0], chained[2].strip())], "end"
            else:
                otherwise, stop, _ = self._until_stop()
        if stop != "end":
            raise InvalidArgument(f'template parsing error: "{keyword}" without its "end"')
        if keyword == "range":
            return _range(names, expression, body, otherwise)
        return _conditional(names, expression, body, otherwise, moves_dot=keyword == "with")


def _literal(text: str) -> Node:
    return lambda scope, parts: parts.append(text)


def _output(expression: Expression) -> Node:
    return lambda scope, parts: parts.append(text_of(expression(scope)))


def _raiser(kind: type[Exception]) -> Node:
    def node(scope: Scope, parts: list[str]) -> None:
        raise kind

    return node


def _assignment(names: list[str], expression: Expression) -> Node:
    def node(scope: Scope, parts: list[str]) -> None:
        scope.variables[names[0]] = expression(scope)

    return node


def _conditional(
    names: list[str], expression: Expression, body: list[Node], otherwise: list[Node], *, moves_dot: bool
) -> Node:
    def node(scope: Scope, parts: list[str]) -> None:
        value = expression(scope)
        variables = scope.variables | dict.fromkeys(names[:1], value)
        if is_true(value):
            _write(body, Scope(value if moves_dot else scope.dot, variables), parts)
        else:
            _write(otherwise, Scope(scope.dot, variables), parts)

    return node


def _range(names: list[str], expression: Expression, body: list[Node], otherwise: list[Node]) -> Node:
    def node(scope: Scope, parts: list[str]) -> None:
        value = expression(scope)
        if not is_true(value):
            _write(otherwise, scope, parts)
            return
        for key, item in _items(value):
            bound = dict(zip(names[-2:], (key, item) if len(names) > 1 else (item,), strict=False))
            try:
                _write(body, Scope(item, scope.variables | bound), parts)
            except _Continue:
                continue
            except _Break:
                break

    return node


def _items(value: Value) -> list[tuple[Value, Value]]:
    if isinstance(value, dict):
        return sorted(value.items())
    if isinstance(value, (list, tuple)):
        return list(enumerate(value))
    raise TypeError(f"range can't iterate over {text_of(value)}")
