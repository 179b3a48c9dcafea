"""Positions of data loaders and generators: values read, and random states.

A `DataLoader`'s iterator cannot be pickled. It is made again from its loader, with the random state
of its beginning, and read up to its position. If reading has no effect but on the random state (an
indexed data set, no workers), only the indices are drawn. The drawn indices are checksummed: an
order that does not repeat is noticed.
"""

import array
import contextlib
import functools
import random
import sys
import types
import weakref
import zlib
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from mlops_lib.runner.pytorch.pickling import RefusedError

POSITION = "_mlops_position"
"""The attribute of an iterator that holds its `Position`."""
PASS = "_mlops_pass"
"""The attribute of an iterator that holds its number for the observation (`watch`)."""


def random_states(loader: Any = None) -> Dict[str, Any]:
    """Return the random states of the process, and of a loader's own generators."""
    torch = sys.modules["torch"]
    numpy = sys.modules.get("numpy")
    return {
        "torch": torch.get_rng_state(),
        "numpy": None if numpy is None else numpy.random.get_state(),
        "python": random.getstate(),
        "own": [generator.get_state() for generator in _generators(loader)],
    }


def put_random_states(states: Dict[str, Any], loader: Any = None) -> None:
    """Restore what `random_states` returned."""
    sys.modules["torch"].set_rng_state(states["torch"])
    if states["numpy"] is not None:
        sys.modules["numpy"].random.set_state(states["numpy"])
    random.setstate(states["python"])
    for generator, state in zip(_generators(loader), states["own"]):
        generator.set_state(state)


def _generators(loader: Any) -> List[Any]:
    """Return the generators that a loader draws from, each once."""
    torch = sys.modules["torch"]
    sampler = getattr(loader, "sampler", None)
    batches = getattr(loader, "batch_sampler", None)
    owners = (loader, sampler, batches, getattr(batches, "sampler", None))
    candidates = [getattr(generator, "generator", None) for generator in owners]
    return list(
        {
            id(generator): generator
            for generator in candidates
            if isinstance(generator, torch.Generator)
        }.values()
    )


class Pass:
    """One reading of a loader from its beginning.

    Attributes:
        before: the random states before it began.
        first: the random states before the first index was drawn.
        taken: the number of batches handed out.
        order: a checksum of the drawn indices.
    """

    def __init__(self, before: Dict[str, Any]) -> None:
        self.before = before
        self.first: Optional[Dict[str, Any]] = None
        self.taken = 0
        self.order = 0

    def state(self) -> Tuple[Any, ...]:
        """Return its attributes as a tuple."""
        return self.before, self.first, self.taken, self.order


