"""Adapter for XGBoost, LightGBM and CatBoost."""
