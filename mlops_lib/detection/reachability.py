"""Find the code of a local module that an importing module runs or uses."""

from __future__ import annotations

import ast
import bisect

from mlops_lib.detection.facts import Facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


MAIN = "__main__"
EVERYTHING = "*any"
"""Asked of a module that is handed on as a whole."""
STAR = "*"


class Block:
    """A statement of a module's top level: a definition, what stands under `if __name__ ==
    "__main__"`, or any other ("").

    An assignment that calls nothing is a definition too: a table of functions uses none of them.
    """

    __slots__ = ("attributes", "bare", "begins", "ends", "name", "uses")

    def __init__(self, node: ast.stmt) -> None:
        decorators = getattr(node, "decorator_list", [])
        self.begins = min([node.lineno, *(one.lineno for one in decorators)])
        self.ends = node.end_lineno or node.lineno
        self.name = (
            node.name
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            else ""
        )
        if any(_registers(one) for one in decorators):  # a registry finds it by a text
            self.name = ""
        elif isinstance(node, ast.If) and "'__name__'" in ast.dump(node.test):
            self.name = MAIN
        elif isinstance(node, ast.Assign) and not any(
            isinstance(one, ast.Call) for one in ast.walk(node.value)
        ):
            self.name = (
                node.targets[0].id
                if isinstance(node.targets[0], ast.Name) and not node.targets[1:]
                else ""
            )
        self.uses: set[str] = set()
        self.bare: set[str] = set()
        """Names that are used otherwise than for an attribute of theirs."""
        self.attributes: set[tuple[str, str]] = set()
        owners = set()
        bare = []
        for one in ast.walk(node):
            if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name):
                self.attributes.add((one.value.id, one.attr))
                owners.add(id(one.value))
            elif isinstance(one, ast.Name):
                self.uses.add(one.id)
                bare.append(one)
        self.bare = {one.id for one in bare if id(one) not in owners}


def _registers(decorator: ast.expr) -> bool:
    function = decorator.func if isinstance(decorator, ast.Call) else decorator
    return "register" in ast.unparse(function)[:80].lower()


def blocks(tree: ast.Module) -> list[Block]:
    """Return the statements of a module's top level."""
    return [Block(node) for node in tree.body]


class Reach:
    """The statements of a module that run or are used, with what all of them name.

    Args:
        blocks: these statements.
    """

    __slots__ = ("_attributes", "_bare", "_begins", "_ends", "_uses", "blocks")

    def __init__(self, blocks: list[Block]) -> None:
        self.blocks = blocks
        self._begins: list[int] | None = None
        self._ends: list[int] = []
        self._uses: set[str] | None = None
        self._bare: set[str] | None = None
        self._attributes: dict[str, set[str]] | None = None

    @property
    def uses(self) -> set[str]:
        """Names that the statements use."""
        if self._uses is None:
            self._uses = set().union(*(one.uses for one in self.blocks))
        return self._uses

    @property
    def bare(self) -> set[str]:
        """Names that they use otherwise than for an attribute."""
        if self._bare is None:
            self._bare = set().union(*(one.bare for one in self.blocks))
        return self._bare

    def attributes(self, name: str) -> set[str]:
        """Return the attributes of a name that they use."""
        if self._attributes is None:
            self._attributes = {}
            for one in self.blocks:
                for owner, attribute in one.attributes:
                    self._attributes.setdefault(owner, set()).add(attribute)
        return self._attributes.get(name, set())

    def holds(self, line: int) -> bool:
        """Return whether a line stands in one of the statements."""
        if self._begins is None:
            ranges = sorted((one.begins, one.ends) for one in self.blocks)
            self._begins = [begin for begin, _ in ranges]
            self._ends = [end for _, end in ranges]
        at = bisect.bisect_right(self._begins, line) - 1
        # Statements on one line, separated by semicolons, may overlap there.
        return at >= 0 and any(line <= end for end in self._ends[max(0, at - 1) : at + 1])


def reached(every: Sequence[Block], requests: Iterable[str]) -> list[Block]:
    """Return the blocks that run on import, the requested ones, and those that they use."""
    names = set(requests)
    if EVERYTHING in names:
        return list(every)
    reached_blocks: list[Block] = []
    pending = [one for one in every if not one.name or one.name in names]
    rest = [one for one in every if one.name and one.name != MAIN and one.name not in names]
    while pending:
        reached_blocks += pending
        names.update(*(one.uses for one in pending))
        pending = [one for one in rest if one.name in names]
        rest = [one for one in rest if one.name not in names]
    return reached_blocks


