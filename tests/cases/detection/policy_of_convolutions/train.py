import gymnasium as gym
from stable_baselines3 import PPO
model = PPO(policy="CnnPolicy", env=gym.make("ALE/Pong-v5"))
model.learn(total_timesteps=1000)
