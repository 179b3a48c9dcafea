from flowers import *

print(accuracy)
