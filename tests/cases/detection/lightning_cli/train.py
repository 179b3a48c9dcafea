from lightning.pytorch.cli import LightningCLI
from torch import nn
import lightning as L
class M(L.LightningModule):
    def __init__(self):
        super().__init__(); self.n = nn.LSTM(3, 8)
def main(): LightningCLI(M)
if __name__ == "__main__": main()
