from model import clean
import joblib
print(joblib.load("m.pkl").predict([clean("1,2,3,4".split(","))]))
