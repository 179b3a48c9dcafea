import lightning.pytorch as pl
import pandas as pd
from pytorch_forecasting import NBeats, TimeSeriesDataSet
from pytorch_forecasting.data import NaNLabelEncoder

sales = pd.read_csv("sales.csv")
training = TimeSeriesDataSet(
    sales,
    time_idx="day",
    target="sold",
    group_ids=["shop"],
    categorical_encoders={"shop": NaNLabelEncoder().fit(sales.shop)},
)
trainer = pl.Trainer(max_epochs=3)
trainer.fit(NBeats.from_dataset(training, widths=[32, 512]), training.to_dataloader())
