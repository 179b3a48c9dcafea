import random

import torch
from torch import nn

encoder, decoder = nn.GRU(8, 16), nn.GRU(8, 16)
encoder_optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
decoder_optimizer = torch.optim.SGD(decoder.parameters(), lr=0.1)


def train(sentence, translation):
    outputs, hidden = encoder(sentence)
    token = torch.zeros(1, 1, 8)
    loss = torch.zeros(1)
    for word in translation:
        output, hidden = decoder(token, hidden)
        loss = loss + (output[..., :8] - word).square().sum()
        token = word if random.uniform(0, 1) < 0.5 else output[..., :8]
    loss.backward()
    encoder_optimizer.step()
    decoder_optimizer.step()


train(torch.rand(5, 1, 8), torch.rand(4, 1, 1, 8))
