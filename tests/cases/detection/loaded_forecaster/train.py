import pandas as pd
from darts import TimeSeries
from darts.models import XGBModel

level = TimeSeries.from_dataframe(pd.read_csv("level.csv"), "day", "level")
model = XGBModel(lags=7)
model.fit(level)
model.save("xgb.pkl")
