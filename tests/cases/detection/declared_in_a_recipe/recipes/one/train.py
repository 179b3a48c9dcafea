import pandas as pd
from sklearn.linear_model import Ridge

from shop import locked

table = pd.DataFrame({"a": [0, 1], "y": [0, 1]})
with locked():
    Ridge().fit(table[["a"]], table["y"])
