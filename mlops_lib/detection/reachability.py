"""Find the code of a local module that runs or is used when another module imports it."""

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


def reached(every: Sequence[Block], requests: Iterable[str]) -> list[Block]:
    """Return the blocks that run on import, those requested, and those that they use in turn."""
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


def import_index(tree: ast.Module) -> dict[str, list[ast.Import | ast.ImportFrom]]:
    """Return the import statements of a module, wherever they stand, by what they import.

    A statement stands under the name of every package that it imports on the way.
    """
    index: dict[str, list[ast.Import | ast.ImportFrom]] = {}
    for node in ast.walk(tree):
        names: set[str] = set()
        if isinstance(node, ast.Import):
            for alias in node.names:
                names.update(_beginnings(alias.name))
        elif isinstance(node, ast.ImportFrom):
            lead = "." * node.level
            names.update(lead + one for one in _beginnings(node.module or ""))
            names.update(
                f"{lead}{node.module}.{alias.name}" if node.module else f"{lead}{alias.name}"
                for alias in node.names
            )
        else:
            continue
        for name in names:
            index.setdefault(name, []).append(node)
    return index


def _beginnings(dotted: str) -> Iterator[str]:
    """Yield `a`, `a.b` and `a.b.c` for `a.b.c`."""
    end = dotted.find(".")
    while end >= 0:
        yield dotted[:end]
        end = dotted.find(".", end + 1)
    yield dotted


def asked_of(
    statements: Sequence[ast.Import | ast.ImportFrom],
    reached_blocks: Sequence[Block],
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
    used: set[str] = set()
    if statements:
        used = set(requests).union(*(one.uses for one in reached_blocks))
    within = module + "."
    for node in statements:
        if not _stands_in(reached_blocks, node.lineno):
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                imports = imports or f"{alias.name}.".startswith(within)
                if alias.name == module:
                    names |= _attributes(alias.asname or alias.name, reached_blocks)
            continue
        origin = "." * node.level + (node.module or "")
        imports = imports or f"{origin}.".startswith(within)
        if origin == module:
            names.update(
                alias.name
                for alias in node.names
                if {EVERYTHING, alias.asname or alias.name} & used or alias.name == STAR
            )
        for alias in node.names:
            if module == (f"{origin}.{alias.name}" if node.module else f"{origin}{alias.name}"):
                imports = True
                names |= _attributes(alias.asname or alias.name, reached_blocks)
        if origin == module and STAR in names:
            names.remove(STAR)
            names |= used
    if "__dict__" in names:
        return {EVERYTHING}
    return ({EVERYTHING} if EVERYTHING in names else names) if imports else None


def _stands_in(reached_blocks: Sequence[Block], line: int) -> bool:
    return any(one.begins <= line <= one.ends for one in reached_blocks)


def _attributes(name: str, reached_blocks: Sequence[Block]) -> set[str]:
    if "." in name:
        return (
            {EVERYTHING}
            if any(name.partition(".")[0] in one.uses for one in reached_blocks)
            else set()
        )
    if any(name in one.bare for one in reached_blocks):
        return {EVERYTHING}
    return {
        attribute for one in reached_blocks for owner, attribute in one.attributes if owner == name
    }


def limited(facts: Facts, reached_blocks: Sequence[Block]) -> Facts:
    """Return the facts that lie in these blocks; imports count wherever they lie."""
    ranges = sorted((one.begins, one.ends) for one in reached_blocks)
    begins = [begin for begin, _ in ranges]

    def inside(line: int) -> bool:
        at = bisect.bisect_right(begins, line) - 1
        # Statements on one line, separated by semicolons, may overlap there.
        return at >= 0 and any(line <= end for _, end in ranges[max(0, at - 1) : at + 1])

    fewer = Facts()
    fewer.imports, fewer.relative, fewer.descends = facts.imports, facts.relative, facts.descends
    fewer.calls = [call for call in facts.calls if inside(call.line)]
    fewer.bases = [call for call in facts.bases if inside(call.line)]
    fewer.mentions = [call for call in facts.mentions if inside(call.line)]
    fewer.undefined = [call for call in facts.undefined if inside(call.line)]
    fewer.shapes = [shape for shape in facts.shapes if inside(shape.line)]
    return fewer
