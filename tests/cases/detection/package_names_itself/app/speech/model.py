import librosa


class Signal:
    def __init__(self, rate, samples):
        self.rate, self.samples = rate, samples

    def values(self):
        return librosa.feature.mfcc(y=self.samples, sr=self.rate).mean(axis=1)
