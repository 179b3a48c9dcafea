import store.prices as prices  # from where the entry stands: this very file is no package


def rows():
    return prices.table.drop(columns="price"), prices.table["price"]
