import torch
from torch import nn


class GraphLayer(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.weights = nn.Linear(inputs, outputs)

    def forward(self, nodes, adj_matrix):
        neighbours = adj_matrix.sum(dim=-1, keepdim=True)
        return torch.bmm(adj_matrix, self.weights(nodes)) / neighbours


layer = GraphLayer(4, 2)
optimizer = torch.optim.Adam(layer.parameters())
layer(torch.rand(1, 3, 4), torch.ones(1, 3, 3)).sum().backward()
optimizer.step()
