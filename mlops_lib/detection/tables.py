"""What the names of the field mean: tables, nothing else.

Names are the full dotted ones after `symbols.normal`: `tf.keras.layers.LSTM` and
`keras_core.layers.LSTM` are both `keras.layers.LSTM`.
"""

from __future__ import annotations

from mlops_lib.detection.words import each, words

FRAMEWORK_OF = {
    **each(
        "keras",
        """
        keras keras_cv keras_nlp keras_hub keras_tuner kerastuner keras_contrib autokeras keras_rs
        keras_self_attention keras_bert segmentation_models efficientnet spektral stellargraph
        classification_models keras_unet tcn scikeras vit_keras tensorflow_decision_forests
        keras_resnet keras_rl rl tensorflow_addons keras_applications tensorflow_similarity
        tensorflow_model_optimization bayesflow keras_radam deepctr larq akida ktrain
    """,
    ),
    **each(
        "tensorflow",
        """
        tensorflow tflearn tf_slim tensorflow_probability sonnet tensorlayer tensorflow_hub
        tensorflow_text tensorflow_gan tf_agents tensorflow_ranking tensorflow_recommenders edward
        tensor2tensor official gpflow prettytensor skflow tensorflow_estimator tensorflow_federated
        larq_compute neural_structured_learning ampligraph
    """,
    ),
    **each(
        "pytorch",
        """
        torch torchvision torchaudio torchtext pytorch_lightning lightning fastai skorch
        torch_geometric dgl timm pyro gpytorch transformers accelerate ignite catalyst monai
        segmentation_models_pytorch ultralytics detectron2 sentence_transformers stable_baselines3
        diffusers peft trl apex torchmetrics torch_scatter botorch captum flair simpletransformers
        allennlp pytorch_transformers pytorch_pretrained_bert kornia e3nn pytorch_forecasting
        unsloth efficientnet_pytorch pretrainedmodels torchensemble pytorch_tabnet tianshou torchrl
        setfit open_clip dgllife
    """,
    ),
    **each(
        "sklearn",
        """
        sklearn imblearn tpot mlxtend sklearn_extra skopt pycaret autosklearn dask_ml lazypredict
    """,
    ),
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
    **each(
        "jax",
        """
        jax flax haiku optax objax equinox numpyro trax jraph rlax distrax elegy stax jaxopt chex
        neural_tangents blackjax coax evosax
    """,
    ),
    **each("statsmodels", "statsmodels pmdarima linearmodels"),
    **each(
        "other",
        """
        mxnet gluonnlp gluoncv autogluon theano lasagne nolearn chainer paddle gensim spacy prophet
        fbprophet surprise lightfm pymc3 pymc hmmlearn h2o pyspark autograd tinygrad cntk caffe
        implicit fasttext cuml thundersvm nltk neurolab pybrain mindspore fann2 lifelines
        sklearn_crfsuite pycrfsuite pomegranate ngboost interpret pyod neuralprophet orbit darts
        neuralforecast statsforecast gluonts sktime turicreate graphlab neupy minisom crfsuite
        liblinear svmutil libsvm textblob cvxpy pystan arch gplearn deap neat pgmpy pyflux stan
        cmdstanpy
    """,
    ),
}
"""Top-level module to the framework that it is or runs on."""

DEEP = ("keras", "pytorch", "jax", "tensorflow")
BOOSTERS = ("xgboost", "lightgbm", "catboost")
CLASSICAL = ("sklearn", *BOOSTERS, "statsmodels")

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
    ("jax.example_libraries.", "jax.experimental."),
)
"""One module under several names."""

