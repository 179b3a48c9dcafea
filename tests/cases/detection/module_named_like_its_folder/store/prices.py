import pandas

table = pandas.DataFrame({"rooms": [1, 2, 3], "price": [10, 20, 30]})
