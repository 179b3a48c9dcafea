from .deepar import DeepAREstimator
