"""What tests of drawings share."""

from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.text import Text

from paged_demo.views.picture import new_figure


def new_axes():
    """Make axes that no layout moves."""
    return new_figure(3).subplots()


def written(ax):
    """List all that is written on some axes, each as a `Text` of its own that was drawn."""
    apart = [text for labels in ax.artists for text in as_texts(labels)]
    renderer = RendererAgg(1, 1, ax.figure.dpi)
    for text in apart:
        text.draw(renderer)
    return [*ax.texts, *apart]


def as_texts(labels):
    """Take labels apart."""
    look = {"figure": labels.figure, "transform": labels.get_transform(), "bbox": labels.plate or None}
    return [Text(*label, **look, **labels.look) for label in labels.labels]


def rectangles(collection):
    """List the corners of the rectangles of a collection, whether each is a path or all are one."""
    paths = collection.get_paths()
    return [corners for path in paths for corners in path.vertices.reshape(-1, 5, 2)]


def texts(ax):
    """List the texts on some axes."""
    return [text.get_text() for text in written(ax)]
