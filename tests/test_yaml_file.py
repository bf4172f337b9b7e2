"""YAML that is read, and YAML that is refused by name, line and limit."""

from __future__ import annotations

import pytest

from ppdsim.errors import ScenarioError
from ppdsim.limits import YAML_BYTES, YAML_DEPTH, YAML_NODES
from ppdsim.yaml_file import read, scalar

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
REFUSED = {
    "aliases of aliases": (LAUGHS, "limit yaml_nodes"),
    "an alias inside itself": ("a: &a [1, *a]\n", "limit yaml_depth"),
    "a merge key": ("a: &a {b: 1}\nc:\n  <<: *a\n", "it.yaml:3: merge key '<<' is not read"),
    "an ordered map": ("a: !!omap [b: 1]\n", "it.yaml:1: tag 'tag:yaml.org,2002:omap' is not read"),
    "a set": ("a: !!set {b}\n", "it.yaml:1: tag 'tag:yaml.org,2002:set' is not read"),
    "an object of Python": ("a: !!python/object/apply:os.system [ls]\n", "is not read"),
    "a tag of a number": ("a: !!int 7\n", "it.yaml:1: tag 'tag:yaml.org,2002:int' is not read"),
    "lists in lists": ("a: " + "[" * 20_000, "it.yaml:1: nested deeper than the limit yaml_depth"),
    "blocks in blocks": ("- " * 20_000, "limit yaml_depth"),
    "maps in maps": ("{a: " * 10_000, "limit yaml_depth"),
    "a key twice": ("a: 1\nb:\n  c: 1\n  c: 2\n", "it.yaml:4: key 'c' is there twice"),
    "a list as a key": ("? [1, 2]\n: 3\n", "it.yaml:1: a list or a block as a key"),
    "a long number": ("a: 1" + "0" * 5_000 + "\n", "it.yaml:1: given 1000"),
    "many values": ("a: [" + "1," * YAML_NODES.value + "]", "limit yaml_nodes"),
    "a long file": ("a: 1\n" + "#" * YAML_BYTES.value, "limit yaml_bytes"),
    "two documents": ("a: 1\n---\nb: 1\n", "not YAML"),
    "an alias of nothing": ("a: *b\n", "it.yaml:1: not YAML"),
    "a directive": ("%YAML 9.9\n---\na: 1\n", "it.yaml:1: not YAML"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_named(name, tmp_path):
    text, message = REFUSED[name]
    path = tmp_path / "it.yaml"
    path.write_text(text)
    with pytest.raises(ScenarioError) as caught:
        read(path, error=ScenarioError)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_the_rest_of_yaml_is_read_with_its_lines(tmp_path):
    path = tmp_path / "it.yaml"
    path.write_text(
        "\ufeffa: &x [1, 1e9, 0x10, .inf, on, ~, 2026-01-01, 'yes', \"<<\"]\n"
        "b: *x\n1: |\n  text\nc: {d: true, '<<': 1}\ne:\n- &x f\n- *x\n"
    )
    found, lines = read(path)
    values = [1, 1e9, 16, float("inf"), "on", None, "2026-01-01", "yes", "<<"]
    assert found == {"a": values, "b": values, "1": "text\n", "c": {"d": True, "<<": 1}, "e": ["f", "f"]}
    assert (lines[("b",)], lines[("c", "d")], lines[("e", 1)]) == (2, 5, 7)  # an alias stands where its value does


def test_depth_up_to_the_limit_is_read():
    deep = "[" * (YAML_DEPTH.value - 1) + "]" * (YAML_DEPTH.value - 1)
    assert str(scalar(deep, "x")) == deep


def test_a_value_of_a_command_line_is_bounded_too():
    with pytest.raises(ScenarioError, match=r"^--set a=\[+: nested deeper"):
        scalar("[" * 100, "--set a=" + "[" * 100, error=ScenarioError)
