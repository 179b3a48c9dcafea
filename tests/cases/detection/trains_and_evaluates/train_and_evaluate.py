from boosts.fitting import fit

if __name__ == "__main__":
    print(fit().score([[1.0], [2.0]], [0, 1]))
