import torch
from sklearn.datasets import load_iris
from zoo.plain import Plain

x, y = (torch.tensor(part) for part in load_iris(return_X_y=True))
net = Plain()
optimizer = torch.optim.Adam(net.parameters())
for _ in range(100):
    loss = torch.nn.functional.cross_entropy(net(x.float()), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
