"""PyTorch: observe a script's training, measure its evaluations, and resume it.

A PyTorch script owns its training loop, so there is no `fit` to take over. Three ideas carry the
package; `adapter` installs them as import hooks.

*Observation.* Hooks on `Optimizer.step`, `backward`, `Module.__call__`, the loss functions and
`DataLoader` see the script's calls. `observation` turns steps into fits and epochs; `watch` groups
calls without training into sessions (`sessions`); `readings` finds out how an output becomes a
prediction; `measures` computes the numbers; `evaluation` records them and repeats them on the
model loaded from its file (`artifact`).

*Re-entering the loop, not the frame.* A running frame cannot be saved. So `marks` rewrites the
loops that may train to call `loops` at each entry, iteration and end. A restart executes the script
from its first line, with its output muted. At the entry of the loop that was running, the objects
of the project are in the state that they had at the first attempt's entry; `graph` numbers them in
an order that repeats. The snapshot of an iteration's top (`snapshot`) holds what had changed since
the entry. It is applied, the data loaders are moved to their position (`loaders`), and the loop
continues with the next iteration.

*Proof of resume.* The first iteration's top after a checkpoint leaves a digest (`proof`). A resumed
process must reach the same digest, else its checkpoint is refuted, and another process resumes
from the one before. A wrong continuation is never silent.

Batches that exceed the memory are computed in parts (`micro_batches`).
"""
