"""What people look at after a run: one offline page, the same as a folder for Jenkins, a picture, a
summary.

    report(run_dir)             run_dir/report.html, one file without scripts or addresses
    report(run_dir, folder=…)   index.html, style.css and curves.png besides, for servers that
    forbid inline styles
    markdown(run_dir)           a few lines for a pull request
    curve_png(run_dir, path)    the learning curves as a picture for mails and chats
    tensorboard(run_dir, folder)   the epochs as TensorBoard logs

All of them work on what is there: a run that failed, was stopped or is still under way has a report
as well.
"""

from mlops_lib.reporting.figures import curve_png as curve_png
from mlops_lib.reporting.figures import plot as plot
from mlops_lib.reporting.figures import run_figure as run_figure
from mlops_lib.reporting.figures import search_figure as search_figure
from mlops_lib.reporting.page import report as report
from mlops_lib.reporting.summary import markdown as markdown
from mlops_lib.reporting.tensorboard import tensorboard as tensorboard

__all__ = ["curve_png", "markdown", "plot", "report", "run_figure", "search_figure", "tensorboard"]
