import pandas as pd
from prophet import Prophet
from sklearn.ensemble import IsolationForest
df = pd.read_csv("a.csv")
df = df[IsolationForest().fit_predict(df[["y"]]) == 1]
m = Prophet(); m.fit(df); m.predict(m.make_future_dataframe(30))
