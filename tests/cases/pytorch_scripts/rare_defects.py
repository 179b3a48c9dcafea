"""Rare positives: a weighted loss, one logit, all scores collected, sklearn's AUC and balanced accuracy."""

import torch
from sklearn.datasets import make_classification
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

torch.manual_seed(5)
X, y = make_classification(2000, 15, n_informative=6, weights=[0.93], random_state=5)
X, y = torch.tensor(X, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
train_set, test_set = TensorDataset(X[:1500], y[:1500]), TensorDataset(X[1500:], y[1500:])
weights = torch.where(y[:1500] > 0, 8.0, 1.0)
train_loader = DataLoader(train_set, 50, sampler=WeightedRandomSampler(weights, 1500))
test_loader = DataLoader(test_set, 100)
model = nn.Sequential(nn.BatchNorm1d(15), nn.Linear(15, 32), nn.ReLU(), nn.Linear(32, 1))
criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(2.0))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, nesterov=True, momentum=0.9)
scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
for epoch in range(4):
    model.train()
    running = 0.0
    for xb, yb in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(xb).flatten(), yb)
        loss.backward()
        optimizer.step()
        running += loss.item()
    scheduler.step(running)
    model.eval()
    scores, truth = [], []
    with torch.no_grad():
        for xb, yb in test_loader:
            scores.append(torch.sigmoid(model(xb).flatten()))
            truth.append(yb)
    scores, truth = torch.cat(scores).numpy(), torch.cat(truth).numpy()
    auc = roc_auc_score(truth, scores)
    balanced = balanced_accuracy_score(truth, scores > 0.5)
    print(f"epoch {epoch} AUC {auc:.6f} balanced {balanced:.6f}")
