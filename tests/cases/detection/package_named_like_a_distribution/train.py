from sklearn.linear_model import Ridge
from tools.reading import read

if __name__ == "__main__":
    Ridge().fit(*read())
