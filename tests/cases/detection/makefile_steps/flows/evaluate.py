print("measured")