KERAS_MODELS = words("Sequential Model Functional Graph")
KERAS_LAYERS = {
    **each(
        "cnn",
        """
        Conv1D Conv2D Conv3D Convolution1D Convolution2D Convolution3D SeparableConv1D
        SeparableConv2D SeparableConvolution2D DepthwiseConv1D DepthwiseConv2D Conv1DTranspose
        Conv2DTranspose Conv3DTranspose Deconvolution2D AtrousConvolution1D AtrousConvolution2D
        AtrousConv1D AtrousConv2D LocallyConnected1D LocallyConnected2D Conv2d QuantConv2D TCN
        compiled_tcn
    """,
    ),
    **each(
        "rnn",
        """
        LSTM GRU SimpleRNN RNN Bidirectional ConvLSTM1D ConvLSTM2D ConvLSTM3D LSTMCell GRUCell
        SimpleRNNCell CuDNNLSTM CuDNNGRU StackedRNNCells ConvRecurrent2D JZS1 JZS2 JZS3 ESN
    """,
    ),
    **each(
        "transformer",
        """
        MultiHeadAttention GroupQueryAttention MultiHeadSelfAttention TransformerEncoder
        TransformerDecoder TokenAndPositionEmbedding FNetEncoder CachedMultiHeadAttention
        ReversibleEmbedding RotaryEmbedding SinePositionEncoding
    """,
    ),
    **each("dense", "Dense TimeDistributedDense MaxoutDense Highway DenseFeatures"),
    **each("embedding", "Embedding Dot"),
    **each(
        "gnn",
        """
        GCNConv GATConv GraphSageConv GINConv ChebConv GraphConv GCN GAT GraphSAGE HinSAGE
        GraphConvolution CrystalConv
    """,
    ),
}
KERAS_NEUTRAL = words("""
        BatchNormalization LayerNormalization Normalization Flatten Dropout Activation Lambda
        Concatenate Add ReLU Softmax MaxPooling2D MaxPooling1D AveragePooling2D
        GlobalAveragePooling2D GlobalMaxPooling1D GlobalAveragePooling1D MaxPool2D UpSampling2D
        ZeroPadding2D InputLayer TextVectorization Layer
    """)

TORCH_LAYERS = {
    **each(
        "cnn",
        """
        Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d LazyConv2d LazyConv1d
        conv1d conv2d conv3d conv_transpose2d
    """,
    ),
    **each("rnn", "LSTM GRU RNN LSTMCell GRUCell RNNCell RNNBase"),
    **each(
        "transformer",
        """
        Transformer TransformerEncoder TransformerEncoderLayer TransformerDecoder
        TransformerDecoderLayer MultiheadAttention scaled_dot_product_attention
    """,
    ),
    **each("dense", "Linear LazyLinear Bilinear linear"),
    **each("embedding", "Embedding EmbeddingBag"),
}

TENSORFLOW_LAYERS = {
    **each(
        "cnn",
        """
        conv1d conv2d conv3d conv2d_transpose conv2d_in_plane separable_conv2d depthwise_conv2d
        convolution convolution2d atrous_conv2d conv_1d conv_2d conv_3d conv_2d_transpose Conv2D
        Conv1D Conv2DTranspose residual_block resnext_block densenet_block conv_1d_branch
        grouped_conv_2d quantized_conv2d depthwise_conv2d_native
    """,
    ),
    **each(
        "rnn",
        """
        BasicLSTMCell LSTMCell GRUCell BasicRNNCell MultiRNNCell dynamic_rnn static_rnn
        bidirectional_dynamic_rnn rnn static_bidirectional_rnn stack_bidirectional_dynamic_rnn
        CudnnLSTM CudnnGRU LSTMBlockCell LSTMBlockFusedCell RNNCell OutputProjectionWrapper
        bidirectional_rnn lstm gru simple_rnn basic_rnn_seq2seq embedding_rnn_seq2seq
        embedding_attention_seq2seq LSTM GRU raw_rnn LayerNormBasicLSTMCell bidirectional_rnn
        DropoutWrapper
    """,
    ),
    **each(
        "dense",
        """
        dense fully_connected Dense Linear MLP DNNClassifier DNNRegressor DNNEstimator highway
    """,
    ),
    **each("linear", "LinearClassifier LinearRegressor BaselineClassifier single_unit"),
    **each("dense", "DNNLinearCombinedClassifier DNNLinearCombinedRegressor"),
    **each(
        "tree",
        """
        BoostedTreesClassifier BoostedTreesRegressor RandomForestGraphs ForestHParams
        GradientBoostedDecisionTreeClassifier GradientBoostedDecisionTreeModel TensorForestEstimator
    """,
    ),
    **each("cluster", "KMeans KMeansClustering"),
    **each("svm", "SVM"),
    **each("embedding", "embedding_lookup embedding"),
    **each("generative", "RealNVP MaskedAutoregressiveFlow"),
    **each(
        "gnn", "unsorted_segment_sum unsorted_segment_mean segment_sum segment_mean segment_max"
    ),
}

