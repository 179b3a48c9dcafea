import spacy
from spacy.training import Example
nlp = spacy.blank("en")
t = nlp.add_pipe("textcat")
opt = nlp.initialize()
for i in range(10):
    nlp.update(examples, sgd=opt)
