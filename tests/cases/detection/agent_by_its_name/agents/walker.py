import torch


class Walker:
    def __init__(self, width):
        self.policy = torch.nn.Sequential(
            torch.nn.Linear(6, width), torch.nn.Tanh(), torch.nn.Linear(width, 2)
        )
        self.steps = torch.optim.Adam(self.policy.parameters())

    def learn(self, total_timesteps):
        for _ in range(total_timesteps):
            loss = self.policy(torch.rand(6)).square().sum()
            self.steps.zero_grad()
            loss.backward()
            self.steps.step()
