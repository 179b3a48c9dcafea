import torch

x, y = torch.randn(20, 6), torch.randn(20, 2)
inner = torch.randn(6, 9, requires_grad=True)
outer = torch.randn(9, 2, requires_grad=True)
for _ in range(40):
    loss = (x.mm(inner).clamp(min=0).mm(outer) - y).abs().sum()
    loss.backward()
    with torch.no_grad():
        for weights in (inner, outer):
            weights -= 0.001 * weights.grad
            weights.grad = None
