from boosts.fitting import fit

if __name__ == "__main__":
    print(fit().feature_importances_)
