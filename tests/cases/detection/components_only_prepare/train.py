import joblib
import pandas as pd
from sklearn.linear_model import LogisticRegression

rows = pd.read_csv("rows.csv")
model = LogisticRegression().fit(rows.drop(columns="label"), rows.label)
joblib.dump(model, "classifier.joblib")
