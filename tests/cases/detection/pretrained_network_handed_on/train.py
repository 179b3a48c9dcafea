import torch
from heads import with_head
from torchvision.models import resnet18

if __name__ == "__main__":
    network = with_head(resnet18, 4)
    steps = torch.optim.SGD(network.parameters(), lr=0.1)
    loss = network(torch.rand(2, 3, 64, 64)).square().mean()
    loss.backward()
    steps.step()
