import hydra
from networks.choice import choose
from pytorch_lightning import LightningModule, Trainer


class System(LightningModule):
    def __init__(self, network):
        super().__init__()
        self.network = network


@hydra.main(config_path="config/start.yaml")
def main(settings):
    Trainer(max_epochs=3).fit(System(choose(settings)))


if __name__ == "__main__":
    main()
