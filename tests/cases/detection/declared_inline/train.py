# /// script
# requires-python = ">=3.12"
# dependencies = [
#   "scikit-learn==1.6.1",
# ]
# ///
from sklearn.linear_model import Ridge

Ridge().fit([[0], [1]], [0, 1])
