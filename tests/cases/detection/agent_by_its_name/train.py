import argparse
import json

from agents import *  # noqa: F403

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--settings", default="settings.json")
    with open(parser.parse_args().settings) as file:
        settings = json.load(file)
    kind = eval(settings.pop("agent"))
    agent = kind(**settings)
    agent.learn(total_timesteps=20_000)
