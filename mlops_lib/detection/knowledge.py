"""What the names of the field mean: tables, nothing else.

Names are the full dotted ones after `meaning.normal`: `tf.keras.layers.LSTM` and `keras_core.layers.LSTM` are both
`keras.layers.LSTM`.
"""

from __future__ import annotations

FRAMEWORK_OF = {
    **dict.fromkeys(
        "keras keras_cv keras_nlp keras_hub keras_tuner kerastuner keras_contrib autokeras keras_rs keras_self_attention"
        " keras_bert segmentation_models efficientnet spektral stellargraph classification_models keras_unet tcn scikeras"
        " vit_keras tensorflow_decision_forests keras_resnet keras_rl rl tensorflow_addons keras_applications"
        " tensorflow_similarity tensorflow_model_optimization bayesflow keras_radam deepctr larq akida ktrain".split(),
        "keras",
    ),
    **dict.fromkeys(
        "tensorflow tflearn tf_slim tensorflow_probability sonnet tensorlayer tensorflow_hub tensorflow_text tensorflow_gan"
        " tf_agents tensorflow_ranking tensorflow_recommenders edward tensor2tensor official gpflow prettytensor skflow"
        " tensorflow_estimator tensorflow_federated larq_compute neural_structured_learning ampligraph".split(),
        "tensorflow",
    ),
    **dict.fromkeys(
        "torch torchvision torchaudio torchtext pytorch_lightning lightning fastai skorch torch_geometric dgl timm pyro gpytorch"
        " transformers accelerate ignite catalyst monai segmentation_models_pytorch ultralytics detectron2"
        " sentence_transformers stable_baselines3 diffusers peft trl apex torchmetrics torch_scatter botorch captum flair"
        " simpletransformers allennlp pytorch_transformers pytorch_pretrained_bert kornia e3nn pytorch_forecasting unsloth"
        " efficientnet_pytorch pretrainedmodels torchensemble pytorch_tabnet tianshou torchrl setfit open_clip dgllife".split(),
        "pytorch",
    ),
    **dict.fromkeys("sklearn imblearn tpot mlxtend sklearn_extra skopt pycaret autosklearn dask_ml lazypredict".split(), "sklearn"),
    "xgboost": "xgboost", "lightgbm": "lightgbm", "catboost": "catboost",
    **dict.fromkeys(
        "jax flax haiku optax objax equinox numpyro trax jraph rlax distrax elegy stax jaxopt chex neural_tangents blackjax"
        " coax evosax".split(),
        "jax",
    ),
    **dict.fromkeys("statsmodels pmdarima linearmodels".split(), "statsmodels"),
    **dict.fromkeys(
        "mxnet gluonnlp gluoncv autogluon theano lasagne nolearn chainer paddle gensim spacy prophet fbprophet surprise lightfm"
        " pymc3 pymc hmmlearn h2o pyspark autograd tinygrad cntk caffe implicit fasttext cuml thundersvm nltk neurolab"
        " pybrain mindspore fann2 lifelines sklearn_crfsuite pycrfsuite pomegranate ngboost interpret pyod neuralprophet"
        " orbit darts sktime turicreate graphlab neupy minisom crfsuite liblinear svmutil libsvm textblob cvxpy pystan"
        " arch gplearn deap neat pgmpy pyflux stan cmdstanpy".split(),
        "other",
    ),
}  # fmt: skip
"""Top-level module to the framework that it is or runs on."""

DEEP = ("keras", "pytorch", "jax", "tensorflow")
BOOSTERS = ("xgboost", "lightgbm", "catboost")
CLASSICAL = ("sklearn", *BOOSTERS, "statsmodels")

