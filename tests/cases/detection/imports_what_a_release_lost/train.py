from evidently.report import Report  # gone since 0.7
from langchain.chains import LLMChain  # gone since 1.0, and the project says that it wants an old one
from lightning.app import LightningApp  # the project allows all later ones
from sklearn.linear_model import Ridge

Ridge().fit([[1.0], [2.0]], [1.0, 2.0])
