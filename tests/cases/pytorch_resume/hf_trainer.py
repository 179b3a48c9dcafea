"""Hugging Face's Trainer, a tiny BERT made on the spot."""

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments


class Sentences(torch.utils.data.Dataset):
    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        self.ids = torch.randint(5, 60, (n, 12), generator=g)
        self.labels = (self.ids[:, 0] > 30).long()

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, i):
        return {"input_ids": self.ids[i], "attention_mask": torch.ones(12, dtype=torch.long), "labels": self.labels[i]}


config = BertConfig(vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
model = BertForSequenceClassification(config)
arguments = TrainingArguments(
    output_dir="out", num_train_epochs=4, per_device_train_batch_size=8, gradient_accumulation_steps=2,
    learning_rate=1e-3, warmup_steps=5, logging_steps=5, eval_strategy="epoch", save_strategy="no",
    report_to=[], disable_tqdm=True, use_cpu=True,
)


def accuracy(prediction):
    return {"accuracy": float((prediction.predictions.argmax(1) == prediction.label_ids).mean())}


trainer = Trainer(
    model=model, args=arguments, train_dataset=Sentences(320, 1), eval_dataset=Sentences(80, 2),
    compute_metrics=accuracy,
)
trainer.train()
result = trainer.evaluate()
print(result["eval_loss"], result["eval_accuracy"], flush=True)
losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
torch.save({"model": model.state_dict(), "losses": losses}, "final.pt")