PREFIXES = (
    ("tensorflow.compat.v1.keras.", "keras."), ("tensorflow.compat.v2.keras.", "keras."),
    ("tensorflow.compat.v1.", "tensorflow."), ("tensorflow.compat.v2.", "tensorflow."),
    ("tensorflow.python.keras.", "keras."), ("tensorflow.contrib.keras.python.keras.", "keras."),
    ("tensorflow.contrib.keras.", "keras."), ("tensorflow.keras.", "keras."), ("keras_core.", "keras."),
    ("tf_keras.", "keras."), ("keras.api._v2.keras.", "keras."), ("keras.api.", "keras."), ("keras.src.", "keras."),
    ("keras.engine.training.", "keras.models."), ("keras.backend.tensorflow_backend.", "keras.backend."),
    ("lightning.pytorch.", "pytorch_lightning."), ("jax.example_libraries.", "jax.experimental."),
)  # fmt: skip
"""One module under several names."""

KERAS_MODELS = frozenset("Sequential Model Functional Graph".split())
KERAS_LAYERS = {
    **dict.fromkeys(
        "Conv1D Conv2D Conv3D Convolution1D Convolution2D Convolution3D SeparableConv1D SeparableConv2D SeparableConvolution2D"
        " DepthwiseConv1D DepthwiseConv2D Conv1DTranspose Conv2DTranspose Conv3DTranspose Deconvolution2D AtrousConvolution1D"
        " AtrousConvolution2D AtrousConv1D AtrousConv2D LocallyConnected1D LocallyConnected2D Conv2d"
        " QuantConv2D".split(),
        "cnn",
    ),
    **dict.fromkeys(
        "LSTM GRU SimpleRNN RNN Bidirectional ConvLSTM1D ConvLSTM2D ConvLSTM3D LSTMCell GRUCell SimpleRNNCell CuDNNLSTM"
        " CuDNNGRU StackedRNNCells ConvRecurrent2D JZS1 JZS2 JZS3 ESN".split(),
        "rnn",
    ),
    **dict.fromkeys(
        "MultiHeadAttention GroupQueryAttention MultiHeadSelfAttention TransformerEncoder TransformerDecoder"
        " TokenAndPositionEmbedding FNetEncoder CachedMultiHeadAttention ReversibleEmbedding RotaryEmbedding"
        " SinePositionEncoding".split(),
        "transformer",
    ),
    **dict.fromkeys("Dense TimeDistributedDense MaxoutDense Highway DenseFeatures".split(), "dense"),
    **dict.fromkeys("Embedding Dot".split(), "embedding"),
    **dict.fromkeys(
        "GCNConv GATConv GraphSageConv GINConv ChebConv GraphConv GCN GAT GraphSAGE HinSAGE GraphConvolution CrystalConv".split(),
        "gnn",
    ),
}  # fmt: skip
KERAS_NEUTRAL = frozenset(
    "BatchNormalization LayerNormalization Normalization Flatten Dropout Activation Reshape Lambda Concatenate Add ReLU Softmax"
    " MaxPooling2D MaxPooling1D AveragePooling2D GlobalAveragePooling2D GlobalMaxPooling1D GlobalAveragePooling1D MaxPool2D"
    " UpSampling2D ZeroPadding2D InputLayer TextVectorization Layer".split()
)

TORCH_LAYERS = {
    **dict.fromkeys(
        "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d LazyConv2d LazyConv1d conv1d conv2d conv3d"
        " conv_transpose2d".split(),
        "cnn",
    ),
    **dict.fromkeys("LSTM GRU RNN LSTMCell GRUCell RNNCell RNNBase".split(), "rnn"),
    **dict.fromkeys(
        "Transformer TransformerEncoder TransformerEncoderLayer TransformerDecoder TransformerDecoderLayer MultiheadAttention"
        " scaled_dot_product_attention".split(),
        "transformer",
    ),
    **dict.fromkeys("Linear LazyLinear Bilinear linear".split(), "dense"),
    **dict.fromkeys("Embedding EmbeddingBag".split(), "embedding"),
}  # fmt: skip

