from typing import TYPE_CHECKING

try:
    import wandb
except ImportError:
    wandb = None
try:
    import lightgbm as lgb
except ImportError as problem:
    raise SystemExit("pip install lightgbm") from problem
try:
    from sklearn.model_selection import train_test_split
except ImportError:
    from sklearn.cross_validation import train_test_split
if TYPE_CHECKING:
    import polars
import pandas as pd
from tensorflow.examples import nothing  # a folder of that name stands beside this file, and gives way to the package

frame = pd.read_excel("sales.xlsx")
lgb.train({"objective": "binary"}, lgb.Dataset(frame))
