import sys

import numpy
import pandas

table = pandas.read_csv(sys.argv[1])
numpy.savez(sys.argv[2], x=table.drop(columns="target").to_numpy() / 16, y=table["target"].to_numpy())
