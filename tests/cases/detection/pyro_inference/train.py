import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.optim import Adam


def model(x, y):
    slope = pyro.sample("slope", dist.Normal(0.0, 2.0))
    with pyro.plate("rows", len(x)):
        pyro.sample("y", dist.Normal(slope * x, 0.5), obs=y)


x = torch.linspace(0, 1, 40)
inference = SVI(model, AutoNormal(model), Adam({"lr": 0.02}), loss=Trace_ELBO())
for step in range(300):
    loss = inference.step(x, 1.5 * x)
