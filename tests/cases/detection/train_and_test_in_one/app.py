import torch
from flask import Flask

from model import Net

app = Flask(__name__)
net = Net()
net.load_state_dict(torch.load("net.pth"))
