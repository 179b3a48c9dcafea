"""The stages with their settings: what shell, notebook and Jenkins call."""
