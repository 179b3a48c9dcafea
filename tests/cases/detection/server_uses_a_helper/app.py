from flask import Flask, request
import joblib
from model import clean
app = Flask(__name__)
m = joblib.load("m.pkl")
@app.route("/")
def go():
    return str(m.predict([clean(request.args["x"].split(","))]))
app.run()
