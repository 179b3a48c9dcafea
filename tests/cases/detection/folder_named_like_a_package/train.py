import evaluate  # a folder of that name has no module in it: the package is meant
from datasets.prices import rows, targets  # Hugging Face's would stand before a folder without __init__.py
from sklearn.linear_model import Ridge

model = Ridge().fit(rows, targets)
print(evaluate.load("mse").compute(predictions=model.predict(rows), references=targets))
