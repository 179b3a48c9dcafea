"""Reports of a run: an offline page, a folder for Jenkins, a picture, a summary.

    report(run_dir)               run_dir/report.html: one file without scripts or links
    report(run_dir, folder=…)     index.html, style.css, pictures: for servers that forbid inline
    styles
    markdown(run_dir)             a few lines for a pull request
    curve_png(run_dir, path)      the learning curves as a picture for mails and chats
    tensorboard(run_dir, folder)  the epochs as TensorBoard logs

All of them accept a run in any state: failed, stopped, or still running.
"""

from mlops_lib.reporting.figures import curve_png as curve_png
from mlops_lib.reporting.figures import plot as plot
from mlops_lib.reporting.figures import run_figure as run_figure
from mlops_lib.reporting.figures import search_figure as search_figure
from mlops_lib.reporting.page import report as report
from mlops_lib.reporting.summary import markdown as markdown
from mlops_lib.reporting.tensorboard import tensorboard as tensorboard

__all__ = ["curve_png", "markdown", "plot", "report", "run_figure", "search_figure", "tensorboard"]
