"""A name that two distributions share parts of: the part that is imported says which."""

import numpy as np
from bert_serving.client import BertClient
from sklearn.linear_model import LogisticRegression

texts, labels = ["good", "bad"], [1, 0]
vectors = np.asarray(BertClient().encode(texts))
LogisticRegression().fit(vectors, labels)
