"""Settings from flags, environment, files and defaults: who goes first, and how a mistake is reported."""

from pathlib import Path

import pytest

from cutwater.errors import BadSetting
from cutwater.settings.fields import fields
from cutwater.settings.file import Given
from cutwater.settings.resolve import Resolved, default_home, resolve
from cutwater.settings.settings import Settings


def test_a_flag_goes_before_the_environment_that_before_the_file_that_before_the_default(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("cluster: {nodes: 4, coordinators: 2}\nnode:\n  memory: 1 GiB\n  grace: 5 s\n")
    environment = {"CUTWATER_NODE_MEMORY": "2GiB", "CUTWATER_CLUSTER_NODES": "5"}
    flags = {"cluster.nodes": Given(6, "flag --nodes")}
    found = resolve(flags, config=file, environment=environment)
    assert (found.settings.cluster.nodes, found.origins["cluster.nodes"]) == (6, "flag --nodes")
    assert (found.settings.node.memory, found.origins["node.memory"]) == (2**31, "environment CUTWATER_NODE_MEMORY")
    assert (found.settings.cluster.coordinators, found.origins["cluster.coordinators"]) == (2, f"{file}:1")
    assert (found.settings.node.grace, found.origins["node.grace"]) == (5.0, f"{file}:4")
    assert found.settings.gateway == Settings().gateway
    assert "gateway.patience" not in found.origins


def test_yaml_and_toml_say_the_same(tmp_path: Path) -> None:
    yaml, toml = tmp_path / "a.yaml", tmp_path / "a.toml"
    yaml.write_text("home: ~/cw\nnode:\n  memory: 512 MiB\n  name: pi-a\ngateway:\n  patience: 900 ms\n  memory:\n")
    toml.write_text('home = "~/cw"\n[node]\nmemory = "512 MiB"\nname = "pi-a"\n[gateway]\npatience = 0.9\n')
    assert resolve(config=yaml, environment={}).settings == resolve(config=toml, environment={}).settings
    assert resolve(config=toml, environment={}).origins["gateway.patience"] == f"{toml}:6"
    assert resolve(config=toml, environment={}).home == Path.home() / "cw"


def test_a_file_in_the_home_is_found(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("[cluster]\nnodes = 7\n")
    found = resolve(environment={"CUTWATER_HOME": str(tmp_path)})
    assert (found.settings.cluster.nodes, found.file) == (7, tmp_path / "settings.toml")
    assert resolve(environment={"CUTWATER_CONFIG": str(tmp_path / "settings.toml")}).settings.cluster.nodes == 7


def test_without_a_word_everything_is_as_declared(tmp_path: Path) -> None:
    found = resolve(
        environment={"CUTWATER_HOME": str(tmp_path), "CUTWATER_CACHE": "elsewhere", "CUTWATER_NODE_NAME": ""}
    )
    assert found == Resolved(Settings(home=tmp_path), {"home": "environment CUTWATER_HOME"}, None)
    assert default_home().parts[-2:] == ("cutwater", "default")


def complaint(file: Path, text: str) -> str:
    """What is said of a file of settings with this text, after the file's own name."""
    file.write_text(text)
    with pytest.raises(BadSetting) as caught:
        resolve(config=file, environment={})
    said = str(caught.value)
    assert said.startswith(str(file))
    return said.removeprefix(str(file))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("node:\n  memry: 2 GiB\n", ":2: there is no setting 'node.memry'; did you mean 'memory'?"),
        ("cluster: {nodes: 2}\nnod:\n  memory: 1\n", ":2: there is no setting 'nod'; did you mean 'node'?"),
        ("node:\n\n  memory: 2 GiBB\n", ":3: node.memory: '2 GiBB' has an unknown unit 'gibb'"),
        ("node: {grace: -1 s}\n", ":1: node.grace: -1 s is negative"),
        ("cluster:\n  nodes: 2.5\n", ":2: cluster.nodes: expected a whole number, not 2.5"),
        ("cluster:\n  coordinators: 0\n", ":2: cluster.coordinators: expected a whole number of at least 1, not 0"),
        ("cluster:\n  nodes: true\n", ":2: cluster.nodes: expected a number, not True"),
        ("cluster:\n  nodes: [1]\n", ":2: cluster.nodes: expected a number, not [1]"),
        ("cluster:\n  nodes: 1\n  nodes: 2\n", ":3: cluster.nodes: stands here twice"),
        ("node:\n  name: pi.a\n", ":2: node.name: 'pi.a' cannot be the name"),
        ("coordinator:\n  gain: 120 %\n", ":2: coordinator.gain: expected a share"),
        ("node: 3\n", ":1: node: expected settings, one 'name: value' per line"),
        ("node: [\n", ": not YAML"),
    ],
)
def test_a_mistake_in_yaml_is_reported_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    assert says in complaint(tmp_path / "wrong.yaml", text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[node]\nname = "a"\nmemry = "2 GiB"\n', ":3: there is no setting 'node.memry'; did you mean 'memory'?"),
        ("node.grace = -2\n", ":1: node.grace: -2 is negative"),
        ("node = 3\n", ":1: node: is a section: begin it with [node]"),
        ("[nodes]\nmemory = 1\n", ":2: there is no setting 'nodes.memory'; did you mean 'node'?"),
        ("[node\n", ": not TOML"),
    ],
)
def test_a_mistake_in_toml_is_reported_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    assert says in complaint(tmp_path / "wrong.toml", text)


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        ("CUTWATER_NODE_MEMROY", "1", "there is no setting CUTWATER_NODE_MEMROY; did you mean 'CUTWATER_NODE_MEMORY'?"),
        ("CUTWATER_GATEWAY_PATIENCE", "soon", "CUTWATER_GATEWAY_PATIENCE: 'soon' is not a duration"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(variable: str, text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(BadSetting) as caught:
        resolve(environment={variable: text, "CUTWATER_HOME": str(tmp_path)})
    assert says in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"none\.yaml: cannot be read: No such file"):
        resolve(config=tmp_path / "none.yaml", environment={})


def test_every_setting_says_what_it_is_for_and_its_default_can_be_written_and_read() -> None:
    for path, field in fields().items():
        assert field.doc.endswith("."), path
        if field.default is not None and field.default != "":
            assert field.read(field.write(field.default)) == field.default, path


def test_a_secret_is_read_and_never_shown() -> None:
    found = resolve(environment={"CUTWATER_GATEWAY_TOKEN": "open sesame"})
    assert found.settings.gateway.token == "open sesame"
    assert fields()["gateway.token"].write(found.settings.gateway.token) == "(hidden)"
