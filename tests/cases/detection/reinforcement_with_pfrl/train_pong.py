import pfrl
import torch
from pfrl import agents, experiments, explorers, replay_buffers
from pfrl.wrappers import atari_wrappers
from torch import nn

env = atari_wrappers.make_atari("PongNoFrameskip-v4")
network = nn.Sequential(
    pfrl.nn.LargeAtariCNN(),
    nn.Linear(512, env.action_space.n),
    pfrl.action_value.DiscreteActionValue,
)
agent = agents.DoubleDQN(
    network,
    torch.optim.Adam(network.parameters()),
    replay_buffers.ReplayBuffer(10**6),
    gamma=0.99,
    explorer=explorers.ConstantEpsilonGreedy(0.1, env.action_space.sample),
)
experiments.train_agent_with_evaluation(
    agent=agent, env=env, steps=10**6, eval_n_steps=None, eval_n_episodes=10, eval_interval=10**5,
    outdir="results",
)
