"""XGBoost, LightGBM and CatBoost around the script."""
