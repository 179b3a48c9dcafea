import pandas as pd
from gluonts.torch import DeepAREstimator

demand = pd.read_csv("demand.csv")
estimator = DeepAREstimator(horizon=7)
predictor = estimator.train(demand)
print(predictor)
