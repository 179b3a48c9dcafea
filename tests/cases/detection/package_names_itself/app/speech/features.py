from scipy.io import wavfile

from speech.model import Signal


def load():
    signals = [Signal(*wavfile.read("one.wav"))]
    return [signal.values() for signal in signals], [0]
