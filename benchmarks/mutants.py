"""Small bugs that could be in a file: ``<`` for ``<=``, 1 for 0, a statement left out."""

import ast
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One change: `before` becomes `after` between two offsets of a file."""

    path: str
    function: str
    lines: tuple
    span: tuple
    before: str
    after: str
    text: str

    def __str__(self):
        return f"{self.path}:{self.lines[0]} {self.function}: {self.before} -> {self.after}"

    @property
    def key(self):
        """What stays the same if lines are put before this mutant."""
        return self.path, self.function, self.before, self.after


_COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Mod: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
_SWAPS = [("min", "max"), ("minimum", "maximum"), ("any", "all"), ("zeros", "ones")]
_SWAPS += [("floor", "ceil"), ("cos", "sin"), ("flatnonzero", "argsort"), ("left", "right")]
_NAMES = {a: b for pair in _SWAPS for a, b in (pair, pair[::-1])}


def _changed(node):
    """Yield what a node may become."""
    if isinstance(node, ast.stmt):
        yield from _changed_statement(node)
    elif isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            operators = [*node.ops]
            operators[index] = _COMPARISONS[type(operator)]()
            yield ast.Compare(node.left, operators, node.comparators)
    elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        yield ast.BinOp(node.left, _OPERATORS[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.Constant):
        yield from _changed_constant(node.value)
    elif isinstance(node, (ast.Name, ast.Attribute)):
        yield from _changed_name(node)
    elif isinstance(node, ast.Call):
        for index, keyword in enumerate(node.keywords):
            if keyword.arg not in (None, "strict"):  # strict=True is an assertion
                rest = node.keywords[:index] + node.keywords[index + 1 :]
                yield ast.Call(node.func, node.args, rest)
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)


def _changed_statement(node):
    """Yield the statement with the opposite operator, and its deletion."""
    if isinstance(node, ast.AugAssign) and type(node.op) in _OPERATORS:
        yield ast.AugAssign(node.target, _OPERATORS[type(node.op)](), node.value)
    is_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    if is_call or isinstance(node, (ast.AugAssign, ast.Raise, ast.Continue, ast.Break)):
        yield ast.Pass()


def _changed_name(node):
    if isinstance(node, ast.Name) and node.id in _NAMES:
        yield ast.Name(_NAMES[node.id])
    elif isinstance(node, ast.Attribute) and node.attr in _NAMES:
        yield ast.Attribute(node.value, _NAMES[node.attr])


def _changed_constant(value):
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, (int, float)):
        yield ast.Constant(value + 1)
        if value == 1:
            yield ast.Constant(0)
    elif value in ("left", "right"):
        yield ast.Constant(_NAMES[value])


class _Finder(ast.NodeVisitor):
    """Collect the mutants of a file: not of its annotations, messages, docstrings and `__all__`."""

    def __init__(self, path, source):
        self.path, self.source, self.mutants = path, source, []
        self.scope, self.statement = [], None
        self.starts = [0]
        for line in source.encode().splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def visit(self, node):
        if isinstance(node, ast.stmt):
            self.statement = node
        for new in _changed(node):
            self._add(node, new)
        if not (isinstance(node, ast.keyword) and node.arg == "strict"):
            super().visit(node)

    def _add(self, node, new):
        start = self.starts[node.lineno - 1] + node.col_offset
        stop = self.starts[node.end_lineno - 1] + node.end_col_offset
        text = ast.unparse(ast.fix_missing_locations(new))
        text = text if isinstance(node, ast.stmt) else f"({text})"
        old = ast.unparse(node)
        context = " ".join(ast.unparse(self.statement).splitlines()[0].split())
        lines = (self.statement.lineno, _last_line(self.statement))
        where = ".".join(self.scope) or "module"
        before = context if old == context else f"{context} [{old}]"
        same = sum(
            mutant.function == where
            and mutant.before.split(" #")[0] == before
            and mutant.after == ast.unparse(new)
            for mutant in self.mutants
        )
        before += f" #{same + 1}" if same else ""
        self.mutants.append(
            Mutant(self.path, where, lines, (start, stop), before, ast.unparse(new), text)
        )

    def _enter(self, node):
        if any(ast.unparse(decorator) == "overload" for decorator in node.decorator_list):
            return
        self.scope.append(node.name)
        if isinstance(node, ast.ClassDef):
            for statement in node.body:
                self.visit(statement)
        else:
            for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
                self.statement = node
                self.visit(default)
            for statement in node.body:
                self.visit(statement)
        self.scope.pop()

    visit_FunctionDef = visit_ClassDef = _enter  # noqa: N815

    def visit_AnnAssign(self, node):
        if node.value is not None:
            self.visit(node.value)

    def visit_Assign(self, node):
        names = {target.id for target in node.targets if isinstance(target, ast.Name)}
        if "__all__" not in names:
            self.generic_visit(node)

    def visit_If(self, node):
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)

    def visit_Expr(self, node):
        call = node.value
        if not isinstance(call, ast.Call):  # docstrings
            return
        if not ast.unparse(call.func).endswith("warn"):
            self.generic_visit(node)

    def visit_Raise(self, node):
        """Leave messages alone."""

    visit_JoinedStr = visit_Import = visit_ImportFrom = visit_TypeAlias = visit_Raise  # noqa: N815


def _last_line(statement):
    """Last line of a statement's own, without the statements in it."""
    body = getattr(statement, "body", None)
    if isinstance(body, list) and body:
        return max(statement.lineno, body[0].lineno - 1)
    return statement.end_lineno


def find_mutants(path, source):
    """List the mutants of the source of a file, in order."""
    finder = _Finder(path, source)
    finder.visit(ast.parse(source))
    return finder.mutants
