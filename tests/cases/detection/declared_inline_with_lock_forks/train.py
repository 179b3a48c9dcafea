# /// script
# requires-python = ">=3.12,<3.14"
# dependencies = [
#   "scikit-learn==1.6.1",
#   "pandas<3",
# ]
# ///
from sklearn.linear_model import Ridge
import pandas as pd

Ridge().fit(pd.DataFrame({"a": [0, 1]}), [0, 1])
