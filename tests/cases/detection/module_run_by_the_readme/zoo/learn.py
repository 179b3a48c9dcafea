import sys
from sklearn.ensemble import RandomForestClassifier
from .tables import load

model = RandomForestClassifier().fit(*load(sys.argv[1:]))
