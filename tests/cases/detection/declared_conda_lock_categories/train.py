import xgboost
import pandas

xgboost.XGBClassifier().fit(pandas.DataFrame({"a": [0, 1]}), [0, 1])
