import random

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

GOOD = "great lovely superb brilliant moving funny clever warm".split()
BAD = "dull awful boring clumsy noisy flat tired weak".split()
REST = "the film was a story with an actor and some music in every scene of it".split()
WORDS = ["[PAD]", *sorted({*GOOD, *BAD, *REST, "not"})]
LENGTH = 12


def review(rng):
    """Some words, two of which say what the writer thought of it; "not" turns them round."""
    label = rng.randint(0, 1)
    words = [rng.choice(REST) for _ in range(rng.randint(5, 8))]
    for _ in range(2):
        negated = rng.random() < 0.2
        opinion = rng.choice(GOOD if (label == 1) != negated else BAD)
        words[rng.randrange(len(words)) : 0] = ["not", opinion] if negated else [opinion]
    return words[:LENGTH], label


class Reviews(torch.utils.data.Dataset):
    def __init__(self, count, seed):
        rng = random.Random(seed)
        self.rows = [review(rng) for _ in range(count)]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        words, label = self.rows[index]
        ids = [WORDS.index(word) for word in words] + [0] * (LENGTH - len(words))
        mask = [1] * len(words) + [0] * (LENGTH - len(words))
        return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask), "labels": label}


def compute_metrics(prediction):
    guess = np.argmax(prediction.predictions, axis=-1)
    return {"accuracy": float((guess == prediction.label_ids).mean())}


set_seed(0)
config = BertConfig(
    vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
    max_position_embeddings=LENGTH, num_labels=2,
)
trainer = Trainer(
    model=BertForSequenceClassification(config),
    args=TrainingArguments(
        output_dir="checkpoints", num_train_epochs=4, per_device_train_batch_size=32, per_device_eval_batch_size=100,
        learning_rate=3e-3, eval_strategy="epoch", save_strategy="no", logging_steps=20, report_to=[], seed=0,
        disable_tqdm=True, use_cpu=True,
    ),
    train_dataset=Reviews(1000, 1), eval_dataset=Reviews(300, 2), compute_metrics=compute_metrics,
)
trainer.train()
print(trainer.evaluate(Reviews(400, 3), metric_key_prefix="test"))
trainer.save_model("reviews")