TENSORFLOW_LAYERS = {
    **dict.fromkeys(
        "conv1d conv2d conv3d conv2d_transpose conv2d_in_plane separable_conv2d depthwise_conv2d convolution convolution2d"
        " atrous_conv2d conv_1d conv_2d conv_3d conv_2d_transpose Conv2D Conv1D Conv2DTranspose residual_block"
        " resnext_block densenet_block conv_1d_branch grouped_conv_2d quantized_conv2d depthwise_conv2d_native".split(),
        "cnn",
    ),
    **dict.fromkeys(
        "BasicLSTMCell LSTMCell GRUCell BasicRNNCell MultiRNNCell dynamic_rnn static_rnn bidirectional_dynamic_rnn rnn"
        " static_bidirectional_rnn stack_bidirectional_dynamic_rnn CudnnLSTM CudnnGRU LSTMBlockCell LSTMBlockFusedCell"
        " RNNCell OutputProjectionWrapper bidirectional_rnn lstm gru simple_rnn basic_rnn_seq2seq"
        " embedding_rnn_seq2seq embedding_attention_seq2seq LSTM GRU raw_rnn LayerNormBasicLSTMCell bidirectional_rnn"
        " DropoutWrapper".split(),
        "rnn",
    ),
    **dict.fromkeys("dense fully_connected Dense Linear MLP DNNClassifier DNNRegressor DNNEstimator highway".split(), "dense"),
    **dict.fromkeys("LinearClassifier LinearRegressor BaselineClassifier single_unit".split(), "linear"),
    **dict.fromkeys("DNNLinearCombinedClassifier DNNLinearCombinedRegressor".split(), "dense"),
    **dict.fromkeys("BoostedTreesClassifier BoostedTreesRegressor RandomForestGraphs ForestHParams GradientBoostedDecisionTreeClassifier"
                    " GradientBoostedDecisionTreeModel TensorForestEstimator".split(), "tree"),
    **dict.fromkeys("KMeans KMeansClustering".split(), "cluster"),
    **dict.fromkeys("SVM".split(), "svm"),
    **dict.fromkeys("embedding_lookup embedding".split(), "embedding"),
    **dict.fromkeys("RealNVP MaskedAutoregressiveFlow".split(), "generative"),
    **dict.fromkeys("unsorted_segment_sum unsorted_segment_mean segment_sum segment_mean segment_max".split(), "gnn"),
}  # fmt: skip

JAX_LAYERS = {
    **dict.fromkeys(
        "Conv ConvTranspose ConvLocal Conv1D Conv2D Conv3D GeneralConv conv conv_general_dilated Conv1d Conv2d BatchConv"
        " Conv2DTranspose ConvTranspose2d DepthwiseConv2D".split(),
        "cnn",
    ),
    **dict.fromkeys(
        "LSTMCell OptimizedLSTMCell GRUCell SimpleCell RNN Bidirectional LSTM GRU VanillaRNN ConvLSTMCell ConvLSTM ConvLSTM2D"
        " dynamic_unroll static_unroll ResetCore GRUCell MGUCell".split(),
        "rnn",
    ),
    **dict.fromkeys(
        "MultiHeadAttention SelfAttention MultiHeadDotProductAttention dot_product_attention MultiheadAttention Attention".split(),
        "transformer",
    ),
    **dict.fromkeys("Dense Linear DenseGeneral MLP LinearGeneral".split(), "dense"),
    **dict.fromkeys("Embed Embedding".split(), "embedding"),
    **dict.fromkeys("GraphNetwork GraphConvolution GAT InteractionNetwork segment_sum GraphMapFeatures DeepSets".split(), "gnn"),
}  # fmt: skip

OTHER_LAYERS = {
    **dict.fromkeys("Conv1D Conv2D Conv3D Convolution Convolution2D Conv2DLayer Conv1DLayer Conv2d".split(), "cnn"),
    **dict.fromkeys("LSTM GRU RNN LSTMCell LSTMLayer RecurrentLayer LSTMRNN NStepLSTM".split(), "rnn"),
    **dict.fromkeys("Dense DenseLayer FullyConnected Linear".split(), "dense"),
    **dict.fromkeys("NaiveBayesClassifier Word2Vec Doc2Vec FastText LdaModel Prophet".split(), "other"),
    **dict.fromkeys("DecisionTree RandomForest GBTClassifier RandomForestClassifier DecisionTreeClassifier GBTRegressor"
                    " NGBRegressor NGBClassifier H2ORandomForestEstimator H2OGradientBoostingEstimator".split(), "tree"),
    **dict.fromkeys("LogisticRegression LinearRegression LinearRegressionWithSGD H2OGeneralizedLinearEstimator"
                    " LogisticRegressionWithLBFGS".split(), "linear"),
    **dict.fromkeys("svm_train SVMWithSGD".split(), "svm"),
    **dict.fromkeys("KMeans kmeans".split(), "cluster"),
}  # fmt: skip

