import importlib.util

HAS_RICH = importlib.util.find_spec("rich") is not None
if HAS_RICH:
    from rich import print


def is_wandb_available():
    return importlib.util.find_spec("wandb") is not None


def note(value):
    print(value)
