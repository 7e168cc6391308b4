"""Names resolve in any case, suggest the nearest, and a broken plug-in takes nobody down."""

import sys

import pytest

from kdharness.core import plugins
from kdharness.core.errors import BadInput, UnknownName
from kdharness.core.registry import Registry


@pytest.fixture
def room(tmp_path, monkeypatch):
    package = tmp_path / "aroom"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "registry.py").write_text(
        "from kdharness.core.registry import Registry\nTHINGS = Registry('thing', 'aroom')\n"
    )
    (package / "one.py").write_text("from aroom.registry import THINGS\nTHINGS.add('One', 'uno')(1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in ("aroom", "aplugin")]:
        del sys.modules[name]


def things() -> Registry[int]:
    from aroom.registry import THINGS

    return THINGS


def test_modules_of_the_room_register_themselves(room):
    registry = things()
    assert list(registry) == ["One"]
    assert registry.get("ONE") == registry.get("uno") == 1
    assert registry.canonical("uno") == "One"
    assert "one" in registry and "two" not in registry


def test_a_misspelt_name_suggests_the_nearest(room):
    with pytest.raises(UnknownName, match=r"unknown thing 'onne', did you mean 'one'\?"):
        things().get("onne")


def test_one_name_is_registered_once(room):
    registry = things()
    registry.get("one")
    with pytest.raises(ValueError, match="twice"):
        registry.add("ONE")(2)


def test_a_plugin_named_by_the_user_registers(room, monkeypatch):
    monkeypatch.setattr(plugins, "_modules", [])
    (room / "aplugin.py").write_text("from aroom.registry import THINGS\nTHINGS.add('mine')(7)\n")
    plugins.use_plugins(["aplugin"])
    assert things().get("mine") == 7


def test_a_plugin_that_fails_is_named(room, monkeypatch):
    monkeypatch.setattr(plugins, "_modules", [])
    (room / "aplugin.py").write_text("raise RuntimeError('no')\n")
    plugins.use_plugins(["aplugin"])
    with pytest.raises(BadInput, match=r"aplugin\.py:1: plug-in 'aplugin' cannot be imported: RuntimeError: no"):
        things().get("one")


@pytest.mark.parametrize(("given", "module"), [("./mine.py", "mine"), ("lab/mine.py", "lab.mine"), ("../x", "x")])
def test_a_plugin_is_named_as_a_module(monkeypatch, given, module):
    monkeypatch.setattr(plugins, "_modules", [])
    with pytest.raises(BadInput, match="is not the name of a module") as error:
        plugins.use_plugins(["lab.mine", given])
    assert error.value.remedy.endswith(f"write {module}") and plugins.plugins() == ()


def test_plugins_stand_in_the_users_pyproject(tmp_path):
    assert plugins.configured_plugins(tmp_path) == []
    (tmp_path / "pyproject.toml").write_text('[tool.kdharness]\nplugins = ["mylab.rank"]\n')
    assert plugins.configured_plugins(tmp_path) == ["mylab.rank"]
    (tmp_path / "pyproject.toml").write_text('[tool.kdharness]\nplugins = "mylab.rank"\n')
    with pytest.raises(BadInput, match="not a list of module names"):
        plugins.configured_plugins(tmp_path)


def test_a_plugins_revision_is_its_code(room, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    source = room / "aplugin.py"

    def revision(text: str) -> int | str:
        sys.modules.pop("aplugin", None)
        source.write_text(text)
        import importlib
        import linecache

        importlib.invalidate_caches()
        linecache.clearcache()
        return plugins.revision_of(importlib.import_module("aplugin").Mine, 1)

    first = revision("class Mine:\n    x = 1\n")
    assert revision("# a comment\nclass Mine:\n    x = 1\n") == first
    assert revision('"""A module."""\nclass Mine:\n    """A class."""\n    x = 1\n') == first
    assert revision("class Mine:\n    x = 2\n") != first
    assert plugins.revision_of(Registry, 3) == 3
