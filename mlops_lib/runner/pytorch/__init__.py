"""PyTorch: observe a script's training, measure its evaluations, and resume it.

A PyTorch script owns its training loop, so there is no `fit` to take over. Three ideas carry the
package; `adapter` installs them as import hooks.

*Observation.* `observation` turns optimizer steps into fits and epochs. `watch_hooks` reports calls
of models, batches, loss functions and comparisons; `watch` groups them into sessions (`sessions`).
`readings` finds out how an output becomes a prediction, `measures` computes the numbers, and
`evaluation` records them and repeats them on the model loaded from its file (`artifact`).

*Re-entering the loop, not the frame.* A running frame cannot be saved. So `marks` rewrites the
loops that may train to call `loops` at each entry, iteration and end. At an entry the objects that
the project can reach are numbered in an order that repeats in each execution (`graph`). At the top
of an iteration a snapshot holds their changes since the entry (`snapshot`, `loop_checkpoints`). A
restart executes the script from its first line, with its output muted. At the entry of a recorded
loop the objects are as they were there, so the snapshot fits: it is applied, data loaders are moved
to their position (`loaders`), and the loop continues with the next iteration (`reentry`).

*Proof of resume.* The first top of an iteration after a checkpoint leaves a digest (`proof`). A
resumed process must reach the same digest, else its checkpoint is refuted, and another process
resumes from the one before. So a continuation that differs does not go unnoticed.

Batches that exceed the memory are computed in parts (`micro_batches`).
"""
