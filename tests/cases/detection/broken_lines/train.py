import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

def report(score:
    print("score", score
table = pd.read_csv("people.csv")
x = = 3
    stray = 1
x_train, x_test, y_train, y_test = train_test_split(table.drop(columns="y"), table["y"])
model = RandomForestClassifier()
model.fit(x_train, y_train)
text = """never closed
