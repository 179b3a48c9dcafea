"""Hugging Face's Trainer with checkpoints, the best one loaded at the end, early stopping, a callback, a collator."""

import numpy as np
import torch
from transformers import (
    BertConfig, BertForSequenceClassification, EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments,
    set_seed,
)


class Rows(torch.utils.data.Dataset):
    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        self.ids = [torch.randint(5, 50, (int(torch.randint(4, 12, (1,), generator=g)),), generator=g) for _ in range(n)]

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, i):
        return {"input_ids": self.ids[i], "labels": int(self.ids[i].float().mean() > 27)}


def collate(rows):
    length = max(len(one["input_ids"]) for one in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    for number, one in enumerate(rows):
        ids[number, : len(one["input_ids"])] = one["input_ids"]
    return {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": torch.tensor([one["labels"] for one in rows])}


class Counts(TrainerCallback):
    def __init__(self):
        self.steps, self.losses = 0, []

    def on_step_end(self, args, state, control, **kwargs):
        self.steps += 1

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            self.losses.append(logs["loss"])


def metrics(prediction):
    answer = np.argmax(prediction.predictions, axis=1)
    return {"accuracy": float((answer == prediction.label_ids).mean())}


set_seed(4)
model = BertForSequenceClassification(
    BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24)
)
arguments = TrainingArguments(
    "out", num_train_epochs=4, per_device_train_batch_size=16, learning_rate=2e-3, logging_steps=4,
    eval_strategy="epoch", save_strategy="epoch", save_total_limit=2, load_best_model_at_end=True,
    metric_for_best_model="accuracy", report_to=[], disable_tqdm=True, use_cpu=True, dataloader_num_workers=2,
    label_smoothing_factor=0.1,
)
counts = Counts()
trainer = Trainer(
    model, arguments, train_dataset=Rows(160, 1), eval_dataset=Rows(60, 2), data_collator=collate,
    compute_metrics=metrics, callbacks=[counts, EarlyStoppingCallback(3)],
)
trainer.train()
found = trainer.evaluate()
print(found["eval_accuracy"], found["eval_loss"], counts.steps, flush=True)
torch.save({"model": model.state_dict(), "losses": counts.losses}, "final.pt")
