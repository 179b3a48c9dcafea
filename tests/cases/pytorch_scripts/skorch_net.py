"""skorch: a network as an estimator, scored by scikit-learn on held-out data."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from torch import nn

torch.manual_seed(0)
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X.astype(np.float32) / 16, y.astype(np.int64), random_state=0
)


class Module(nn.Module):
    def __init__(self, units=32):
        super().__init__()
        self.dense = nn.Linear(64, units)
        self.output = nn.Linear(units, 10)

    def forward(self, X):
        return torch.softmax(self.output(torch.relu(self.dense(X))), dim=-1)


net = NeuralNetClassifier(Module, max_epochs=3, lr=0.3, iterator_train__shuffle=True, verbose=0)
net.fit(X_train, y_train)
print(f"accuracy {accuracy_score(y_test, net.predict(X_test)):.6f}")
