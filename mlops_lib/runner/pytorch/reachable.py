"""The reachable objects, with those that have a position: loaders, generators."""

import io
import sys
import types
from typing import Any, Callable, Dict, List, Optional

from mlops_lib.runner.pytorch import graph, store
from mlops_lib.runner.pytorch.loaders import READINGS


class ReachableObjects:
    """The objects that the project's code can reach from a frame.

    Args:
        project: the modules and frames of the project.

    Attributes:
        reducers: class to the function that pickles its objects, once a table was made.
    """

    def __init__(self, project: graph.Project) -> None:
        self._project = project
        self._walker: Optional[graph.Walker] = None
        self.reducers: Dict[type, Callable[[Any], Any]] = {}

    def table(self, frame: Any) -> graph.Table:
        """Return the numbered objects at a loop's entry.

        Args:
            frame: the frame of the loop.
        """
        return graph.Table(self._walker_now(), self._roots(frame))

    def _walker_now(self) -> graph.Walker:
        # Made at the first use: the script may import PyTorch late.
        if self._walker is None:
            iterators = sys.modules["torch.utils.data.dataloader"]._BaseDataLoaderIter
            self._walker = graph.Walker(
                self._project,
                {
                    iterators: READINGS.read_position,
                    types.GeneratorType: READINGS.read_generator,
                    # Open files get their position back apart from the objects (`store.positions`).
                    io.IOBase: lambda item: ("", []),
                },
            )
            self.reducers = {
                iterators: READINGS.reduce_iterator,
                types.GeneratorType: READINGS.reduce_generator,
                io.TextIOWrapper: store.reduce_text,
            }
        return self._walker

    def _roots(self, frame: Any) -> List[Any]:
        """Return the project's modules, and the locals of its frames, outermost first."""
        frames = []
        while frame is not None:
            is_own = self._project.has_file(frame.f_code.co_filename)
            # The locals of a module's frame are its globals, which the modules give already.
            if is_own and frame.f_locals is not frame.f_globals:
                frames.append(frame)
            frame = frame.f_back
        # Outermost first: an object is numbered at the first way to it, which must be the same each
        # time.
        roots: List[Any] = list(self._project.modules())
        for own in reversed(frames):
            roots += own.f_locals.values()
        return roots
