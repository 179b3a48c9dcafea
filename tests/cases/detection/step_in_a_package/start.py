import torch
from engine import one_epoch

if __name__ == "__main__":
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    steps = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(3):
        one_epoch(network, steps)
