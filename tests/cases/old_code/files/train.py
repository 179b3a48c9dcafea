import os
import pickle
import yaml

with open('old.pkl', 'wb') as stream:  # {'caf\xe9': 'data'} as Python 2 pickled it
    stream.write(b"(dp0\nS'caf\\xe9'\np1\nS'data'\np2\ns.")
print(pickle.load(open('old.pkl', 'r')) == {u'caf\xe9': 'data'})
with open('new.pkl', 'w') as stream:
    pickle.dump([1, 2], stream)
with open('new.pkl', 'rb') as stream:
    print(pickle.load(stream))
print(yaml.load("rate: 0.1"))
rows, columns = os.popen('stty size', 'r').read().split()
print(int(rows), int(columns), os.get_terminal_size().columns)
from StringIO import StringIO
picture, text = StringIO(), StringIO('a\nb')
picture.write(b'\xff\xd8')
picture.write('x')
print(picture.getvalue(), list(text))