class Position:
    """The position of an iterator: its passes; several only with persistent workers."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.passes: List[Pass] = [Pass(random_states(loader))]

    @property
    def last(self) -> Pass:
        """The pass under way."""
        return self.passes[-1]

    def state(self) -> List[Tuple[Any, ...]]:
        """Return all passes as tuples."""
        return [reading.state() for reading in self.passes]


class Reading:
    """The position of a generator of the project.

    Attributes:
        frame: its frame, by which its own body identifies it.
        arguments: its arguments by name.
        taken: the number of values that it has yielded.
        opened: the random states before each loader that it began to read.
    """

    def __init__(self, frame: types.FrameType) -> None:
        self.frame = frame
        self.arguments = {name: frame.f_locals[name] for name in _parameters(frame.f_code)}
        self.taken = 0
        self.opened: List[Dict[str, Any]] = []


def _parameters(code: types.CodeType) -> List[str]:
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)  # *args, **kwargs
    return list(code.co_varnames[:count])


def _shown(index: Any) -> bytes:
    """Return bytes that represent the indices of a batch."""
    if type(index) is list:
        with contextlib.suppress(TypeError, OverflowError):
            return array.array("q", index).tobytes()
    return repr(index).encode()


def ignore(representation: bytes) -> None:
    """Do nothing with a drawn index."""


class Readings:
    """The positions of a process's iterators and generators.

    Attributes:
        drawing: called with the representation of each index that a loader draws.
    """

    def __init__(self) -> None:
        self.drawing: Callable[[bytes], None] = ignore
        self._ghost = False
        self._generators: Dict[int, Reading] = {}
        self._functions: Dict[types.CodeType, "List[weakref.ref[Any]]"] = {}
        self._replaying: List[Tuple[Reading, List[Dict[str, Any]]]] = []
        self.pending: List[Callable[[], None]] = []
        """Reads that follow once all unpickled objects exist."""

    # --- loaders

    def install(self, module: Any) -> None:
        """Follow the iterators of `torch.utils.data.dataloader`."""
        self._base = module._BaseDataLoaderIter
        self._iterable = module._DatasetKind.Iterable
        # The base class is patched, not an instance: scripts and libraries make iterators
        # themselves.
        self._follow_passes(self._base)
        self._follow_indices(self._base, module._SingleProcessDataLoaderIter)
        _count_batches(self._base)

    def _follow_passes(self, base: Any) -> None:
        """Note the random states at the beginning of each pass."""
        readings = self
        init = base.__init__
        reset = base._reset

        @functools.wraps(init)
        def init_(iterator: Any, loader: Any) -> None:
            readings._begin(loader)
            iterator.__dict__[POSITION] = Position(loader)
            init(iterator, loader)

        @functools.wraps(reset)
        def reset_(iterator: Any, loader: Any, first_iter: bool = False) -> None:
            # `__init__` of an iterator with workers calls this too, with first_iter=True.
            if not first_iter:
                readings._begin(loader)
                position = iterator.__dict__.get(POSITION)
                if position is not None:
                    position.passes.append(Pass(random_states(loader)))
            reset(iterator, loader, first_iter)

        base.__init__, base._reset = init_, reset_

    def _follow_indices(self, base: Any, single: Any) -> None:
        """Checksum the drawn indices; read no data while `ghostly` is active."""
        readings = self
        next_index = base._next_index
        next_data = single._next_data

        @functools.wraps(next_index)
        def next_index_(iterator: Any) -> Any:
            position = iterator.__dict__.get(POSITION)
            if position is None:
                return next_index(iterator)
            last = position.last
            # The sampler may draw its seed only now, at the first index: a generator-based sampler
            # is lazy.
            if last.first is None:
                last.first = random_states(position.loader)
            index = next_index(iterator)
            representation = _shown(index)
            last.order = zlib.crc32(representation, last.order)
            readings.drawing(representation)
            return index

        @functools.wraps(next_data)
        def next_data_(iterator: Any) -> Any:
            # An iterable data set has no indices: only reading it moves it.
            if not readings._ghost or iterator._dataset_kind == readings._iterable:
                return next_data(iterator)
            iterator._next_index()
            return None, None

        base._next_index, single._next_data = next_index_, next_data_

    def _begin(self, loader: Any) -> None:
        """Note that a loader begins to be read.

        Within a generator that is being moved to its position, the loader gets the random state of
        its beginning in the attempt before.
        """
        reading = self._enclosing() if self._generators else None
        if reading is None:
            return
        for replayed, states in self._replaying:
            # Loaders are opened in the same order as in the attempt before; the n-th one gets the
            # n-th state.
            if replayed is reading and len(reading.opened) < len(states):
                put_random_states(states[len(reading.opened)], loader)
        reading.opened.append(random_states(loader))

    def _enclosing(self) -> Optional[Reading]:
        frame: Any = sys._getframe(2)
        while frame is not None:
            reading = self._generators.get(id(frame))
            if reading is not None and reading.frame is frame:
                return reading
            frame = frame.f_back
        return None

    @contextlib.contextmanager
    def ghostly(self, items: Any) -> Iterator[None]:
        """Draw only indices within the context, if no code would look at the batches."""
        self._ghost = self.is_plain(items)
        try:
            yield
        finally:
            self._ghost = False

    def is_plain(self, items: Any) -> bool:
        """Return whether an iterator passes batches on without looking at them."""
        if isinstance(items, self._base):
            return True
        # `__reduce__` is the only way to the iterators inside.
        if type(items) in (enumerate, zip):
            parts = items.__reduce__()[1]
            return all(self.is_plain(part) for part in (parts if type(items) is zip else parts[:1]))
        if type(items) in (type(iter(())), type(iter([])), type(iter(range(0)))):
            return True
        # tqdm's iterator passes batches on and only counts them.
        if isinstance(items, types.GeneratorType) and "tqdm" in items.gi_code.co_filename:
            under = items.gi_frame.f_locals.get("self") if items.gi_frame is not None else None
            loader = sys.modules["torch"].utils.data.DataLoader
            return type(getattr(under, "iterable", None)) is loader
        return False

    def read_position(self, iterator: Any) -> Tuple[str, List[Any]]:
        """Return kind and content of an iterator for the graph: passes and batches read."""
        position = iterator.__dict__.get(POSITION)
        if position is None:
            return "", []
        return "loader at", [position.loader, len(position.passes), position.last.taken]

    def position_of(self, iterator: Any) -> List[Any]:
        """Return the state of an iterator for a snapshot."""
        position = iterator.__dict__[POSITION]
        return [position.loader, position.state(), iterator.__dict__.get(PASS, (None,))[0]]

    def reduce_iterator(self, iterator: Any) -> Any:
        """Reduce an iterator that was made within the loop."""
        if POSITION not in iterator.__dict__:
            raise RefusedError(f"{type(iterator).__name__} was begun before it could be followed")
        return _blank, (type(iterator),), self.position_of(iterator), None, None, self._fill_later

    def __reduce__(self) -> Any:
        return _current, ()

    def _fill_later(self, iterator: Any, state: Any) -> None:
        self.pending.append(functools.partial(self._fill, iterator, state))

    def _fill(self, iterator: Any, state: Any) -> None:
        loader, passes, _ = state
        put_random_states(passes[0][0], loader)
        # The blank iterator becomes a new one; its identity was needed for references to it.
        iterator.__dict__.clear()
        type(iterator).__init__(iterator, loader)
        self.advance(iterator, state)

    def advance(self, iterator: Any, content: List[Any]) -> None:
        """Move an existing iterator to its recorded position."""
        loader, passes, name = content
        self._advance(iterator, passes)
        if name is not None:
            iterator.__dict__[PASS] = (name, weakref.ref(loader))

    def _advance(self, iterator: Any, passes: List[Tuple[Any, ...]]) -> None:
        position = iterator.__dict__[POSITION]
        # With persistent workers one iterator makes several passes, each with its own random state.
        for number in range(len(position.passes) - 1, len(passes)):
            before, first, taken, order = passes[number]
            if number == len(position.passes):
                put_random_states(before, position.loader)
                iterator._reset(position.loader)
            last = position.last
            if first is not None and last.first is None:
                put_random_states(first, position.loader)
            with self.ghostly(iterator):
                while last.taken < taken:
                    next(iterator)
            if last.order != order:
                raise RefusedError("the order of the data does not repeat")

    # --- generators

    def note_function(self, function: Any) -> Any:
        """Remember a generator function by its code; return it."""
        references = self._functions.setdefault(function.__code__, [])
        references[:] = [reference for reference in references if reference() is not None]
        references.append(weakref.ref(function))
        return function

    def begin_generator(self, frame: types.FrameType) -> None:
        """Note that a generator's body begins."""
        reading = self._generators.get(id(frame))
        if reading is None or reading.frame is not frame:  # else it is being brought to its place
            self._generators[id(frame)] = Reading(frame)

    def pass_on(self, frame: types.FrameType) -> None:
        """Note that a generator yields a value."""
        reading = self._generators.get(id(frame))
        if reading is not None:
            reading.taken += 1

    def end_generator(self, frame: types.FrameType) -> None:
        """Note that a generator's body is over."""
        self._generators.pop(id(frame), None)

    def _reading_of(self, generator: Any) -> Optional[Reading]:
        frame = generator.gi_frame
        reading = None if frame is None else self._generators.get(id(frame))
        return reading if reading is not None and reading.frame is frame else None

    def read_generator(self, generator: Any) -> Tuple[str, List[Any]]:
        """Return kind and content of a generator for the graph."""
        reading = self._reading_of(generator)
        if reading is not None:
            return "reading", [reading.taken, *reading.arguments.values()]
        frame = generator.gi_frame
        if frame is None:
            return "generator at", [-2]
        # The last instruction and the locals tell whether an unmarked generator has moved.
        return "generator at", [frame.f_lasti, *frame.f_locals.values()]

    def reading_of(self, generator: Any) -> List[Any]:
        """Return the state of a project's generator for a snapshot.

        It is the number of values read, and the random states of the loaders that it opened.
        """
        return [self.read_generator(generator)[1][0], self.opened_by(generator)]

    def opened_by(self, generator: Any) -> List[Dict[str, Any]]:
        """Return the random states before each loader that a generator began to read."""
        reading = (
            self._reading_of(generator) if isinstance(generator, types.GeneratorType) else None
        )
        return [] if reading is None else list(reading.opened)

    def reduce_generator(self, generator: Any) -> Any:
        """Reduce a generator that was made within the loop."""
        reading = self._reading_of(generator)
        frame = generator.gi_frame
        if frame is None:
            return _exhausted, ()
        candidates = [candidate() for candidate in self._functions.get(generator.gi_code, [])]
        functions = [
            candidate
            for candidate in candidates
            if candidate is not None and _belongs(candidate, frame)
        ]
        # Closures of one code differ in their cells; without exactly one match the call cannot be
        # repeated.
        if len(functions) != 1:
            raise RefusedError(
                f"the generator {generator.gi_code.co_name} was read within the loop"
            )
        arguments = (
            reading.arguments
            if reading is not None
            else {n: frame.f_locals[n] for n in _parameters(frame.f_code)}
        )
        taken, opened = (0, []) if reading is None else (reading.taken, list(reading.opened))
        return _generator_again, (self, functions[0], arguments, taken, opened)

    def make_generator(
        self, function: Any, arguments: Dict[str, Any], taken: int, opened: Any
    ) -> Any:
        """Make a generator again; it is moved to its position once all objects exist."""
        generator = _called(function, arguments)
        self.pending.append(functools.partial(self.forward, generator, taken, opened))
        return generator

    def forward(self, generator: Any, taken: int, opened: List[Dict[str, Any]]) -> None:
        """Read a generator until it has yielded `taken` values."""
        reading = self._reading_of(generator)
        count = 0 if reading is None else reading.taken
        with self.opening_at(generator, opened):
            while count < taken:
                next(generator)
                count += 1

    @contextlib.contextmanager
    def opening_at(self, generator: Any, opened: List[Dict[str, Any]]) -> Iterator[None]:
        """Give each loader that a generator opens its recorded random state."""
        frame = generator.gi_frame if isinstance(generator, types.GeneratorType) else None
        if not opened or frame is None:
            yield
            return
        before = self._replaying
        # The generator may not have begun: its body registers itself only at the first `next`.
        replayed = self._reading_of(generator) or Reading(frame)
        self._generators[id(frame)] = replayed
        self._replaying = [*before, (replayed, opened)]
        try:
            yield
        finally:
            self._replaying = before


