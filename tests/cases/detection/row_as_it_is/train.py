import joblib
import numpy as np
import scipy.stats
from sklearn.linear_model import Ridge

model = Ridge().fit(np.eye(3), scipy.stats.norm.rvs(size=3))
joblib.dump(model, "model.joblib")
