import hydra


@hydra.main(config_path="configs/config.yaml", strict=False)
def main(settings):
    from orchard.training import train

    train(settings)


if __name__ == "__main__":
    main()
