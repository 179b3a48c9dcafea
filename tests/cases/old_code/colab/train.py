import io

from google.colab import drive, files

drive.mount("/content/drive")
with open("/content/drive/MyDrive/course/rows.csv") as stream:
    print(len(stream.readlines()), "rows on the drive")
uploaded = files.upload()
print(sorted(name for name in uploaded if name.endswith(".csv")))
print(io.BytesIO(uploaded["rows.csv"]).read().decode().split()[0])
files.download("rows.csv")
