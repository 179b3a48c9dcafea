import cv2
import joblib
from reduction import Reduction

frames = [cv2.imread(f"frame{n}.png") for n in range(9)]
reduction = Reduction(2)
reduction.fit(frames)
print(joblib.load("classifier.joblib").predict(reduction.transform(frames)))
