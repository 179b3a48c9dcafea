import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

set_seed(0)


class Toy(Dataset):
    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        self.ids = torch.randint(5, 50, (n, 12), generator=g)
        self.labels = (self.ids > 27).float().mean(1).gt(0.5).long()

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, i):
        return {"input_ids": self.ids[i], "attention_mask": torch.ones(12, dtype=torch.long), "labels": self.labels[i]}


def compute_metrics(p):
    preds = np.argmax(p.predictions, axis=1)
    return {"accuracy": (preds == p.label_ids).mean()}


config = BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, num_labels=2)
model = BertForSequenceClassification(config)
args = TrainingArguments(output_dir="out", num_train_epochs=3, per_device_train_batch_size=32, per_device_eval_batch_size=64,
                         eval_strategy="epoch", save_strategy="no", learning_rate=5e-3, report_to=[], use_cpu=True, logging_steps=10)
trainer = Trainer(model=model, args=args, train_dataset=Toy(800, 0), eval_dataset=Toy(200, 1), compute_metrics=compute_metrics)
trainer.train()
print(f"eval {trainer.evaluate()}")
m = trainer.evaluate(Toy(300, 2), metric_key_prefix="test")
print(f"test accuracy {m['test_accuracy']:.6f} loss {m['test_loss']:.6f}")