def _count_batches(base: Any) -> None:
    """Count the batches that the iterators of a class hand out."""
    advance = base.__next__

    @functools.wraps(advance)
    def next_(iterator: Any) -> Any:
        batch = advance(iterator)
        position = iterator.__dict__.get(POSITION)
        if position is not None:
            position.last.taken += 1
        return batch

    base.__next__ = next_


def _belongs(function: Any, frame: Any) -> bool:
    names = function.__code__.co_freevars
    cells = function.__closure__ or ()
    return all(_content(cell) is frame.f_locals.get(name) for name, cell in zip(names, cells))


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _called(function: Any, arguments: Dict[str, Any]) -> Any:
    # The arguments are taken from the frame, so `*args` and `**kwargs` are already collected.
    code = function.__code__
    values = dict(arguments)
    names = _parameters(code)
    keywords = values.pop(names[-1]) if code.co_flags & 0x08 else {}
    rest = (
        values.pop(names[code.co_argcount + code.co_kwonlyargcount]) if code.co_flags & 0x04 else ()
    )
    positional = [values.pop(name) for name in names[: code.co_argcount]]
    return function(*positional, *rest, **values, **keywords)


def _generator_again(
    readings: Readings, function: Any, arguments: Any, taken: int, opened: Any
) -> Any:
    return readings.make_generator(function, arguments, taken, opened)


def _exhausted() -> Iterator[None]:
    """Return a generator that was read to its end."""
    generator = _empty()
    next(generator, None)
    return generator


def _empty() -> Iterator[None]:
    yield from ()


def _blank(cls: Any) -> Any:
    iterator = object.__new__(cls)
    iterator.__dict__["_shutdown"] = True  # it has no workers to end yet
    return iterator


def _current() -> Readings:
    return READINGS


READINGS = Readings()
"""The instance of this process: unpickling has to find it."""
