"""Structures of code that say what a model is when no single call does.

A variational autoencoder draws `mean + exp(log_var) * noise` (Kingma & Welling 2014); a diffusion
model mixes data and noise, `a * x + b * noise` (Ho et al. 2020); adversarial training updates two
networks in turn, from noise or towards made-up labels (Goodfellow et al. 2014); a vector-quantised
autoencoder passes gradients around its codebook, `x + stop_gradient(q - x)` (van den Oord et al.
2017); a normalizing flow hands on the logarithm of its Jacobian's determinant (Rezende & Mohamed
2015); attention multiplies a softmax with values (Vaswani et al. 2017); a recurrent network hands
its state on, `h = f(W x + U h)` (Elman 1990); one over a graph is handed its edges (Kipf & Welling
2017).
"""

from __future__ import annotations

import ast
import re

from mlops_lib.detection.facts import Call, Shape
from mlops_lib.detection.words import words
from mlops_lib.lazy_regex import lazy_regex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


NORMALS = words(
    "normal random_normal randn randn_like random_normal_like multivariate_normal standard_normal"
)
NOISE = NORMALS | frozenset(("uniform", "rand", "rand_like", "random_uniform", "truncated_normal"))
MATRIX_PRODUCTS = words("matmul bmm einsum batch_dot batch_matmul")
PRODUCTS = words("matmul mm dot addmm")
STATE = lazy_regex(r"^(h|hx|h_\w+|\w+_h|hid|carry|\w*hidden\w*|\w+_states?|states?_\w+)$")
"""What the state of a recurrent cell is called; a bare `state` is as often that of a batch
normalisation.
"""
EDGES = lazy_regex(r"^(\w+_)?(adj|adjacency|laplacian|edge_index|edge_indices)(_\w+)?$")
NAMED_EDGES = lazy_regex(
    r"^(adj|(\w+_)?(adj_?mat(rix)?|adj_lists?|adjacency(_matrix)?|laplacian|edge_index|edge_indices))$"
)
"""Names of a graph's edges, in arguments of networks and of any function."""
LOG_DETERMINANT = lazy_regex(r"^(\w+_)?(s?ldjs?|log_?(abs_?)?dets?)(_\w+)?$", re.I)
"""Names of the logarithm of a Jacobian's determinant."""
RESHAPED = words("""
        unsqueeze squeeze transpose to type_as expand_dims astype reshape view contiguous permute
        float half masked_fill
    """)
UPDATES = words("step apply_gradients train_on_batch")
MODEL_MODULES = ("torchvision.models", "keras.applications", "tensorflow.keras.applications")
NOT_A_LIBRARY_OF_MODELS = ("numpy", "math", "random", "scipy", "np")


class _Scope:
    def __init__(self) -> None:
        self.drawn: set[str] = set()
        self.exponentials: set[str] = set()
        self.softmaxed: set[str] = set()
        self.scored: set[str] = set()
        self.networks: dict[str, str] = {}
        """Name to the network (an expression that is called) whose output it holds."""
        self.judged: dict[str, set[bool]] = {}
        """Maps a callee to whether its argument came from another network."""
        self.unpacked: dict[str, int] = {}
        """Name to the statement that took it, together with others, out of one call."""
        self.gradients: dict[str, int] = {}
        self.updates: dict[str, int] = {}
        self.partial_minimisations = 0
        self.backwards = 0
        """Losses whose gradients are taken."""
        self.draws_noise = False
        self.labels: set[str] = set()
        self.shapes: list[Shape] = []


