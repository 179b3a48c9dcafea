"""Lightning as most use it: checkpoints, early stopping, a logger, two folds with a module and a Trainer each."""

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset


class Noisy(Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index] + 0.1 * torch.randn(8), self.y[index]


class Net(L.LightningModule):
    def __init__(self, width=16, rate=1e-2):
        super().__init__()
        self.save_hyperparameters()
        self.body = nn.Sequential(nn.Linear(8, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.1))
        self.head = nn.Linear(width, 2)
        self.outputs = []

    def training_step(self, batch, index):
        x, y = batch
        loss = nn.functional.cross_entropy(self.head(self.body(x)), y)
        self.log("train_loss", loss, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch, index):
        x, y = batch
        scores = self.head(self.body(x))
        self.outputs.append((scores.argmax(1) == y).float())
        self.log("val_loss", nn.functional.cross_entropy(scores, y), prog_bar=True)

    def on_validation_epoch_end(self):
        self.log("val_acc", torch.cat(self.outputs).mean())
        self.outputs.clear()

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), self.hparams.rate)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val_loss"}}


L.seed_everything(3, workers=True)
x = torch.randn(300, 8)
y = (x[:, 0] * x[:, 1] > 0).long()
results = []
for fold in range(2):
    held_out = list(range(fold * 100, fold * 100 + 100))
    rest = [i for i in range(300) if i not in held_out]
    train = DataLoader(Subset(Noisy(x, y), rest), 20, shuffle=True, num_workers=2)
    val = DataLoader(Subset(Noisy(x, y), held_out), 50, num_workers=0)
    best = ModelCheckpoint(f"fold{fold}", monitor="val_acc", mode="max", save_last=True)
    trainer = L.Trainer(
        max_epochs=6, accelerator="cpu", logger=CSVLogger("logs", name=f"fold{fold}", version=0),
        callbacks=[best, EarlyStopping("val_loss", patience=4), LearningRateMonitor("epoch")],
        log_every_n_steps=4, gradient_clip_val=0.5, accumulate_grad_batches=2, enable_progress_bar=False,
        enable_model_summary=False,
    )
    net = Net()
    trainer.fit(net, train, val)
    found = trainer.validate(net, val, verbose=False)[0]
    results.append((found["val_acc"], float(best.best_model_score), best.best_model_path.split("/")[-1]))
    print(fold, results[-1], trainer.current_epoch, flush=True)
torch.save({"model": net.state_dict(), "results": results}, "final.pt")
