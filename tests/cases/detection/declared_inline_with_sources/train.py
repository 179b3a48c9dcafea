#!/usr/bin/env -S uv run --script
#
# /// script
# requires-python = ">=3.12"
# dependencies = [
#   "scikit-learn==1.6.1",
#   "torch",  # CPU
#   "timm",
#   "ours>=1",
#   "numpy==1.26.4; python_version < '3.12'",
# ]
#
# [tool.uv.sources]
# torch = { index = "pytorch-cpu" }
# timm = { git = "https://git.example/timm" }
# ours = { path = "../ours" }
#
# [[tool.uv.index]]
# name = "pytorch-cpu"
# url = "https://index.example/whl/cpu"
# explicit = true
# ///
import torch
from sklearn.linear_model import Ridge

Ridge().fit(torch.ones(2, 1).numpy(), [0, 1])