class Shaper:
    """Recognises structures while a file is walked, function by function."""

    def __init__(self, name: Callable[[ast.AST], str]) -> None:
        self._name = name
        self._scopes = [_Scope()]
        self._all_gradients: dict[str, int] = {}
        """Functions of which gradients are taken anywhere in the file, with the line."""
        self._applied_to_applied = ""
        """A network that is applied to what another one was applied to."""
        self._applied: dict[str, str] = {}
        self.turns: set[str] = set()
        """Variables of the enclosing loops."""

    @property
    def _now(self) -> _Scope:
        return self._scopes[-1]

    def enter(self, arguments: Iterable[str] = ()) -> None:
        """Begin a function, which may receive its noise as an argument."""
        self._scopes.append(_Scope())
        self._now.drawn.update({"noise"}.intersection(arguments))

    def leave(self, name: str, line: int) -> list[Shape]:
        """End a function and return the structures recognised in it."""
        scope = self._scopes.pop()
        made_up = {"ones", "zeros"} <= scope.labels or "full" in scope.labels
        judges = any(len(whose) == 2 for whose in scope.judged.values())
        # An encoder and a decoder with an optimizer each follow the same loss; adversaries have one
        # each.
        if (
            len(scope.updates) >= 2
            and scope.backwards != 1
            and (scope.draws_noise or made_up or judges)
        ):
            saw = " and ".join(sorted(scope.updates)[:2])
            scope.shapes.append(Shape("adversarial", min(scope.updates.values()), saw))
        elif (
            name and scope.updates and {"ones", "zeros"} <= scope.labels and judges
        ):  # its other half is another function
            saw = "one network judges data and what another makes of noise"
            scope.shapes.append(Shape("adversarial", min(scope.updates.values()), saw))
        if len(scope.gradients) >= 2 and name:
            saw = " and ".join(f"grad({one})" for one in sorted(scope.gradients)[:2])
            scope.shapes.append(Shape("adversarial", min(scope.gradients.values()), saw))
        if scope.partial_minimisations >= 2:
            scope.shapes.append(Shape("adversarial", line, "two minimize(…, var_list=…)"))
        if self._scopes:  # what an inner function did, its outer one did
            outer = self._scopes[-1]
            if name.count(".") or not scope.updates:
                outer.updates.update(scope.updates)
                outer.backwards += scope.backwards
                outer.draws_noise |= scope.draws_noise and bool(scope.updates)
        return scope.shapes

    def across_functions(self) -> list[Shape]:
        """Return the structures that span functions: two networks, each with its own gradient."""
        if len(self._all_gradients) < 2 or not self._applied_to_applied:
            return []
        saw = " and ".join(f"grad({one})" for one in sorted(self._all_gradients)[:2])
        return [Shape("adversarial", min(self._all_gradients.values()), saw)]

    def _note_applied(self, node: ast.Call) -> None:
        """Note `critic.apply(…, generator.apply(…, noise))`."""
        network = _applied_network(node)
        if not network:
            return
        for argument in node.args:
            inner = _applied_network(argument) or self._applied.get(_name_of(argument), "")
            if inner and inner != network:
                self._applied_to_applied = network

    def assigned(self, node: ast.Assign) -> None:
        """Remember what names hold."""
        applied = _applied_network(node.value)
        if applied:
            self._applied.update({_name_of(target): applied for target in node.targets})
        for target in node.targets:
            name = _name_of(target)
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Call):
                self._now.unpacked.update(
                    {one.id: node.lineno for one in target.elts if isinstance(one, ast.Name)}
                )
            if not name:
                continue
            if self._is_drawn(node.value):
                self._now.drawn.add(name)
            if self._is_exponential(node.value):
                self._now.exponentials.add(name)
            if self._is_softmax(node.value):
                self._now.softmaxed.add(name)
            if self._is_scored(node.value):
                self._now.scored.add(name)
            if self._is_recurrence(name, node.value):
                self._now.shapes.append(Shape("recurrent", node.lineno, f"{name} = … {name} …"))
            if self.turns and self._is_next_layer(name, node.value):
                self._now.shapes.append(
                    Shape("stacked", node.lineno, f"for …: {name} = {name} @ …")
                )
            if isinstance(node.value, ast.Call) and _is_network(node.value.func):
                self._now.networks[name] = ast.unparse(node.value.func)[:60]

    def _is_next_layer(self, name: str, value: ast.expr) -> bool:
        """Return whether a loop multiplies a name by its own value: `x = tanh(x @ w + b)`."""
        if isinstance(value, ast.Call) and len(value.args) == 1:  # the activation
            value = value.args[0]
        if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
            value = value.left
        if isinstance(value, ast.BinOp) and isinstance(value.op, ast.MatMult):
            sides: list[ast.expr] = [value.left, value.right]
        elif isinstance(value, ast.Call) and self._leaf(value)[1] in PRODUCTS:
            sides = value.args[:2]
        else:
            return False
        return (
            len(sides) == 2
            and _name_of(sides[0]) == name
            and any(_name_of(n) in self.turns for n in ast.walk(sides[1]))
        )

    def _is_recurrence(self, name: str, value: ast.expr) -> bool:
        """Return whether one of several summed products has the name's last value."""
        if isinstance(value, ast.Call) and len(value.args) == 1:  # the activation
            value = value.args[0]
        own: list[bool] = []
        pending = [value]
        while pending and len(own) < 8:
            one = pending.pop()
            if isinstance(one, ast.BinOp) and isinstance(one.op, ast.Add):
                pending += [one.left, one.right]
            elif isinstance(one, ast.BinOp) and isinstance(one.op, ast.MatMult):
                own.append(name in (_name_of(one.left), _name_of(one.right)))
            elif isinstance(one, ast.Call) and self._leaf(one)[1] in PRODUCTS:
                sides = [
                    *one.args,
                    *([one.func.value] if isinstance(one.func, ast.Attribute) else []),
                ]
                own.append(name in map(_name_of, sides))
        return any(own) and not all(own)

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Recognise a function over a graph by the edges among its arguments."""
        edges = next(
            (argument.arg for argument in node.args.args if NAMED_EDGES.match(argument.arg)), ""
        )
        if edges:
            self._now.shapes.append(
                Shape("message passing", node.lineno, f"{node.name}(…, {edges})")
            )

    def method(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Recognise graph, flow and recurrent networks by arguments and results of `forward`."""
        edges = next(
            (argument.arg for argument in node.args.args[1:] if EDGES.match(argument.arg)), ""
        )
        if edges:
            self._now.shapes.append(
                Shape("message passing", node.lineno, f"{node.name}(…, {edges})")
            )
        taken = {argument.arg for argument in node.args.args[2:] if STATE.match(argument.arg)}
        changed: set[str] = set()
        returned: set[str] = set()
        for one in ast.walk(node):
            if isinstance(one, ast.Assign):
                for target in one.targets:
                    changed.update(
                        map(_name_of, target.elts if isinstance(target, ast.Tuple) else [target])
                    )
            elif isinstance(one, ast.Return) and isinstance(one.value, ast.Tuple):
                returned.update(map(_name_of, one.value.elts))
        for name in sorted(taken & changed & returned)[:1]:
            self._now.shapes.append(
                Shape("recurrent", node.lineno, f"{node.name}(…, {name}) → …, {name}")
            )
        for name in sorted(filter(LOG_DETERMINANT.match, returned))[:1]:
            self._now.shapes.append(Shape("flow", node.lineno, f"{node.name}(…) → …, {name}"))

    def called(self, node: ast.Call, call: Call) -> None:
        """Note a call: noise, updates of parameters, products."""
        leaf = call.leaf
        now = self._now
        self._note_applied(node)
        if leaf in ("grad", "value_and_grad") and node.args and "." in call.name:
            self._all_gradients.setdefault(ast.unparse(node.args[0])[:60], node.lineno)
        if node.args and _is_network(node.func):
            network = ast.unparse(node.func)[:60]
            first = node.args[0]
            source = now.networks.get(_name_of(first), "")
            if isinstance(first, ast.Call) and _is_network(first.func):
                source = ast.unparse(first.func)[:60]
            if source != network:
                now.judged.setdefault(network, set()).add(bool(source))
        if isinstance(node.func, ast.Call):  # jax.grad(loss)(parameters, …)
            inner = self._name(node.func.func).rpartition(".")[2]
            if inner in ("grad", "value_and_grad") and node.func.args:
                now.gradients.setdefault(ast.unparse(node.func.args[0])[:60], node.lineno)
        if leaf == "backward":
            now.backwards += 1
        if leaf in NOISE:
            now.draws_noise = True
        elif leaf in UPDATES and call.receiver and isinstance(node.func, ast.Attribute):
            receiver = ast.unparse(node.func.value)[:60]
            if (leaf != "step" or not node.args) and "sched" not in receiver.lower():
                now.updates.setdefault(f"{receiver}.{leaf}", node.lineno)
        elif leaf == "minimize" and "var_list" in call.keywords:
            now.partial_minimisations += 1
        elif leaf in ("ones_like", "zeros_like", "ones", "zeros", "full", "full_like", "fill_"):
            now.labels.add(leaf.partition("_")[0].replace("fill", "full"))
        elif leaf in MATRIX_PRODUCTS:
            sides = [
                *node.args,
                *([node.func.value] if isinstance(node.func, ast.Attribute) else []),
            ]
            if any(map(self._is_softmax, sides)):
                now.shapes.append(Shape("attention", node.lineno, f"{leaf}(softmax(…), …)"))
        elif leaf in ("add", "add_") and isinstance(node.func, ast.Attribute):
            normal, exponential = self._factors(node.func.value)
            if normal and exponential:
                now.shapes.append(Shape("reparametrised", node.lineno, "mean + noise * exp(…)"))
        elif call.name == "getattr" and node.args and self._name(node.args[0]) in MODEL_MODULES:
            now.shapes.append(
                Shape("backbone", node.lineno, f"getattr({self._name(node.args[0])}, …)")
            )
        elif leaf in ("rsample",) or call.name.endswith(
            ("KLDivergenceAddLoss", "KLDivergenceRegularizer")
        ):
            now.shapes.append(Shape("reparametrised", node.lineno, call.name))

    def looked_up(self, node: ast.Subscript) -> None:
        """`models.__dict__[name]`: a network that is chosen by its name."""
        receiver = node.value
        if (
            isinstance(receiver, ast.Attribute)
            and receiver.attr == "__dict__"
            and self._name(receiver.value) in MODEL_MODULES
        ):
            self._now.shapes.append(
                Shape("backbone", node.lineno, f"{self._name(receiver.value)}.__dict__[…]")
            )

    def combined(self, node: ast.BinOp) -> None:
        """Sums and products of expressions."""
        if isinstance(node.op, ast.MatMult):
            if self._is_softmax(node.left) or self._is_softmax(node.right):
                self._now.shapes.append(Shape("attention", node.lineno, "softmax(…) @ …"))
            return
        if not isinstance(node.op, ast.Add):
            return
        for term, other in ((node.left, node.right), (node.right, node.left)):
            normal, exponential = self._factors(term)
            if normal and (
                exponential or self._is_spread(term, other) or self._is_of_its_shape(term, other)
            ):
                self._now.shapes.append(
                    Shape("reparametrised", node.lineno, "mean + noise * deviation")
                )
            elif normal and _is_computed_product(term) and _is_computed_product(other):
                self._now.shapes.append(Shape("noised", node.lineno, "a * data + b * noise"))
            if self._is_detour(term):
                self._now.shapes.append(Shape("quantised", node.lineno, "x + stop_gradient(… - …)"))

    def _factors(self, node: ast.AST) -> tuple[bool, bool]:
        """Return whether a product has a normal draw and an exponential as factors."""
        parts: list[ast.AST] = []
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            pending: list[ast.AST] = [node]
            while pending and len(parts) < 12:
                one = pending.pop()
                if isinstance(one, ast.BinOp) and isinstance(one.op, ast.Mult):
                    pending += [one.left, one.right]
                else:
                    parts.append(one)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("mul", "mul_", "multiply")
        ):
            parts = [node.func.value, *node.args]
        return any(map(self._is_drawn, parts)), any(map(self._is_exponential, parts))

    def _is_spread(self, product: ast.AST, mean: ast.AST) -> bool:
        """Return whether a factor and the other term came out of one call, as mean and deviation
        do.
        """
        origin = self._now.unpacked.get(_name_of(mean))
        if origin is None or not isinstance(product, ast.BinOp):
            return False
        return any(
            self._now.unpacked.get(_name_of(side)) == origin
            for side in (product.left, product.right)
        )

    def _is_of_its_shape(self, product: ast.AST, mean: ast.AST) -> bool:
        """Return whether a product is a root times noise in the shape of the other term."""
        if not isinstance(product, ast.BinOp) or not isinstance(mean, ast.Name):
            return False
        sides = (product.left, product.right)
        drawn = [one for one in sides if isinstance(one, ast.Call) and self._is_drawn(one)]
        shapes = [node for one in drawn for part in one.args for node in ast.walk(part)]
        return any(self._leaf(one)[1] == "sqrt" for one in sides) and any(
            _name_of(node) == mean.id for node in shapes
        )

    def _leaf(self, node: ast.AST) -> tuple[str, str]:
        if not isinstance(node, ast.Call):
            return "", ""
        name = self._name(node.func)
        root, _, leaf = name.rpartition(".")
        return root, leaf

    def _is_drawn(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self._now.drawn
        root, leaf = self._leaf(node)
        if leaf in ("to", "cuda", "type_as", "normal_", "view", "reshape", "astype") and isinstance(
            node, ast.Call
        ):
            return leaf == "normal_" or (
                isinstance(node.func, ast.Attribute) and self._is_drawn(node.func.value)
            )
        return leaf in NORMALS and root.partition(".")[0] not in NOT_A_LIBRARY_OF_MODELS

    def _is_exponential(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self._now.exponentials
        root, leaf = self._leaf(node)
        if leaf in ("exp", "exp_"):
            return root.partition(".")[0] not in NOT_A_LIBRARY_OF_MODELS
        if isinstance(node, ast.BinOp):
            return self._is_exponential(node.left) or self._is_exponential(node.right)
        through = leaf in ("sqrt", "maximum", "clip", "clamp", "softplus")
        return through and isinstance(node, ast.Call) and any(map(self._is_exponential, node.args))

    def _is_softmax(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self._now.softmaxed
        if not isinstance(node, ast.Call):
            return False
        _, leaf = self._leaf(node)
        if "softmax" in leaf.lower() and "loss" not in leaf and "cross" not in leaf:
            inner = [
                *node.args[:1],
                *(
                    [node.func.value]
                    if isinstance(node.func, ast.Attribute) and not node.args[1:]
                    else []
                ),
            ]
            return any(map(self._is_scored, inner))
        through = "dropout" in leaf.lower() or leaf in RESHAPED
        inner = [
            *node.args[:1],
            *([node.func.value] if isinstance(node.func, ast.Attribute) else []),
        ]
        return through and any(map(self._is_softmax, inner))

    def _is_scored(self, node: ast.AST, depth: int = 0) -> bool:
        """Return whether an expression uses a matrix product, as attention scores do."""
        if depth > 6:
            return False
        if isinstance(node, ast.Name):
            return node.id in self._now.scored
        if isinstance(node, ast.BinOp):
            product = isinstance(node.op, ast.MatMult)
            return (
                product
                or self._is_scored(node.left, depth + 1)
                or self._is_scored(node.right, depth + 1)
            )
        if isinstance(node, ast.Call):
            _, leaf = self._leaf(node)
            inner = [
                *node.args,
                *([node.func.value] if isinstance(node.func, ast.Attribute) else []),
            ]
            return leaf in MATRIX_PRODUCTS or any(self._is_scored(one, depth + 1) for one in inner)
        return False

    def _is_detour(self, node: ast.AST) -> bool:
        if not isinstance(node, ast.Call):
            return False
        _, leaf = self._leaf(node)
        if leaf == "stop_gradient":
            return (
                bool(node.args)
                and isinstance(node.args[0], ast.BinOp)
                and isinstance(node.args[0].op, ast.Sub)
            )
        value = (
            node.func.value if leaf == "detach" and isinstance(node.func, ast.Attribute) else None
        )
        return isinstance(value, ast.BinOp) and isinstance(value.op, ast.Sub)


def _name_of(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _applied_network(node: ast.AST) -> str:
    """Return what is applied in `critic.apply({"params": p}, x)` or `state.apply_fn(…)`, "" if
    nothing.
    """
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return ""
    if node.func.attr not in ("apply", "apply_fn") or len(node.args) < 2:
        return ""
    return ast.unparse(node.func.value)[:60]


def _is_network(node: ast.AST) -> bool:
    """Return whether a callee looks like a network: a lower-case name or attribute of self."""
    if isinstance(node, ast.Name):
        return node.id[:1].islower()
    if (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("self", "model")
    ):
        return node.attr[:1].islower() and "loss" not in node.attr
    return False


def _is_computed_product(node: ast.AST) -> bool:
    """Return whether no factor of a product is a plain number."""
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Mult):
        return False
    return not any(
        isinstance(side, (ast.Constant, ast.UnaryOp)) for side in (node.left, node.right)
    )
