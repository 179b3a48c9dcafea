import torch
from flash_attn import flash_attn_func


class Reader(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = torch.nn.Linear(64, 192)
        self.out = torch.nn.Linear(64, 64)

    def forward(self, seen):
        query, key, value = self.parts(seen).chunk(3, dim=-1)
        return self.out(flash_attn_func(query, key, value))


if __name__ == "__main__":
    network = Reader()
    network(torch.rand(1, 16, 64)).sum().backward()
    torch.optim.AdamW(network.parameters()).step()
