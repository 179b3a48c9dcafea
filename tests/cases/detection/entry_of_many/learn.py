import sys
from zoo.nets import make
model = make()
model.fit(sys.argv[1], sys.argv[2])
