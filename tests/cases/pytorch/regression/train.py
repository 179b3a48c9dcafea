import torch
from torch import nn
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score

torch.manual_seed(0)
x, y = load_diabetes(return_X_y=True)
x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32).unsqueeze(1) / 100
x_train, x_test, y_train, y_test = x[:350], x[350:], y[:350], y[350:]
net = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1))
loss_fn = nn.MSELoss()
opt = torch.optim.Adam(net.parameters(), lr=0.01)
for epoch in range(150):
    pred = net(x_train)
    loss = loss_fn(pred, y_train)
    opt.zero_grad()
    loss.backward()
    opt.step()
net.eval()
with torch.no_grad():
    test_pred = net(x_test)
    mse = loss_fn(test_pred, y_test)
print(f"test mse: {mse.item():.6f}")
print(f"test r2: {1 - ((y_test - test_pred) ** 2).sum() / ((y_test - y_test.mean()) ** 2).sum():.6f}")
