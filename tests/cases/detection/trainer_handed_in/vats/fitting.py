from lightning import LightningDataModule, LightningModule, Trainer


def fit(data: LightningDataModule, model: LightningModule, trainer: Trainer, resume: str) -> float:
    trainer.fit(model, datamodule=data, ckpt_path=resume)
    return float(trainer.callback_metrics["loss"])