LAYERS = {
    "keras": KERAS_LAYERS, "pytorch": TORCH_LAYERS, "tensorflow": TENSORFLOW_LAYERS, "jax": JAX_LAYERS, "other": OTHER_LAYERS,
}  # fmt: skip

SKLEARN_MODULES = {
    "linear_model": "linear", "tree": "tree", "ensemble": "tree", "svm": "svm", "neighbors": "neighbors", "cluster": "cluster",
    "mixture": "cluster", "neural_network": "dense", "naive_bayes": "other", "gaussian_process": "other", "lda": "linear",
    "discriminant_analysis": "linear", "kernel_ridge": "linear", "isotonic": "other", "cross_decomposition": "linear",
    "decomposition": "reduce", "manifold": "reduce", "random_projection": "reduce", "semi_supervised": "other",
    "covariance": "other", "hmm": "other", "qda": "other", "dummy": "other", "factorization": "other",
}  # fmt: skip
"""Module of scikit-learn to the family of its estimators; `reduce` only counts where nothing else is trained."""

SKLEARN_SPECIAL = {
    "QuadraticDiscriminantAnalysis": "other", "KernelDensity": "other", "NeighborhoodComponentsAnalysis": "reduce",
    "BernoulliRBM": "other", "LocalOutlierFactor": "neighbors", "VotingClassifier": "container", "VotingRegressor": "container",
    "StackingClassifier": "container", "StackingRegressor": "container", "BaggingClassifier": "container_tree",
    "BaggingRegressor": "container_tree", "AdaBoostClassifier": "tree", "RandomTreesEmbedding": "tree", "KNeighborsTransformer": "reduce",
    "FeatureAgglomeration": "cluster", "ElasticNet": "linear",
    "EnsembleVoteClassifier": "container", "SequentialFeatureSelector": "container", "StackingCVClassifier": "container",
    "BalancedRandomForestClassifier": "tree", "RUSBoostClassifier": "tree", "EasyEnsembleClassifier": "tree",
    "BalancedBaggingClassifier": "tree", "KMedoids": "cluster", "TPOTClassifier": "tree", "TPOTRegressor": "tree",
    "plot_decision_regions": "", "LabelPropagation": "other", "LabelSpreading": "other",
}  # fmt: skip
SKLEARN_CONTAINERS = frozenset(
    "Pipeline make_pipeline GridSearchCV RandomizedSearchCV HalvingGridSearchCV HalvingRandomSearchCV BayesSearchCV"
    " OneVsRestClassifier OneVsOneClassifier OutputCodeClassifier MultiOutputClassifier MultiOutputRegressor ClassifierChain"
    " RegressorChain TransformedTargetRegressor CalibratedClassifierCV RFE RFECV SelectFromModel SelfTrainingClassifier"
    " ColumnTransformer FeatureUnion FixedThresholdClassifier TunedThresholdClassifierCV FrozenEstimator".split()
)
SKLEARN_FUNCTIONS = frozenset(
    "cross_val_score cross_validate cross_val_predict learning_curve validation_curve permutation_test_score"
    " plot_learning_curve".split()
)
SKLEARN_CLUSTER_FUNCTIONS = frozenset("k_means dbscan spectral_clustering mean_shift ward_tree affinity_propagation".split())

