import sys
sys.path.append("../tools/")
from helper import told
from model import width
try:
    import torchvision_of_nobody
except ImportError:
    print("not there")
print(told(width))
with open("../data/kept.txt", "w") as stream:
    stream.write("kept")
print(open("../data/kept.txt").read())
