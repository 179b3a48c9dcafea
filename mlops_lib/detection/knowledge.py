"""What calls say about a script: which framework trains, and which family of models."""

from __future__ import annotations

ROOTS = {
    "keras": "keras", "tf_keras": "keras", "keras_core": "keras", "tensorflow.keras": "keras",
    "tensorflow.python.keras": "keras", "tensorflow": "tensorflow", "torch": "pytorch", "fastai": "pytorch",
    "pytorch_lightning": "pytorch", "lightning": "pytorch", "skorch": "pytorch", "torchvision": "pytorch",
    "sklearn": "sklearn", "imblearn": "sklearn", "xgboost": "xgboost", "lightgbm": "lightgbm", "catboost": "catboost",
    "jax": "jax", "flax": "jax", "optax": "jax", "haiku": "jax", "statsmodels": "statsmodels",
}  # fmt: skip
"""Module (longest match) to framework."""

MODELS = {
    "keras": ("Sequential", "Model", "Functional"),
    "pytorch": ("Module", "LightningModule", "NeuralNetClassifier", "NeuralNetRegressor", "vision_learner", "cnn_learner"),
    "xgboost": ("XGBClassifier", "XGBRegressor", "train", "cv", "XGBRanker"),
    "lightgbm": ("LGBMClassifier", "LGBMRegressor", "train", "cv"),
    "catboost": ("CatBoostClassifier", "CatBoostRegressor", "CatBoost"),
    "statsmodels": ("OLS", "Logit", "GLM", "ARIMA", "SARIMAX", "ols", "logit", "WLS", "VAR"),
}  # fmt: skip
"""Calls that make or train a model of the framework."""

TRAINING = {
    "keras": ("fit", "fit_generator", "train_on_batch", "apply_gradients"),
    "tensorflow": ("minimize", "apply_gradients", "GradientTape"),
    "pytorch": ("backward", "step", "fit", "fine_tune", "fit_one_cycle"),
    "jax": ("grad", "value_and_grad", "apply_updates"),
}  # fmt: skip

FAMILY = {
    "cnn": (
        "Conv1D", "Conv2D", "Conv3D", "Convolution1D", "Convolution2D", "SeparableConv2D", "DepthwiseConv2D", "Conv1d",
        "Conv2d", "Conv3d", "conv2d", "Conv2DTranspose", "MaxPooling2D", "MaxPool2D", "MaxPool2d",
    ),
    "rnn": ("LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "ConvLSTM2D", "LSTMCell", "GRUCell", "dynamic_rnn"),
    "transformer": (
        "MultiHeadAttention", "TransformerEncoder", "TransformerEncoderLayer", "Transformer", "MultiheadAttention",
        "AutoModelForSequenceClassification", "TFAutoModelForSequenceClassification", "BertModel", "TransformerDecoder",
    ),
    "gnn": ("GCNConv", "GATConv", "SAGEConv", "GraphConv", "GINConv", "GCN", "GraphSAGE"),
    "dense": ("Dense", "Linear", "MLPClassifier", "MLPRegressor", "dense"),
    "linear": (
        "LinearRegression", "LogisticRegression", "Ridge", "Lasso", "ElasticNet", "SGDClassifier", "SGDRegressor",
        "RidgeClassifier", "Perceptron", "LogisticRegressionCV", "RidgeCV", "LassoCV", "OLS", "Logit", "GLM", "ols",
        "MultinomialNB", "LinearDiscriminantAnalysis",
    ),
    "tree": (
        "DecisionTreeClassifier", "DecisionTreeRegressor", "RandomForestClassifier", "RandomForestRegressor",
        "ExtraTreesClassifier", "ExtraTreesRegressor", "GradientBoostingClassifier", "GradientBoostingRegressor",
        "HistGradientBoostingClassifier", "HistGradientBoostingRegressor", "AdaBoostClassifier", "AdaBoostRegressor",
        "XGBClassifier", "XGBRegressor", "LGBMClassifier", "LGBMRegressor", "CatBoostClassifier", "CatBoostRegressor",
        "IsolationForest", "BaggingClassifier",
    ),
    "svm": ("SVC", "SVR", "LinearSVC", "LinearSVR", "NuSVC", "OneClassSVM"),
    "neighbors": ("KNeighborsClassifier", "KNeighborsRegressor", "NearestNeighbors", "NearestCentroid"),
    "cluster": ("KMeans", "DBSCAN", "AgglomerativeClustering", "MiniBatchKMeans", "GaussianMixture", "MeanShift"),
    "other": ("GaussianNB", "BernoulliNB", "GaussianProcessClassifier", "GaussianProcessRegressor"),
}  # fmt: skip
"""Class or function to family; what it is called on must belong to a framework."""

BACKBONES = {
    "VGG16", "VGG19", "ResNet50", "ResNet50V2", "ResNet101", "ResNet152", "InceptionV3", "InceptionResNetV2", "Xception",
    "MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "DenseNet121", "DenseNet169", "DenseNet201",
    "NASNetMobile", "EfficientNetB0", "EfficientNetB3", "EfficientNetV2B0", "ConvNeXtTiny", "resnet18", "resnet34", "resnet50",
    "vgg16", "vgg19", "alexnet", "densenet121", "mobilenet_v2", "efficientnet_b0", "inception_v3",
}  # fmt: skip
"""Pretrained networks; all of them convolutional."""

MAIN_ORDER = (
    "gnn",
    "transformer",
    "cnn",
    "rnn",
    "generative",
    "tree",
    "svm",
    "neighbors",
    "linear",
    "cluster",
    "dense",
    "other",
)
"""Where several apply, the most specific is the main one."""

TREES = {"xgboost", "lightgbm", "catboost"}

READERS = {
    "read_csv", "read_table", "read_excel", "read_json", "read_parquet", "load", "loadtxt", "genfromtxt", "imread",
    "flow_from_directory", "image_dataset_from_directory", "open", "listdir", "ImageFolder",
}  # fmt: skip
"""Calls whose first literal argument is data that must exist."""

WRONG_LEAVES = {"TransformerMixin"}
