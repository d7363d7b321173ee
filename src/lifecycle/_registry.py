"""Registries: packages in which every file is one implementation of one interface.

The interface is a dataclass of what such a file defines. A field is a constant of the field's type, or a function, and
then annotated with the function's parameters:

    @dataclass(frozen=True)
    class Penalty:
        name: str  # the file's
        value: Annotated[Callable, "w", "l1_ratio"]

    @cache
    def list_penalties() -> dict[str, Penalty]:
        return registry(__name__, lambda module: read(module, Penalty))

A file that does not fit its interface raises a ValueError when it is read. A file whose name begins with an underscore
is no implementation.
"""

import ast
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def registry(package: str, read_file: Callable[[ModuleType], T]) -> dict[str, T]:
    """The implementations of a package by the names of their files; `read_file` makes each of its imported module."""
    names = [file.name for file in _files(sys.modules[package].__path__)]
    return {name: read_file(import_module(f"{package}.{name}")) for name in names}


def read(module: ModuleType, interface: type[T]) -> T:
    """What the file of a module defines, as an instance of the interface; its field `name` is the file's name.

    A function must have the parameters of its annotation, and may have others with defaults. A parameter of the
    annotation such as "*slots" stands for any others, which are not checked. Fields with defaults are optional.

    Raises
    ------
    ValueError
        If a member is missing, or is not what the interface asks for.
    """
    file, hints = _file(module), get_type_hints(interface, include_extras=True)
    members: dict[str, Any] = {"name": module.__name__.rpartition(".")[2]}
    for field in fields(interface):  # type: ignore[arg-type]
        if field.name in members:
            continue
        if hasattr(module, field.name):
            value = members[field.name] = getattr(module, field.name)
            if requirement := _requirement(hints[field.name], value):
                given = f"{field.name}{inspect.signature(value)}" if callable(value) else repr(value)
                raise ValueError(f"{field.name} in {file} must be {requirement}; it is {given}")
        elif field.default is MISSING:
            raise ValueError(f"{file} has no {field.name}; {_contents(interface)}")
    return interface(**members)


def read_class(module: ModuleType, base: type) -> Any:
    """The one public class that the file of a module defines.

    Raises
    ------
    ValueError
        If it defines none or several, or the class does not derive from `base`.
    """
    defined = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    classes = [value for value in defined if isinstance(value, type) and not value.__name__.startswith("_")]
    if len(classes) != 1 or not issubclass(classes[0], base):
        names = ", ".join(cls.__name__ for cls in classes) or "none"
        raise ValueError(f"{_file(module)} must define one public class, derived from {base.__name__}; it has {names}")
    return classes[0]


@cache
def class_names(package: str) -> tuple[str, ...]:
    """Names of the classes of a package of this library, one for each file; the files are read but not imported.

    A file names its class by the constant NAME, or defines it; else the class is called after the file (`camel_case`).
    """
    names = []
    for file in _files([str(Path(__file__).with_name(package))]):
        loader: Any = file.module_finder.find_spec(file.name, None).loader  # type: ignore[union-attr]
        declared = [name for node in ast.parse(loader.get_source(file.name) or "").body if (name := _class_name(node))]
        names.append(declared[0] if declared else camel_case(file.name))
    return tuple(names)


def camel_case(name: str) -> str:
    """The name of the class that is called after a file: "sgd" gives SGD, "half_gd" gives HalfGd."""
    return name.upper() if len(name) <= 3 else name.title().replace("_", "")


def _class_name(node: ast.stmt) -> str | None:
    if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
        return node.name
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "NAME":
        return ast.literal_eval(node.value)
    return None


def _files(path: Iterable[str]) -> list[pkgutil.ModuleInfo]:
    return [file for file in pkgutil.iter_modules(path) if not file.name.startswith("_")]


def _file(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or f"the module {module.__name__}"


def _requirement(hint: Any, value: Any) -> str | None:
    """What a member must be and is not; None if it is as its annotation says."""
    if parameters := _parameters(hint):
        return None if _takes(value, parameters) else f"a function of ({', '.join(parameters)})"
    if get_origin(hint) is Literal:
        return None if value in get_args(hint) else " or ".join(map(repr, get_args(hint)))
    return None if isinstance(value, hint) else f"of type {getattr(hint, '__name__', hint)}"


def _parameters(hint: Any) -> tuple[str, ...]:
    """The parameters with which a function is annotated; empty for a constant."""
    return getattr(hint, "__metadata__", ())


def _takes(value: Any, parameters: tuple[str, ...]) -> bool:
    """Whether this is a function that has these parameters, and further ones only with defaults."""
    if not callable(value):
        return False
    given = [p for p in inspect.signature(value).parameters.values() if p.kind is not p.VAR_KEYWORD]
    for k, name in enumerate(parameters):
        if name.startswith("*"):
            return True
        if k == len(given) or given[k].name != name:
            return False
    return all(p.default is not p.empty for p in given[len(parameters) :])


def _contents(interface: type) -> str:
    """The sentence that lists what a file of this interface defines."""
    required: list[str] = []
    optional: list[str] = []
    for name, hint in get_type_hints(interface, include_extras=True).items():
        if name != "name":
            text = f"{name}({', '.join(_parameters(hint))})" if _parameters(hint) else name
            (optional if hasattr(interface, name) else required).append(text)
    return f"it must define {', '.join(required)}" + (f", and may define {', '.join(optional)}" if optional else "")
