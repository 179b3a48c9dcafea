"""Records of one file's content: imports, calls by their full names, data paths."""

from __future__ import annotations

import sys

from mlops_lib.detection.words import words

PYTHON2_MODULES = words("""
    distutils imp asyncore asynchat smtpd urllib2 cPickle cStringIO StringIO Queue ConfigParser
    HTMLParser Tkinter tkMessageBox tkFileDialog httplib urlparse commands thread sets md5 sha
    cookielib xmlrpclib SocketServer BaseHTTPServer SimpleHTTPServer CGIHTTPServer copy_reg
    __builtin__ dummy_thread anydbm UserDict repr cProfile future_builtins exceptions __main__ this
    antigravity formatter parser symbol binhex lib2to3
""")


class Call:
    """A call: dotted name of the callee, line and arguments."""

    __slots__ = ("first", "keywords", "line", "name", "repeated", "scope", "within")

    def __init__(
        self,
        name: str,
        line: int,
        keywords: tuple[str, ...] = (),
        first: str = "",
        scope: str = "",
        within: str = "",
        repeated: bool = False,
    ) -> None:
        self.name = name
        self.line = line
        self.keywords = keywords
        self.first = first
        """The first argument if it is a literal text."""
        self.scope = scope
        """The function it stands in."""
        self.within = within
        """The class it stands in."""
        self.repeated = repeated
        """True if a loop over layers repeats the call."""

    def renamed(self, name: str) -> Call:
        """Return the same call of another name."""
        return Call(
            name, self.line, self.keywords, self.first, self.scope, self.within, self.repeated
        )

    @property
    def leaf(self) -> str:
        """Last part of the name."""
        return self.name.rpartition(".")[2]

    @property
    def receiver(self) -> str:
        """The expression that the leaf is called on, "" if there is none."""
        return self.name.rpartition(".")[0]


class Import:
    """One import of a module that is not part of this one."""

    __slots__ = ("line", "module", "names", "nested", "optional")

    def __init__(
        self,
        module: str,
        line: int,
        names: tuple[str, ...],
        *,
        optional: bool,
        nested: bool = False,
    ) -> None:
        self.module = module
        self.line = line
        self.names = names
        self.optional = optional
        self.nested = nested
        """True if it is indented: it may be in a function that is never called."""

    @property
    def top(self) -> str:
        """First part of the module's name."""
        return self.module.partition(".")[0]


class Shape:
    """A recognised structure, and its place."""

    __slots__ = ("kind", "line", "saw")

    def __init__(self, kind: str, line: int, saw: str) -> None:
        self.kind = kind
        self.line = line
        self.saw = saw


class Facts:
    """The facts of one file."""

    def __init__(self) -> None:
        self.imports: list[Import] = []
        self.relative: list[tuple[int, str, tuple[str, ...], int]] = []
        """Relative imports: level, module, names, line."""
        self.alternatives: list[tuple[Import, Import]] = []
        """Imports of which the second stands in for the first."""
        self.calls: list[Call] = []
        self.bases: list[Call] = []
        """Classes derived from."""
        self.mentions: list[Call] = []
        """Dotted names of imported modules that are named without being called."""
        self.multiplied: list[tuple[str, int]] = []
        """Function and line of every `@`."""
        self.dynamic: list[tuple[str, str, int]] = []
        """Modules that are imported by a literal name, the name that is taken of them, line."""
        self.configured: list[tuple[str, int]] = []
        """Calls that create the objects named by a configuration (Hydra, LightningCLI), with lines.
        """
        self.config_roots: list[tuple[str, str]] = []
        """Folder and name of configurations that it begins with, as far as literal."""
        self.added_by_configuration: tuple[list[Call], list[Import]] = ([], [])
        """Of the calls and imports those that a configuration names."""
        self.shapes: list[Shape] = []
        """Structures that say more than the calls in them."""
        self.exports: dict[str, str] = {}
        """Meaning of this module's names for modules that import it."""
        self.settings: dict[str, str] = {}
        """Environment variables set to literal values."""
        self.paths_added: list[str] = []
        """Folders put on sys.path, as far as they are literal."""
        self.argument_indices: set[int] = set()
        self.counts_arguments = False
        """True if it checks the number of arguments: it then works without them."""
        self.required_options = 0
        self.data: list[tuple[str, int]] = []
        self.written: set[str] = set()
        self.has_main = False
        self.undefined: list[Call] = []
        """Calls of bare names that nothing in the file defines."""
        self.descends = False
        """True if it contains an expression such as `w - rate * gradient`."""

    def add(self, calls: list[Call], imports: list[Import]) -> None:
        """Add the calls and imports that a configuration names."""
        self.added_by_configuration = (calls, imports)
        self.calls += calls
        self.imports += imports

    @property
    def leaves(self) -> set[str]:
        """Last parts of all names that are called."""
        return {call.leaf for call in self.calls}


def is_standard(module: str) -> bool:
    """Return whether a top-level module belongs to Python itself."""
    return module in sys.stdlib_module_names or module in PYTHON2_MODULES
