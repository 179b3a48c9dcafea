import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
accelerator = Accelerator(cpu=True)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
train = DataLoader(TensorDataset(x[:1300], y[:1300]), batch_size=64, shuffle=True)
test = DataLoader(TensorDataset(x[1300:], y[1300:]), batch_size=100)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
model, optimizer, train, test = accelerator.prepare(model, optimizer, train, test)
for epoch in range(3):
    model.train()
    for xb, yb in train:
        with accelerator.accumulate(model):
            loss = nn.functional.cross_entropy(model(xb), yb)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
    model.eval()
    correct = total = 0
    for xb, yb in test:
        with torch.no_grad():
            preds = model(xb).argmax(dim=-1)
        preds, ref = accelerator.gather_for_metrics((preds, yb))
        correct += (preds == ref).sum().item()
        total += len(ref)
    accelerator.print(f"epoch {epoch} accuracy {correct / total:.6f}")