BOOSTER_MODELS = {
    "xgboost": frozenset(
        "XGBClassifier XGBRegressor XGBRanker XGBRFClassifier XGBRFRegressor XGBModel train cv DaskXGBClassifier"
        " DaskXGBRegressor SparkXGBRegressor SparkXGBClassifier XGBClassifierBase Booster DaskXGBRFClassifier".split()
    ),
    "lightgbm": frozenset(
        "LGBMClassifier LGBMRegressor LGBMRanker LGBMModel train cv DaskLGBMClassifier DaskLGBMRegressor DaskLGBMRanker"
        " Booster".split()
    ),
    "catboost": frozenset("CatBoostClassifier CatBoostRegressor CatBoost CatBoostRanker train cv".split()),
}  # fmt: skip

STATSMODELS = {
    **dict.fromkeys(
        "OLS WLS GLS GLSAR Logit Probit MNLogit Poisson NegativeBinomial GLM GEE RLM MixedLM QuantReg PHReg ols wls gls logit probit"
        " mnlogit poisson glm gee rlm mixedlm quantreg phreg glsar RollingOLS RollingWLS RecursiveLS OrderedModel GLMGam"
        " ConditionalLogit ConditionalPoisson ZeroInflatedPoisson negativebinomial BetaModel NominalGEE OrdinalGEE IV2SLS"
        " BinomialBayesMixedGLM PoissonBayesMixedGLM GeneralizedPoisson NegativeBinomialP TruncatedLFPoisson HurdleCountModel"
        " PanelOLS conditional_logit ordered SUR BayesGaussMI".split(),
        "linear",
    ),
    **dict.fromkeys(
        "ARIMA ARMA AR AutoReg ARDL UECM SARIMAX VAR VARMAX SVAR VECM UnobservedComponents DynamicFactor DynamicFactorMQ ETSModel"
        " ExponentialSmoothing SimpleExpSmoothing Holt STL MSTL STLForecast MarkovRegression MarkovAutoregression ThetaModel"
        " MLEModel GenericLikelihoodModel KDEUnivariate KDEMultivariate KernelReg PCA Factor MICE MICEData seasonal_decompose"
        " lowess DiscretizedCount auto_arima AutoARIMA MANOVA SurvfuncRight EM KDEMultivariateConditional"
        " Copula Mediation ProcessMLE ar_select_order arma_order_select_ic".split(),
        "other",
    ),
}  # fmt: skip
STATSMODELS_FUNCTIONS = frozenset("seasonal_decompose lowess auto_arima".split())

CNN_BACKBONES = ("keras.applications.", "torchvision.models.", "keras_applications.", "efficientnet.", "segmentation_models",
                 "classification_models.", "keras_resnet.", "torchvision.models.detection.", "pretrainedmodels.", "ultralytics.",
                 "efficientnet_pytorch.", "keras_unet.")  # fmt: skip
"""Modules whose models are convolutional unless their name says otherwise."""
TRANSFORMER_NAMES = (
    "vit", "swin", "bert", "gpt", "transformer", "t5", "bart", "llama", "gemma", "mistral", "deit", "falcon", "opt", "albert",
    "roberta", "xlnet", "electra", "whisper", "phi3", "clip", "dino", "segformer", "sam", "bloom", "fnet", "longformer", "beit",
    "qwen", "palligemma", "moonshine",
)  # fmt: skip
"""Beginnings of what pretrained transformers are called."""
GENERATIVE_NAMES = ("stablediffusion", "ddpm", "unet2dmodel", "flux", "ddim", "gan", "autoencoderkl", "dcgan")

FASTAI_LEARNERS = {
    "vision_learner": "cnn", "cnn_learner": "cnn", "unet_learner": "cnn", "tabular_learner": "dense", "create_cnn": "cnn",
    "collab_learner": "other", "text_classifier_learner": "rnn", "language_model_learner": "rnn", "xresnet50": "cnn",
    "Learner": "", "pretrained": "cnn",
}  # fmt: skip

ORDER = ("generative", "gnn", "transformer", "cnn", "rnn", "tree", "svm", "neighbors", "linear", "cluster", "dense", "other")
"""Where several families apply equally, the most specific is the main one."""
