"""Runs cells in IPython as a kernel does, and returns what they show. This Python is Pyodide's."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout

# Looks for fonts when it is first loaded, and says so.
import matplotlib.pyplot  # noqa: F401
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from js import process
from matplotlib.artist import Artist


class Outputs(list):
    """What a cell shows, in order, in the form that a notebook keeps it."""

    def written(self, name, text):
        self.append({"output_type": "stream", "name": name, "text": text})

    def shown(self, output_type, data, metadata, **more):
        self.append({"output_type": output_type, "data": data, "metadata": metadata or {}, **more})


outputs = Outputs()


class Stream(io.TextIOBase):
    """What is printed."""

    def __init__(self, name):
        self.name = name

    def write(self, text):
        if text:
            outputs.written(self.name, text)
        return len(text)


class Publisher(DisplayPublisher):
    """What is displayed."""

    def publish(self, data, metadata=None, *, update=False, **_):
        if not update:
            outputs.shown("display_data", data, metadata)

    def clear_output(self, wait=False):
        outputs.clear()


class Hook(DisplayHook):
    """What the last line of a cell is worth."""

    def write_output_prompt(self):
        pass

    def write_format_data(self, format_dict, md_dict=None):
        outputs.shown("execute_result", format_dict, md_dict, execution_count=self.prompt_count)

    def finish_displayhook(self):
        pass


class Shell(InteractiveShell):
    """IPython, whose errors are outputs too."""

    def _showtraceback(self, etype, evalue, stb):
        outputs.append(
            {"output_type": "error", "ename": etype.__name__, "evalue": str(evalue), "traceback": list(stb)}
        )


def get_figure(artist, root=False):
    """Do what Matplotlib 3.10 does. Pyodide 0.27.7 has 3.8."""
    figure = artist.figure
    return figure.figure if root and figure is not None else figure


Artist.get_figure = get_figure


def spent_s():
    """Return the seconds of work of this process: the machine may have other work to do."""
    spent = process.cpuUsage()
    return (spent.user + spent.system) / 1e6


def run(sources):
    """Run the sources in a list, and return what each shows, and how long it works (all as JSON)."""
    start_s = spent_s()
    shell = Shell.instance(display_pub_class=Publisher, displayhook_class=Hook)
    cells = []
    for source in json.loads(sources):
        outputs.clear()
        before_s = spent_s()
        with redirect_stdout(Stream("stdout")), redirect_stderr(Stream("stderr")):
            result = shell.run_cell(source, store_history=True)
        seconds = spent_s() - before_s
        cells.append({"outputs": list(outputs), "count": result.execution_count, "seconds": seconds})
    return json.dumps({"start_s": start_s, "cells": cells})
