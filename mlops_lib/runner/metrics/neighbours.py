"""Near-copies: examples whose nearest training example is exceptionally near.

Pictures are described by their lowest frequencies (discrete cosine transform of the grey picture,
without the mean, of unit length). Recompression, casts, rescaling and resizing hardly change them,
and a mirror image only changes their signs. Tables are described by their columns in units of the
training examples' spread.

A copy differs from a merely similar example by the ratio of the distances to the nearest and to the
second nearest training example (Lowe, Int. J. Comput. Vis. 60, 2004). Two handwritten ones may be
as near as a picture and its JPEG, but then a third one is as near.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from mlops_lib.runner.metrics import example_rows

FREQUENCIES = 8
"""Number of a picture's frequencies in each direction."""
DAMPINGS = (None, 4.0, 2.5)
"""Initial guesses of the damping of frequencies by resizing."""
GAIN_ROUNDS = 3
SMALLEST_GAIN = 0.02
MIN_PAIRS = 10
"""Fewer pairs do not suffice to estimate a transformation of all pictures."""
COLUMNS = 64
"""Tables with more columns are projected at random to half as many."""
STRICT = 0.25
LOOSE = 0.4
"""Squared ratio of the distances to the nearest and second nearest picture.

The loose one is used only if it matches far more pictures than among the training examples
themselves.
"""
MAX_DISTANCE = 0.1
"""Squared distance of unit vectors beyond which pictures are not copies (a correlation of 0.95)."""
IDENTICAL_DISTANCE = 1e-3
"""Squared distance below which pictures are copies whatever else is near."""
TABLE_STRICT = 0.01
TABLE_LOOSE = 0.04
TABLE_MAX_DISTANCE = 0.15
"""Distance per column, in standard deviations, beyond which rows are not copies."""
MIN_COLUMNS = 3
"""With fewer columns two rows are near each other by chance, and a copy has to be nearer."""
MAX_DECIMALS = 5
SAMPLE = 1500
"""Number of training examples that are compared with the others, to see how similar examples are.
"""
RARE_SAMPLE = 500
"""Number of judged examples that are tested first for rare cases: mirrored and shrunk pictures."""
MAX_DISTANCES = 2_000_000_000
"""Limit of computed distances per search, a few seconds; beyond it, judged examples are sampled."""
CHUNK = 4096
BLOCK = 1 << 23
"""Number of input values that are processed at a time."""
MAX_BYTES = 1 << 26
"""Memory for one fit's examples; larger sets are thinned out evenly."""
FLIPS = {"mirrored": (1, -1), "upside down": (-1, 1), "turned by 180 degrees": (-1, -1)}
"""Kind to the signs of odd frequencies along rows and columns."""


class NearCopies(NamedTuple):
    """Near-copies among the judged examples."""

    index: Any
    """Indexes of judged examples."""
    match: Any
    """The training example of each."""
    kind: str


def cosines(count: int) -> Any:
    """Return the first rows of the orthonormal cosine transform (type II).

    Args:
        count: number of samples.
    """
    import numpy

    places = numpy.arange(count) + 0.5
    rows = numpy.cos(numpy.pi * numpy.arange(FREQUENCIES)[:, None] * places / count)
    # The constant row has another norm than the others (type II is orthonormal only with this
    # factor).
    rows[0] *= 0.5**0.5
    return (rows * (2 / count) ** 0.5).astype("float32")


