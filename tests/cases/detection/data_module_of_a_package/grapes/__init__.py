from .harvest import Harvest
from .vines import Vines
