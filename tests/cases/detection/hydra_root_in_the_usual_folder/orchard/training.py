from hydra.utils import instantiate
from lightning import LightningModule, Trainer


def train(settings):
    model: LightningModule = instantiate(settings.model)
    trainer: Trainer = instantiate(settings.trainer)
    trainer.fit(model)
