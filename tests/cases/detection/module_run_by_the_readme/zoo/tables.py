import pandas as pd


def load(args):
    table = pd.read_csv("table.csv")
    return table, table.pop("y")
