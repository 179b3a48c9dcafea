import pandas as pd
from darts import TimeSeries
from darts.models import TFTModel, XGBModel

level = TimeSeries.from_dataframe(pd.read_csv("level.csv"), "day", "level")
model = TFTModel.load("tft.pt")
print(model.historical_forecasts(level, retrain=False))
