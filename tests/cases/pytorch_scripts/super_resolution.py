"""Super resolution: PSNR of batches, averaged over batches."""

from math import log10

import torch
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(123)


class Pictures(Dataset):
    def __init__(self, n):
        base = torch.rand(n, 1, 4, 4)
        self.y = nn.functional.interpolate(base, scale_factor=2, mode="bilinear")
        self.x = base

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


class Net(nn.Module):
    def __init__(self, upscale_factor):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, 1, 1)
        self.conv2 = nn.Conv2d(16, upscale_factor**2, 3, 1, 1)
        self.pixel_shuffle = nn.PixelShuffle(upscale_factor)

    def forward(self, x):
        return self.pixel_shuffle(self.conv2(torch.relu(self.conv1(x))))


training_data_loader = DataLoader(Pictures(200), batch_size=20, shuffle=True)
testing_data_loader = DataLoader(Pictures(40), batch_size=20)
model = Net(2)
criterion = nn.MSELoss()
optimizer = optim.Adam(model.parameters(), lr=1e-2)


def train(epoch):
    epoch_loss = 0
    for iteration, batch in enumerate(training_data_loader, 1):
        input, target = batch[0], batch[1]
        optimizer.zero_grad()
        loss = criterion(model(input), target)
        epoch_loss += loss.item()
        loss.backward()
        optimizer.step()
    print(f"===> Epoch {epoch} Complete: Avg. Loss: {epoch_loss / len(training_data_loader):.4f}")


def test():
    avg_psnr, total = 0, 0
    with torch.no_grad():
        for batch in testing_data_loader:
            input, target = batch[0], batch[1]
            prediction = model(input)
            mse = criterion(prediction, target)
            total += mse.item()
            avg_psnr += 10 * log10(1 / mse.item())
    print(
        f"===> Avg. PSNR: {avg_psnr / len(testing_data_loader):.4f} dB, mse {total / len(testing_data_loader):.7f}"
    )


for epoch in range(1, 4):
    train(epoch)
    test()
