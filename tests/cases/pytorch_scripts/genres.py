"""Multi-label texts: bags of words, sigmoid probabilities stacked as arrays, sklearn's F1 and subset accuracy."""

import numpy as np
import torch
from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import accuracy_score, f1_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(1)
X, Y = make_multilabel_classification(800, 20, n_classes=5, n_labels=2, random_state=1)
X, Y = torch.tensor(X, dtype=torch.float32) / 10, torch.tensor(Y, dtype=torch.float32)
train, test = TensorDataset(X[:600], Y[:600]), TensorDataset(X[600:], Y[600:])
model = nn.Sequential(nn.Linear(20, 64), nn.LeakyReLU(), nn.Linear(64, 5), nn.Sigmoid())
criterion = nn.BCELoss()
optimizer = torch.optim.RMSprop(model.parameters(), lr=5e-3)
for _epoch in range(4):
    model.train()
    for texts, labels in DataLoader(train, batch_size=25, shuffle=True):
        optimizer.zero_grad()
        criterion(model(texts), labels).backward()
        optimizer.step()
model.eval()
fin_targets, fin_outputs = [], []
with torch.no_grad():
    for texts, labels in DataLoader(test, batch_size=50):
        fin_targets.extend(labels.cpu().detach().numpy().tolist())
        fin_outputs.extend(model(texts).cpu().detach().numpy().tolist())
outputs = np.array(fin_outputs) >= 0.5
print(f"Accuracy Score = {accuracy_score(fin_targets, outputs):.6f}")
print(f"F1 Score (Micro) = {f1_score(fin_targets, outputs, average='micro'):.6f}")
