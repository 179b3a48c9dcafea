import argparse

import pandas
from sklearn.tree import DecisionTreeClassifier

parser = argparse.ArgumentParser()
parser.add_argument("--depth", type=int, required=True)
table = pandas.read_csv("../data/table.csv")
DecisionTreeClassifier(max_depth=parser.parse_args().depth).fit(table[["x"]], table["y"])
