from networks.loading import load_obj


def choose(settings):
    return load_obj(settings.network.class_name)(**settings.network.params)
