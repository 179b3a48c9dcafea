from pathlib import Path

import hydra
from orchard.training import train

ROOT = Path(__file__).parent
_PARAMS = {"version_base": "1.3", "config_path": str(ROOT / "settings_conf"), "config_name": "ripeness"}


@hydra.main(**_PARAMS)
def main(settings):
    train(settings)


if __name__ == "__main__":
    main()
