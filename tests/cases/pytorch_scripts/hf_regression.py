"""Hugging Face's Trainer on numbers: compute_metrics with numpy."""

import numpy as np
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainingArguments,
    set_seed,
)


class Rows(torch.utils.data.Dataset):
    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        self.ids = torch.randint(5, 40, (n, 8), generator=g)

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, i):
        ids = self.ids[i]
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "labels": ids.float().mean() / 20 - 1,
        }


def compute_metrics(eval_pred):
    predictions, labels = eval_pred
    return {
        "mse": float(((predictions.squeeze() - labels) ** 2).mean()),
        "mae": float(np.abs(predictions.squeeze() - labels).mean()),
    }


set_seed(0)
model = BertForSequenceClassification(
    BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=1,
        problem_type="regression",
    )
)
arguments = TrainingArguments(
    "out",
    num_train_epochs=2,
    per_device_train_batch_size=16,
    per_device_eval_batch_size=32,
    eval_strategy="epoch",
    save_strategy="no",
    report_to="none",
    use_cpu=True,
    disable_tqdm=True,
    learning_rate=1e-3,
)
trainer = Trainer(
    model=model,
    args=arguments,
    train_dataset=Rows(200, 0),
    eval_dataset=Rows(70, 1),
    compute_metrics=compute_metrics,
)
trainer.train()
found = trainer.evaluate()
print(f"mse {found['eval_mse']:.6f} mae {found['eval_mae']:.6f}")
