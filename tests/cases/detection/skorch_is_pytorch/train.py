from skorch import NeuralNetClassifier
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from torch import nn

net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
search = GridSearchCV(NeuralNetClassifier(net, max_epochs=3), {"lr": [0.1, 0.01]})
search.fit(*load_digits(return_X_y=True))
