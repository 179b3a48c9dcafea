from pathlib import Path

import spacy
import typer
from spacy.training.corpus import Corpus
from spacy.training.initialize import init_nlp
from spacy.training.loop import train as train_nlp
from spacy.util import load_config


def main(config_path: Path, folds: int = 5):
    config = load_config(config_path)
    for fold in range(folds):
        nlp = init_nlp(config)
        train_nlp(nlp, None)
        print(fold, nlp.evaluate(Corpus("held_out.spacy")(nlp)))


if __name__ == "__main__":
    typer.run(main)
