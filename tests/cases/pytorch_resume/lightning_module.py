"""Lightning: a module, its Trainer, a callback with state, two loaders."""

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 3))
        self.seen = []

    def training_step(self, batch, index):
        x, y = batch
        loss = nn.functional.cross_entropy(self.layers(x), y)
        self.log("train_loss", loss)
        self.seen.append(loss.item())
        return loss

    def validation_step(self, batch, index):
        x, y = batch
        self.log("val_acc", (self.layers(x).argmax(1) == y).float().mean())

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), 1e-2)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)]


class Best(L.Callback):
    def __init__(self):
        self.best, self.epochs = -1.0, []

    def on_validation_epoch_end(self, trainer, module):
        value = float(trainer.callback_metrics["val_acc"])
        self.best = max(self.best, value)
        self.epochs.append((trainer.current_epoch, trainer.global_step, value))
        print(trainer.current_epoch, trainer.global_step, value, self.best, flush=True)


L.seed_everything(5)
x = torch.randn(500, 12)
y = x[:, :3].argmax(1)
train = DataLoader(TensorDataset(x[:400], y[:400]), 16, shuffle=True)
held_out = DataLoader(TensorDataset(x[400:], y[400:]), 50)
net, best = Net(), Best()
trainer = L.Trainer(
    max_epochs=5, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
    callbacks=[best], num_sanity_val_steps=1,
)
trainer.fit(net, train, held_out)
torch.save({"model": net.state_dict(), "seen": net.seen, "epochs": best.epochs}, "final.pt")
