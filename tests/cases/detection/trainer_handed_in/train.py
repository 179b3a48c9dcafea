from hydra_zen import zen
from vats.fitting import fit

if __name__ == "__main__":
    zen(fit).hydra_main(config_path=None, config_name="vat")
