"""Cross-validation by hand: a fresh model for each fold, samplers over one data set, the mean at the end."""

import numpy as np
import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import KFold
from torch import nn
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

torch.manual_seed(42)
X, Y = load_wine(return_X_y=True)
X = (X - X.mean(0)) / X.std(0)
dataset = TensorDataset(torch.tensor(X, dtype=torch.float32), torch.tensor(Y))
results = {}


def reset_weights(m):
    if hasattr(m, "reset_parameters"):
        m.reset_parameters()


for fold, (train_ids, test_ids) in enumerate(
    KFold(n_splits=3, shuffle=True, random_state=0).split(X)
):
    trainloader = DataLoader(dataset, 16, sampler=SubsetRandomSampler(train_ids))
    testloader = DataLoader(dataset, 16, sampler=SubsetRandomSampler(test_ids))
    network = nn.Sequential(nn.Linear(13, 16), nn.ReLU(), nn.Linear(16, 3))
    network.apply(reset_weights)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    loss_function = nn.CrossEntropyLoss()
    for _epoch in range(3):
        for inputs, targets in trainloader:
            optimizer.zero_grad()
            loss = loss_function(network(inputs), targets)
            loss.backward()
            optimizer.step()
    torch.save(network.state_dict(), f"model-fold-{fold}.pth")
    correct, total = 0, 0
    network.eval()
    with torch.no_grad():
        for inputs, targets in testloader:
            outputs = network(inputs)
            _, predicted = torch.max(outputs.data, 1)
            total += targets.size(0)
            correct += (predicted == targets).sum().item()
    print(f"Accuracy for fold {fold}: {correct / total:.6f}")
    results[fold] = 100.0 * correct / total
print(f"Average: {np.mean(list(results.values())):.4f} %")