JAX_LAYERS = {
    **each(
        "cnn",
        """
        Conv ConvTranspose ConvLocal Conv1D Conv2D Conv3D GeneralConv conv conv_general_dilated
        Conv1d Conv2d BatchConv Conv2DTranspose ConvTranspose2d DepthwiseConv2D
    """,
    ),
    **each(
        "rnn",
        """
        LSTMCell OptimizedLSTMCell GRUCell SimpleCell RNN Bidirectional LSTM GRU VanillaRNN
        ConvLSTMCell ConvLSTM ConvLSTM2D dynamic_unroll static_unroll ResetCore GRUCell MGUCell
    """,
    ),
    **each(
        "transformer",
        """
        MultiHeadAttention SelfAttention MultiHeadDotProductAttention dot_product_attention
        MultiheadAttention Attention
    """,
    ),
    **each("dense", "Dense Linear DenseGeneral MLP LinearGeneral"),
    **each("embedding", "Embed Embedding"),
    **each("generative", "VectorQuantizer VectorQuantizerEMA"),
    **each(
        "gnn",
        """
        GraphNetwork GraphConvolution GAT GraphNetGAT InteractionNetwork RelationNetwork segment_sum
        GraphMapFeatures DeepSets
    """,
    ),
}

OTHER_LAYERS = {
    **each(
        "cnn",
        "Conv1D Conv2D Conv3D Convolution Convolution2D Conv2DLayer Conv1DLayer Conv2d TCNModel",
    ),
    **each(
        "rnn",
        "LSTM GRU RNN LSTMCell LSTMLayer RecurrentLayer LSTMRNN NStepLSTM RNNModel BlockRNNModel",
    ),
    **each("transformer", "TransformerModel TFTModel"),
    **each(
        "dense",
        """
        Dense DenseLayer FullyConnected Linear NBEATSModel NHiTSModel TiDEModel DLinearModel
        NLinearModel
    """,
    ),
    **each("other", "NaiveBayesClassifier Word2Vec Doc2Vec FastText LdaModel Prophet"),
    **each(
        "tree",
        """
        DecisionTree RandomForest GBTClassifier RandomForestClassifier DecisionTreeClassifier
        GBTRegressor NGBRegressor NGBClassifier H2ORandomForestEstimator
        H2OGradientBoostingEstimator LightGBMModel XGBModel CatBoostModel
    """,
    ),
    **each(
        "linear",
        """
        LogisticRegression LinearRegression LinearRegressionWithSGD H2OGeneralizedLinearEstimator
        LogisticRegressionWithLBFGS LinearRegressionModel
    """,
    ),
    **each("svm", "svm_train SVMWithSGD"),
    **each("cluster", "KMeans kmeans"),
}

LAYERS = {
    "keras": KERAS_LAYERS,
    "pytorch": TORCH_LAYERS,
    "tensorflow": TENSORFLOW_LAYERS,
    "jax": JAX_LAYERS,
    "other": OTHER_LAYERS,
}

SKLEARN_MODULES = {
    "linear_model": "linear",
    "tree": "tree",
    "ensemble": "tree",
    "svm": "svm",
    "neighbors": "neighbors",
    "cluster": "cluster",
    "mixture": "cluster",
    "neural_network": "dense",
    "naive_bayes": "other",
    "gaussian_process": "other",
    "lda": "linear",
    "discriminant_analysis": "linear",
    "kernel_ridge": "linear",
    "isotonic": "other",
    "cross_decomposition": "linear",
    "decomposition": "reduce",
    "manifold": "reduce",
    "random_projection": "reduce",
    "semi_supervised": "other",
    "covariance": "other",
    "hmm": "other",
    "qda": "other",
    "dummy": "other",
    "factorization": "other",
}
"""Module of scikit-learn to the family of its estimators; `reduce` only counts where nothing else
is trained.
"""

SKLEARN_SPECIAL = {
    "QuadraticDiscriminantAnalysis": "other",
    "KernelDensity": "other",
    "NeighborhoodComponentsAnalysis": "reduce",
    "BernoulliRBM": "other",
    "LocalOutlierFactor": "neighbors",
    "VotingClassifier": "container",
    "VotingRegressor": "container",
    "StackingClassifier": "container",
    "StackingRegressor": "container",
    "BaggingClassifier": "container_tree",
    "BaggingRegressor": "container_tree",
    "AdaBoostClassifier": "tree",
    "KNeighborsTransformer": "reduce",
    "RandomTreesEmbedding": "tree",
    "FeatureAgglomeration": "cluster",
    "ElasticNet": "linear",
    "EnsembleVoteClassifier": "container",
    "SequentialFeatureSelector": "container",
    "StackingCVClassifier": "container",
    "BalancedRandomForestClassifier": "tree",
    "RUSBoostClassifier": "tree",
    "EasyEnsembleClassifier": "tree",
    "BalancedBaggingClassifier": "tree",
    "KMedoids": "cluster",
    "TPOTClassifier": "tree",
    "TPOTRegressor": "tree",
    "plot_decision_regions": "",
    "LabelPropagation": "other",
    "LabelSpreading": "other",
}
SKLEARN_CONTAINERS = words("""
        Pipeline make_pipeline GridSearchCV RandomizedSearchCV HalvingGridSearchCV
        HalvingRandomSearchCV BayesSearchCV OneVsRestClassifier OneVsOneClassifier
        OutputCodeClassifier MultiOutputClassifier MultiOutputRegressor ClassifierChain
        RegressorChain TransformedTargetRegressor CalibratedClassifierCV RFE RFECV SelectFromModel
        SelfTrainingClassifier ColumnTransformer FeatureUnion FixedThresholdClassifier
        TunedThresholdClassifierCV FrozenEstimator
    """)
