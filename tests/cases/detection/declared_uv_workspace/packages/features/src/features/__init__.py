import pandas as pd


def load():
    return pd.DataFrame({"a": [0, 1], "y": [0, 1]})
