from gensim.models import Word2Vec
m = Word2Vec(sentences, vector_size=100)
m.save("w2v.model")
