import json
from keras.preprocessing.text import Tokenizer
from keras.utils import to_categorical
from sklearn.svm import LinearSVC

lines = json.load(open("reviews.json"))
tokenizer = Tokenizer(num_words=2000)
tokenizer.fit_on_texts(lines)
x = tokenizer.texts_to_matrix(lines)
LinearSVC().fit(x, to_categorical([0, 1]).argmax(1))