class Statements:
    """The import statements that concern one module: those that name it, or something of it, and
    those that import it on the way to a module within it.
    """

    __slots__ = ("naming", "passing")

    def __init__(self) -> None:
        self.naming: list[ast.Import | ast.ImportFrom] = []
        self.passing: list[ast.Import | ast.ImportFrom] = []


NO_STATEMENTS = Statements()


def import_index(tree: ast.Module) -> dict[str, Statements]:
    """Return the import statements of a module, wherever they stand, by what they import.

    A statement stands under the name of every package that it imports on the way.
    """
    index: dict[str, Statements] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named = {alias.name for alias in node.names}
            passed = {one for alias in node.names for one in _beginnings(alias.name)}
        elif isinstance(node, ast.ImportFrom):
            lead = "." * node.level
            origin = lead + (node.module or "")
            passed = {lead + one for one in _beginnings(node.module or "")}
            within = f"{origin}." if node.module else origin
            named = {origin, *(f"{within}{alias.name}" for alias in node.names)}
        else:
            continue
        for name in named:
            index.setdefault(name, Statements()).naming.append(node)
        for name in passed - named:
            index.setdefault(name, Statements()).passing.append(node)
    return index


def _beginnings(dotted: str) -> Iterator[str]:
    """Yield `a`, `a.b` and `a.b.c` for `a.b.c`."""
    end = dotted.find(".")
    while end >= 0:
        yield dotted[:end]
        end = dotted.find(".", end + 1)
    yield dotted


def asked_of(
    statements: Statements,
    reach: Reach,
    module: str,
    requests: Iterable[str] = (),
) -> set[str] | None:
    """Return the names that reachable code requests of a local module, None without an import.

    Names of a module that is handed on as a whole (`getattr(models, name)`) may be any. Of one that
    is imported with a star they are those that are used, and those that are `asked` of the file
    itself: it has them from there.
    """
    names: set[str] = set()
    imports = False
    asked = set(requests)
    within = module + "."
    for node in statements.naming:
        if not reach.holds(node.lineno):
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                imports = imports or f"{alias.name}.".startswith(within)
                if alias.name == module:
                    names |= _attributes(alias.asname or alias.name, reach)
            continue
        origin = "." * node.level + (node.module or "")
        imports = imports or f"{origin}.".startswith(within)
        if origin == module:
            names.update(
                alias.name
                for alias in node.names
                if alias.name == STAR
                or any(
                    name in reach.uses or name in asked
                    for name in (EVERYTHING, alias.asname or alias.name)
                )
            )
        for alias in node.names:
            if module == (f"{origin}.{alias.name}" if node.module else f"{origin}{alias.name}"):
                imports = True
                names |= _attributes(alias.asname or alias.name, reach)
        if origin == module and STAR in names:
            names.remove(STAR)
            names |= reach.uses | asked
    if "__dict__" in names:
        return {EVERYTHING}
    imports = imports or any(reach.holds(node.lineno) for node in statements.passing)
    return ({EVERYTHING} if EVERYTHING in names else names) if imports else None


def _attributes(name: str, reach: Reach) -> set[str]:
    if "." in name:
        return {EVERYTHING} if name.partition(".")[0] in reach.uses else set()
    return {EVERYTHING} if name in reach.bare else reach.attributes(name)


def limited(facts: Facts, reach: Reach) -> Facts:
    """Return the facts that lie in these blocks; imports count wherever they lie."""
    inside = reach.holds
    fewer = Facts()
    fewer.imports, fewer.relative, fewer.descends = facts.imports, facts.relative, facts.descends
    fewer.calls = [call for call in facts.calls if inside(call.line)]
    fewer.bases = [call for call in facts.bases if inside(call.line)]
    fewer.mentions = [call for call in facts.mentions if inside(call.line)]
    fewer.undefined = [call for call in facts.undefined if inside(call.line)]
    fewer.shapes = [shape for shape in facts.shapes if inside(shape.line)]
    return fewer
