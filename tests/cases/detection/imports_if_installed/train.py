import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from tracking import is_wandb_available, note

rows = pd.read_csv("rows.csv")
forest = RandomForestClassifier()
forest.fit(rows.drop(columns="label"), rows.label)
if is_wandb_available():
    import wandb

    wandb.init(project="rows")
note(forest.score(rows.drop(columns="label"), rows.label))
