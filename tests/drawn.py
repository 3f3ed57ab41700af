"""What tests of drawings share."""

from paged_demo.views.picture import new_figure


def new_axes():
    """Make axes that no layout moves."""
    return new_figure(3).subplots()


def texts(ax):
    """List the texts on some axes."""
    return [text.get_text() for text in ax.texts]
