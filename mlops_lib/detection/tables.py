"""Names that several modules need; those of libraries are in data/library_names.txt."""

from __future__ import annotations

import re

from mlops_lib.detection.words import words
from mlops_lib.lazy_regex import lazy_regex

PREFIXES = (
    ("tensorflow.compat.v1.keras.", "keras."),
    ("tensorflow.compat.v2.keras.", "keras."),
    ("tensorflow.compat.v1.", "tensorflow."),
    ("tensorflow.compat.v2.", "tensorflow."),
    ("tensorflow.python.keras.", "keras."),
    ("tensorflow.contrib.keras.python.keras.", "keras."),
    ("tensorflow.contrib.keras.", "keras."),
    ("tensorflow.keras.", "keras."),
    ("keras_core.", "keras."),
    ("tf_keras.", "keras."),
    ("keras.api._v2.keras.", "keras."),
    ("keras.api.", "keras."),
    ("keras.src.", "keras."),
    ("keras.engine.training.", "keras.models."),
    ("keras.backend.tensorflow_backend.", "keras.backend."),
    ("lightning.pytorch.", "pytorch_lightning."),
    ("optuna.integration.lightgbm.", "lightgbm."),
    ("optuna_integration.lightgbm.", "lightgbm."),
    ("jax.example_libraries.", "jax.experimental."),
)
"""One module under several names."""

FITS = words("""
    cross_validation historical_forecasts fit fit_generator train_on_batch partial_fit fit_predict train fine_tune fit_one_cycle
    fit_resample fit_regularized fit_constrained fit_transform fit_flow lr_find learn search
    fit_sgd smooth fit_em fit_partial grid_search randomized_search
""")
"""Methods that train their object."""

TRAINING_FUNCTIONS = words("""
    backward minimize optimize_loss apply_gradients apply_updates train_and_evaluate update cv grad
    cross_validate cross_val_score cross_val_predict train_model auto_arima SVI MCMC StanModel
    learn_one learn_many progressive_val_score LightningCLI instantiate compare_models create_model
    setup fit_model run_training train_step training_loop train_loop main_train start_training
    do_train permutation_test_score learning_curve validation_curve k_means dbscan Word2Vec Doc2Vec
    FastText LdaModel LdaMulticore create_supervised_trainer seasonal_decompose lowess
""")
"""Functions that train, or that name trained objects; a file without any is not parsed."""

STEPS = words("""
    step run update sample sampling optimize optimizing variational vb pathfinder
""")
"""Methods that fit a probabilistic program."""

TRANSFORMER_NAMES = (
    "vit",
    "swin",
    "bert",
    "gpt",
    "transformer",
    "t5",
    "bart",
    "llama",
    "gemma",
    "mistral",
    "deit",
    "falcon",
    "opt",
    "albert",
    "roberta",
    "xlnet",
    "electra",
    "whisper",
    "phi3",
    "clip",
    "dino",
    "segformer",
    "sam",
    "bloom",
    "fnet",
    "longformer",
    "beit",
    "qwen",
    "palligemma",
    "moonshine",
)
"""Beginnings of what pretrained transformers are called."""

SAMPLERS = {
    "spacy": words("blank load"),
    "pyro": words("SVI MCMC"),
    "numpyro": words("SVI MCMC"),
    "cmdstanpy": words("CmdStanModel"),
    "stan": words("build"),
    "pystan": words("StanModel"),
    "blackjax": words("window_adaptation nuts hmc mala rmh svgd meanfield_vi sgld sghmc"),
}
"""Functions that fit a probabilistic program."""

GENERATIVE_NAMES = (
    "stablediffusion",
    "ddpm",
    "unet2dmodel",
    "flux",
    "ddim",
    "gan",
    "autoencoderkl",
    "dcgan",
)

ORDER = (
    "generative",
    "gnn",
    "transformer",
    "cnn",
    "rnn",
    "tree",
    "svm",
    "neighbors",
    "linear",
    "cluster",
    "dense",
    "other",
)
"""Families from the most specific one, which is the main one if several apply equally."""

PREPARES = lazy_regex(
    r"(^|_)(label_?encoder|one_?hot(_?encoder)?|ohe|scaler|imputer|tokenizer|(count|tfidf)?_?vectorizer"
    r"|binarizer|normalizer|discretizer|preprocessor|mlb|lb)$",
    re.IGNORECASE,
)
"""Names of objects whose `fit` prepares data: `self.label_encoder.fit(…)`."""
