import tkinter

from train import learn

window = tkinter.Tk()
tkinter.Button(window, text="Learn", command=lambda: learn()).pack()

if __name__ == "__main__":
    window.mainloop()
