"""Entry point: `python train.py` trains, evaluates and stores the classifier."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import joblib
from sklearn.metrics import accuracy_score, classification_report, roc_auc_score

from cancer.data import load
from cancer.model import build
from cancer.plots import save_roc_curve

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
log = logging.getLogger("train")

ARTIFACTS = Path("artifacts")


def main() -> None:
    x_train, x_test, y_train, y_test = load()
    log.info("%d training rows, %d test rows", len(x_train), len(x_test))

    model = build()
    model.fit(x_train, y_train)

    predicted = model.predict(x_test)
    probability = model.predict_proba(x_test)[:, 1]
    report = {
        "roc_auc": roc_auc_score(y_test, probability),
        "accuracy": accuracy_score(y_test, predicted),
    }
    log.info("accuracy %(accuracy).3f, ROC AUC %(roc_auc).3f", report)
    print(classification_report(y_test, predicted, target_names=["malignant", "benign"]))

    ARTIFACTS.mkdir()
    joblib.dump(model, ARTIFACTS / "model.joblib")
    (ARTIFACTS / "report.json").write_text(json.dumps(report, indent=2))
    save_roc_curve(y_test, probability, ARTIFACTS / "roc.png")


if __name__ == "__main__":
    main()
