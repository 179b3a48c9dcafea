import lightning as L
import torch

class Lit(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(8, 2), 2)

L.Trainer(max_epochs=1).fit(Lit(), [])
