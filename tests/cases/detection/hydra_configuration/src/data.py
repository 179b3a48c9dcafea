import lightning as L
import polars as pl


class Series(L.LightningDataModule):
    def setup(self, stage):
        self.table = pl.read_csv("series.csv")