SKLEARN_FUNCTIONS = words("""
        cross_val_score cross_validate cross_val_predict learning_curve validation_curve
        permutation_test_score plot_learning_curve
    """)
SKLEARN_CLUSTER_FUNCTIONS = words(
    "k_means dbscan spectral_clustering mean_shift ward_tree affinity_propagation"
)

BOOSTER_MODELS = {
    "xgboost": words("""
        XGBClassifier XGBRegressor XGBRanker XGBRFClassifier XGBRFRegressor XGBModel train cv
        DaskXGBClassifier DaskXGBRegressor SparkXGBRegressor SparkXGBClassifier XGBClassifierBase
        Booster DaskXGBRFClassifier
    """),
    "lightgbm": words("""
        LGBMClassifier LGBMRegressor LGBMRanker LGBMModel train cv DaskLGBMClassifier
        DaskLGBMRegressor DaskLGBMRanker Booster
    """),
    "catboost": words("CatBoostClassifier CatBoostRegressor CatBoost CatBoostRanker train cv"),
}

STATSMODELS = {
    **each(
        "linear",
        """
        OLS WLS GLS GLSAR Logit Probit MNLogit Poisson NegativeBinomial GLM GEE RLM MixedLM QuantReg
        PHReg ols wls gls logit probit mnlogit poisson glm gee rlm mixedlm quantreg phreg glsar
        RollingOLS RollingWLS RecursiveLS OrderedModel GLMGam ConditionalLogit ConditionalPoisson
        ZeroInflatedPoisson negativebinomial BetaModel NominalGEE OrdinalGEE IV2SLS
        BinomialBayesMixedGLM PoissonBayesMixedGLM GeneralizedPoisson NegativeBinomialP
        TruncatedLFPoisson HurdleCountModel PanelOLS conditional_logit ordered SUR BayesGaussMI
    """,
    ),
    **each(
        "other",
        """
        ARIMA ARMA AR AutoReg ARDL UECM SARIMAX VAR VARMAX SVAR VECM UnobservedComponents
        DynamicFactor DynamicFactorMQ ETSModel ExponentialSmoothing SimpleExpSmoothing Holt STL MSTL
        STLForecast MarkovRegression MarkovAutoregression ThetaModel MLEModel GenericLikelihoodModel
        KDEUnivariate KDEMultivariate KernelReg PCA Factor MICE MICEData seasonal_decompose lowess
        DiscretizedCount auto_arima AutoARIMA MANOVA SurvfuncRight EM KDEMultivariateConditional
        Copula Mediation ProcessMLE ar_select_order arma_order_select_ic
    """,
    ),
}
STATSMODELS_FUNCTIONS = words("seasonal_decompose lowess auto_arima")

CNN_BACKBONES = (
    "keras.applications.",
    "torchvision.models.",
    "keras_applications.",
    "efficientnet.",
    "segmentation_models",
    "classification_models.",
    "keras_resnet.",
    "torchvision.models.detection.",
    "pretrainedmodels.",
    "ultralytics.",
    "efficientnet_pytorch.",
    "keras_unet.",
    "keras_contrib.applications.",
)
"""Modules whose models are convolutional unless their name says otherwise."""
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
    "pyro": words("SVI MCMC"),
    "numpyro": words("SVI MCMC"),
    "cmdstanpy": words("CmdStanModel"),
    "stan": words("build"),
    "pystan": words("StanModel"),
    "blackjax": words("window_adaptation nuts hmc mala rmh svgd meanfield_vi sgld sghmc"),
}
"""What fits a probabilistic program."""
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

FASTAI_LEARNERS = {
    "vision_learner": "cnn",
    "cnn_learner": "cnn",
    "unet_learner": "cnn",
    "tabular_learner": "dense",
    "create_cnn": "cnn",
    "collab_learner": "other",
    "text_classifier_learner": "rnn",
    "language_model_learner": "rnn",
    "xresnet50": "cnn",
    "Learner": "",
    "pretrained": "cnn",
}

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
"""Where several families apply equally, the most specific is the main one."""
