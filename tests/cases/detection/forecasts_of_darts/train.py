from darts.datasets import AirPassengersDataset
from darts.models import NBEATSModel

series = AirPassengersDataset().load()
forecaster = NBEATSModel(input_chunk_length=24, output_chunk_length=12)
forecaster.fit(series, epochs=3)
