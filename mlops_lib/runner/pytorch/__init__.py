"""PyTorch around the script: trainings are observed, judged, and continued where they were."""
