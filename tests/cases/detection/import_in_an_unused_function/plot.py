def show(value):
    import seaborn

    print(value, seaborn.__version__)


def play(path):
    import pyaudio

    pyaudio.PyAudio()


class Recorder:
    def record(self):
        import sounddevice

        return sounddevice.rec(1)