def describe_pictures(pictures: Any) -> Any:
    """Return the low frequencies of pictures as float32 (n, 64) of unit length.

    The vector of a picture of one colour is zero.

    Args:
        pictures: an array of pictures (`example_rows.is_pictures`); it is read in pieces, because
            it may occupy most of the memory.
    """
    import numpy

    step = max(1, BLOCK // max(1, int(numpy.prod(pictures.shape[1:], dtype="int64"))))
    parts = [
        _frequencies(example_rows.grey(pictures[at : at + step]))
        for at in range(0, len(pictures), step)
    ]
    described = (
        numpy.concatenate(parts) if parts else numpy.zeros((0, FREQUENCIES**2), dtype="float32")
    )
    scale = numpy.linalg.norm(described, axis=1, keepdims=True)
    least = 1e-6 * max(float(scale.max()) if len(scale) else 0.0, 1e-30)
    return numpy.nan_to_num(described / numpy.maximum(scale, least))


def _frequencies(grey: Any) -> Any:
    count, height, width = grey.shape
    rows = grey.reshape(count * height, width) @ cosines(width).T
    rows = (
        rows.reshape(count, height, FREQUENCIES).transpose(0, 2, 1).reshape(-1, height)
        @ cosines(height).T
    )
    described = (
        rows.reshape(count, FREQUENCIES, FREQUENCIES).transpose(0, 2, 1).reshape(count, -1).copy()
    )
    # Brightness differs between copies.
    described[:, 0] = 0  # the mean: brightness
    return described


def _damping(width: Optional[float]) -> Any:
    """Return gains of the frequencies: a Gaussian of this width; ones for None."""
    import numpy

    places = numpy.arange(FREQUENCIES)
    if width is None:
        return numpy.ones(FREQUENCIES**2, dtype="float32")
    return (
        numpy.exp(-(places[:, None] ** 2 + places[None] ** 2) / (2 * width * width))
        .astype("float32")
        .ravel()
    )


def _unit(rows: Any) -> Any:
    import numpy

    return rows / numpy.maximum(numpy.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _signs(flip: Tuple[int, int]) -> Any:
    import numpy

    rows, columns = (numpy.where(numpy.arange(FREQUENCIES) % 2, sign, 1) for sign in flip)
    return (rows[:, None] * columns[None]).astype("float32").ravel()


def nearest(queries: Any, rows: Any) -> Tuple[Any, Any, Any]:
    """Return each query's nearest row, and the squared distances to the two nearest.

    A first pass keeps only the largest product of each chunk, so that the products stay in the
    processor's cache.

    Returns:
        index of the nearest row, its squared distance, and that of the second nearest.
    """
    import numpy

    lengths = numpy.einsum("ij,ij->i", rows, rows)
    starts = range(0, len(rows), CHUNK)
    nearness: Any = numpy.empty((len(queries), len(starts)), dtype="float32")
    for at, start in enumerate(starts):
        part = rows[start : start + CHUNK]
        half = 0.5 * lengths[start : start + CHUNK]
        for first in range(0, len(queries), 512):
            products = queries[first : first + 512] @ part.T
            products -= half
            nearness[first : first + 512, at] = products.max(axis=1)
    chunk = nearness.argmax(axis=1)
    index: Any = numpy.zeros(len(queries), dtype="int64")
    second: Any = numpy.full(len(queries), -numpy.inf, dtype="float32")
    for at, start in enumerate(starts):
        members = numpy.flatnonzero(chunk == at)
        part = rows[start : start + CHUNK]
        half = 0.5 * lengths[start : start + CHUNK]
        for first in range(0, len(members), 512):
            some = members[first : first + 512]
            products = queries[some] @ part.T - half
            best = products.argmax(axis=1)
            index[some] = start + best
            products[numpy.arange(len(some)), best] = -numpy.inf
            second[some] = products.max(axis=1)
    if len(starts) > 1:
        nearness[numpy.arange(len(queries)), chunk] = -numpy.inf
        second = numpy.maximum(second, nearness.max(axis=1))
    own = numpy.einsum("ij,ij->i", queries, queries)
    # The nearest distance is computed again: a difference of large numbers has lost its precision.
    difference = queries - rows[index]
    return (
        index,
        numpy.einsum("ij,ij->i", difference, difference),
        numpy.maximum(own - 2 * second, 0.0),
    )


class NearCopyIndex:
    """Training examples as vectors, an index for finding near-copies.

    Args:
        kind: "pictures" or "numbers".
        rows: float32 (n, dimensions), different from each other.
        index: the training example of each row.
        centre: the mean of each column of a table.
        spread: the standard deviation of each column of a table.
    """

    def __init__(
        self, kind: str, rows: Any, index: Any, *, centre: Any = None, spread: Any = None
    ) -> None:
        self.kind = kind
        self.rows = rows
        self.index = index
        self.centre = centre
        self.spread = spread
        self._self_distances: Dict[Any, Tuple[Any, Any]] = {}

    @property
    def nbytes(self) -> int:
        """Memory in use."""
        return int(self.rows.nbytes + self.index.nbytes)

    def find(self, judged: Any) -> List[NearCopies]:
        """Return the near-copies among judged pictures or rows of numbers."""
        if len(self.rows) < 3 or not len(judged):
            return []
        return self._pictures(judged) if self.kind == "pictures" else self._table(judged)

    def _pictures(self, pictures: Any) -> List[NearCopies]:
        import numpy

        described = describe_pictures(pictures)
        # A picture of one colour resembles any other of one colour.
        rest = (numpy.abs(described).max(axis=1) > 0).nonzero()[0]
        rest = _thin_out(rest, len(self.rows))
        copies: List[NearCopies] = []
        for kind, search in (("altered", self._matches), ("resized or blurred", self._find_damped)):
            hits = search(described, rest, kind)
            copies += [hits] if len(hits.index) else []
            rest = numpy.setdiff1d(rest, hits.index)
        for kind, flip in FLIPS.items():
            signs = _signs(flip)
            if not len(
                self._matches(
                    described * signs, rest[:: max(1, len(rest) // RARE_SAMPLE)], kind
                ).index
            ):
                continue
            hits = self._matches(described * signs, rest, kind)
            if len(hits.index) > 3 * self._self_rate(flip, STRICT) * len(rest) + 1:
                copies.append(hits)
                rest = numpy.setdiff1d(rest, hits.index)
        return copies

    def _matches(self, described: Any, which: Any, kind: str) -> NearCopies:
        if not len(which):
            return NearCopies(which, which, kind)
        place, first, second = nearest(described[which], self.rows)
        hit = self._decide(first, second)
        return NearCopies(which[hit], self.index[place[hit]], kind)

    def _decide(self, first: Any, second: Any) -> Any:
        """Return which of the nearest rows are copies.

        The loose ratio is used if it matches far more than chance would, else the strict one.
        """
        for ratio in (LOOSE, STRICT):
            near = (first <= MAX_DISTANCE) & (first <= ratio * second)
            if near.any() and near.mean() > 3 * self._self_rate(None, ratio) + 1 / len(first):
                return near | (first <= IDENTICAL_DISTANCE)
        return first <= IDENTICAL_DISTANCE

    def _find_damped(self, described: Any, which: Any, kind: str) -> NearCopies:
        """Find pictures whose frequencies were damped alike: shrunk, blurred, sharpened.

        The gains are guessed, and then fitted to the pairs that look most like copies.
        """
        some = which[:: max(1, len(which) // RARE_SAMPLE)]
        if len(some) < MIN_PAIRS:
            return NearCopies(which[:0], which[:0], kind)
        fits = [self._fit_gains(described[some], _damping(width)) for width in DAMPINGS]
        hits, gains = max(fits, key=lambda fit: fit[0])
        # Every search is compared with its hit rate among training examples alone, which are no
        # copies.
        if hits <= 3 * self._self_rate(None, STRICT) * len(some) + 2:
            return NearCopies(which[:0], which[:0], kind)
        place, first, second = nearest(described[which], _unit(self.rows * gains))
        hit = self._decide(first, second)
        return NearCopies(which[hit], self.index[place[hit]], kind)

    def _fit_gains(self, described: Any, gains: Any) -> Tuple[int, Any]:
        """Return the number of copies under gains near these, and the fitted gains."""
        import numpy

        # Alternate between matching and fitting, as in iterative closest point: better gains give
        # better pairs.
        for _ in range(GAIN_ROUNDS):
            place, first, second = nearest(described, _unit(self.rows * gains))
            ratio = first / numpy.maximum(second, 1e-12)
            surest = numpy.flatnonzero(ratio <= STRICT)
            if len(surest) < MIN_PAIRS:
                surest = numpy.argsort(ratio)[: max(MIN_PAIRS, len(ratio) // 20)]
            pictures = described[surest]
            rows = self.rows[place[surest]]
            slopes = (pictures * rows).sum(axis=0) / numpy.maximum((rows * rows).sum(axis=0), 1e-9)
            gains = numpy.maximum(slopes, SMALLEST_GAIN).astype("float32")
        return int(((ratio <= STRICT) & (first <= MAX_DISTANCE)).sum()), gains

    def _self_rate(self, flip: Optional[Tuple[int, int]], ratio: float) -> float:
        """Return the share of training pictures that look like copies of others."""
        import numpy

        if flip not in self._self_distances:
            some = numpy.arange(0, len(self.rows), max(1, len(self.rows) // SAMPLE))[
                : len(self.rows) // 2
            ]
            rest = numpy.setdiff1d(numpy.arange(len(self.rows)), some)
            signs = _signs(flip) if flip is not None else numpy.float32(1)
            self._self_distances[flip] = nearest(self.rows[some] * signs, self.rows[rest])[1:]
        first, second = self._self_distances[flip]
        return float(((first <= MAX_DISTANCE) & (first <= ratio * second)).mean())

    def _table(self, numbers: Any) -> List[NearCopies]:
        import numpy

        which = _thin_out(numpy.arange(len(numbers)), len(self.rows))
        copies = self._more_than_chance(
            self._rows_near(numbers, which, self.rows, "cast or rounded"), len(which)
        )
        for rounded, rows in self._rounded_parts(numbers, numpy.setdiff1d(which, copies.index)):
            own = standardise(rounded, self.centre, self.spread)
            more = self._more_than_chance(
                self._rows_near(numbers, rows, own, copies.kind), len(rows)
            )
            copies = NearCopies(
                numpy.concatenate([copies.index, more.index]),
                numpy.concatenate([copies.match, more.match]),
                copies.kind,
            )
        if len(copies.index) < 0.02 * len(which):
            scaled = self._find_rescaled(numbers[which])
            if scaled is not None:
                return [NearCopies(which[scaled.index], scaled.match, scaled.kind)]
        return [copies] if len(copies.index) else []

    def _rows_near(self, numbers: Any, which: Any, rows: Any, kind: str) -> NearCopies:
        if not len(which):
            return NearCopies(which, which, kind)
        place, first, second = nearest(standardise(numbers[which], self.centre, self.spread), rows)
        hit = self._is_near(first, second)
        return NearCopies(which[hit], self.index[place[hit]], kind)

    def _is_near(self, first: Any, second: Any) -> Any:
        columns = self.rows.shape[1]
        ratio = TABLE_STRICT if columns >= MIN_COLUMNS else TABLE_STRICT**2
        return (first <= ratio * second) & (first <= columns * TABLE_MAX_DISTANCE**2)

    def _more_than_chance(self, copies: NearCopies, looked_at: int) -> NearCopies:
        """Return the matches if they are more than among training rows alone, else none."""
        if len(copies.index) > 3 * self._table_self_rate() * looked_at:
            return copies
        return NearCopies(copies.index[:0], copies.match[:0], copies.kind)

    @property
    def raw(self) -> Any:
        """The training rows in their own units, with the precision of float32."""
        return self.rows * self.spread + self.centre

    def _rounded_parts(self, numbers: Any, which: Any) -> List[Tuple[Any, Any]]:
        """Return less precise judged rows, with the training rows rounded in the same way.

        Rounding can erase a column with a small spread; the original is then found only among rows
        that are rounded in the same way.
        """
        import numpy

        if self.rows.shape[1] != numbers.shape[1] or not len(which):
            return []
        raw = self.raw
        judged = numbers[which]
        usual = int(numpy.median(decimals_of(raw[:SAMPLE])))
        decimals = decimals_of(judged)
        parts = [
            (numpy.round(raw, k), which[decimals == k])
            for k in range(min(usual, MAX_DECIMALS))
            if (decimals == k).any()
        ]
        half = (_as_half(judged) == judged.astype("float32")).all(axis=1) & (
            decimals >= MAX_DECIMALS
        )
        if half.any() and not (_as_half(raw[:SAMPLE]) == raw[:SAMPLE].astype("float32")).all():
            parts.append((_as_half(raw), which[half]))
        return parts

    def _table_self_rate(self) -> float:
        import numpy

        if "table" not in self._self_distances:
            some = numpy.arange(0, len(self.rows), max(1, len(self.rows) // SAMPLE))[
                : len(self.rows) // 3
            ]
            rest = numpy.setdiff1d(numpy.arange(len(self.rows)), some)
            self._self_distances["table"] = nearest(self.rows[some], self.rows[rest])[1:]
        return float(self._is_near(*self._self_distances["table"]).mean())

    def _find_rescaled(self, numbers: Any) -> Optional[NearCopies]:
        """Return rows that were scaled by other constants than the training rows.

        Standardised by their own columns they are near their originals. The constants, one pair per
        column, are then fitted to the pairs found, and the search is repeated.
        """
        import numpy

        if len(numbers) < 50 or numbers.shape[1] > COLUMNS or self.rows.shape[1] < 5:
            return None
        centre, spread = spread_of(numbers)
        queries = standardise(numbers, centre, spread)
        if queries.shape[1] != self.rows.shape[1]:
            return None
        place, first, second = nearest(queries, self.rows)
        hit = first <= TABLE_LOOSE * second
        for _ in range(3):
            if hit.sum() < max(10, 0.02 * len(numbers)):
                return None
            matched = self.rows[place[hit]]
            own = queries[hit]
            mean = own.mean(axis=0)
            target = matched.mean(axis=0)
            slope = ((own - mean) * (matched - target)).sum(axis=0) / numpy.maximum(
                ((own - mean) ** 2).sum(axis=0), 1e-9
            )
            # Least squares per column, over the pairs found so far.
            queries = ((queries - mean) * slope + target).astype("float32")
            place, first, second = nearest(queries, self.rows)
            hit = first <= TABLE_STRICT * second
        if hit.mean() <= 3 * self._table_self_rate() + 0.02:
            return None
        return NearCopies(numpy.flatnonzero(hit), self.index[place[hit]], "scaled otherwise")


def _thin_out(which: Any, rows: int) -> Any:
    """Return as many judged examples as can be compared in bounded time."""
    most = max(SAMPLE, MAX_DISTANCES // max(1, rows))
    return which if len(which) <= most else which[:: -(-len(which) // most)]


def _as_half(numbers: Any) -> Any:
    """Return numbers as float16 stores them."""
    import numpy

    with numpy.errstate(over="ignore"):
        return numbers.astype("float16").astype("float32")


def decimals_of(numbers: Any) -> Any:
    """Return the largest number of decimals in each row, at most `MAX_DECIMALS`."""
    import numpy

    values = numpy.nan_to_num(numbers.astype("float64"), posinf=0.0, neginf=0.0)
    decimals = numpy.full(len(values), MAX_DECIMALS)
    for k in reversed(range(MAX_DECIMALS)):
        rest = numpy.abs(values - numpy.round(values, k))
        decimals[(rest <= 1e-6 * numpy.maximum(1.0, numpy.abs(values))).all(axis=1)] = k
    return decimals


def spread_of(numbers: Any) -> Tuple[Any, Any]:
    """Return mean and standard deviation of each column; constant columns have none."""
    import numpy

    step = max(1, numbers.size // BLOCK)
    values = numpy.nan_to_num(numbers[::step].astype("float64"), posinf=0.0, neginf=0.0)
    return values.mean(axis=0), values.std(axis=0)


def standardise(numbers: Any, centre: Any, spread: Any) -> Any:
    """Return a table in units of the columns' spread, as float32.

    Tables with more than `COLUMNS` columns are projected at random.
    """
    import numpy

    step = max(1, BLOCK // max(1, numbers.shape[1]))
    parts = [
        _standardised(numbers[at : at + step], centre, spread)
        for at in range(0, len(numbers), step)
    ]
    return numpy.concatenate(parts) if parts else _standardised(numbers, centre, spread)


def _standardised(numbers: Any, centre: Any, spread: Any) -> Any:
    import numpy

    scale = numpy.where(spread > 1e-9 * numpy.maximum(1e-12, numpy.abs(centre)), spread, numpy.inf)
    values = numpy.nan_to_num(numbers.astype("float64"), posinf=0.0, neginf=0.0)
    values = numpy.clip((values - centre) / scale, -10, 10).astype("float32")
    if values.shape[1] <= COLUMNS:
        return values
    directions = (
        numpy.random.RandomState(0)
        .standard_normal((values.shape[1], COLUMNS // 2))
        .astype("float32")
    )
    return values @ directions / numpy.float32((COLUMNS // 2) ** 0.5)


def _distinct(rows: example_rows.Rows, width: int) -> Any:
    """Return one index per different example; large sets are thinned out evenly."""
    import numpy

    _, first = numpy.unique(rows.keys, return_index=True)
    first.sort()
    return first[:: max(1, -(-len(first) * width * 4 // MAX_BYTES))]


def build_index(rows: example_rows.Rows) -> Optional[NearCopyIndex]:
    """Return an index of training examples for near-copies; None for other kinds."""
    import numpy

    if rows.kind == "pictures":
        first = _distinct(rows, FREQUENCIES**2)
        described = describe_pictures(rows.source[first] if len(first) < len(rows) else rows.source)
        has_contrast = numpy.abs(described).max(axis=1) > 0
        return NearCopyIndex("pictures", described[has_contrast], first[has_contrast])
    if rows.numbers is None or rows.numbers.shape[1] < 2:
        return None
    first = _distinct(rows, min(rows.numbers.shape[1], COLUMNS))
    numbers = rows.numbers[first] if len(first) < len(rows) else rows.numbers
    centre, spread = spread_of(numbers)
    return NearCopyIndex(
        "numbers", standardise(numbers, centre, spread), first, centre=centre, spread=spread
    )
