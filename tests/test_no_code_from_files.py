"""What reads a file calls nothing that could run code of the file, and imports only modules that our source names.

The source is read with `ast`, not run. What import_module is given must be a literal, or a value of a table of
literals; where a function is given the module or the table, every call of the function must pass such a one.
"""

import ast
from pathlib import Path

import pytest

import lifecycle

SOURCE = Path(lifecycle.__file__).parent
READERS = [
    *("store", "codecs", "trees", "tree_models.py", "torch/adapter.py", "torch/serialization.py", "torch/checkpoint"),
    *("torch/swapping.py", "torch/tensors.py", "torch/modules.py", "torch/folding.py", "torch/channels/slicing.py"),
    *("onnx/predictor.py", "onnx/checked_graph.py", "onnx/interface.py"),
]
MODULES = {
    "pickle",
    "_pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "yaml",
    "sympy",
    "runpy",
    "builtins",
}
NAMES = {"eval", "exec", "compile", "__import__", "sympify", "globals"}
LOADERS = {"torch", "joblib", "np", "numpy", "keras", "onnxruntime_extensions"}  # whose `load` may unpickle


def files():
    for name in READERS:
        path = SOURCE / name
        yield from [path] if path.suffix else sorted(path.rglob("*.py"))


def root_of(node):
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def forbidden(tree):
    """What a module must not import, call or name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"import {a.name}" for a in node.names if a.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            first = (node.module or "").partition(".")[0]
            loads = first in LOADERS and any(alias.name == "load" for alias in node.names)
            if first in MODULES or loads:
                yield f"from {node.module} import {', '.join(alias.name for alias in node.names)}"
            for alias in node.names:
                if first == "importlib" and (alias.name, alias.asname) != ("import_module", None):
                    yield f"{alias.name} of importlib"
        elif isinstance(node, ast.Name) and node.id in NAMES | {"importlib"}:
            yield node.id
        elif isinstance(node, ast.Attribute):
            if node.attr in ("__import__", "sympify", "import_module"):
                yield f".{node.attr}"
            if node.attr in ("load", "loads") and root_of(node) in LOADERS | MODULES:
                yield f"{root_of(node)}.….{node.attr}"
        elif isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "weights_only", "trust_remote_code"):
            yield node.arg


def is_dict(node):
    """A dict that stands in the source; its values may be strings, or hold them."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "dict.fromkeys":
        return len(node.args) == 2 and isinstance(node.args[1], ast.Constant)
    return isinstance(node, ast.Dict)


class Module:
    """The literals of a module: strings, and dicts whose values hold strings."""

    def __init__(self, name, tree):
        self.name, self.tree, self.strings, self.tables = name, tree, set(), set()
        imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        self.imported = {alias.asname or alias.name: node.module for node in imports for alias in node.names}
        self.functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        for node in tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            value = getattr(node, "value", None)
            for target in targets:
                names, values = [target], [value]
                if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                    names, values = target.elts, value.elts
                for name, one in zip(names, values, strict=True):
                    if isinstance(name, ast.Name) and isinstance(one, ast.Constant) and isinstance(one.value, str):
                        self.strings.add(name.id)
                    elif isinstance(name, ast.Name) and is_dict(one):
                        self.tables.add(name.id)

    def function_of(self, node):
        """The function around a node, the innermost one."""
        around = [f for f in self.functions if any(inner is node for inner in ast.walk(f))]
        return around[-1] if around else None


def is_literal(expression, module, function, modules):
    """Whether an expression is a string that stands in the source."""
    if isinstance(expression, ast.Constant):
        return isinstance(expression.value, str)
    if isinstance(expression, ast.Attribute):  # a field of a value of a table
        return isinstance(expression.value, ast.Subscript) and is_literal(expression.value, module, function, modules)
    if isinstance(expression, ast.Subscript):
        return is_table(expression.value, module, function, modules)
    if not isinstance(expression, ast.Name):
        return False
    if expression.id in module.strings:
        return True
    found = False
    for node in ast.walk(function) if function else ():
        if isinstance(node, ast.Assign) and any(names(target) == {expression.id} for target in node.targets):
            if not is_literal(node.value, module, function, modules):
                return False
            found = True
        elif isinstance(node, ast.For | ast.comprehension) and expression.id in names(node.target):
            method = getattr(node.iter, "func", None)
            if not (isinstance(method, ast.Attribute) and method.attr in ("items", "values")):
                return False
            if not is_table(method.value, module, function, modules):
                return False
            found = True
    return found or is_literal_in_every_call(expression.id, function, modules, is_literal)


def is_table(expression, module, function, modules):
    if not isinstance(expression, ast.Name):
        return False
    if any(one.name == module.imported.get(expression.id) and expression.id in one.tables for one in modules):
        return True
    return expression.id in module.tables or is_literal_in_every_call(expression.id, function, modules, is_table)


def is_literal_in_every_call(name, function, modules, check):
    """Whether `name` is a parameter of a function that is called with a literal, or a table, wherever it is called."""
    parameters = [argument.arg for argument in function.args.args] if function else []
    if name not in parameters:
        return False
    calls = []
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == function.name:
                position = parameters.index(name)
                given = {k.arg: k.value for k in node.keywords}.get(name)
                given = node.args[position] if position < len(node.args) else given
                around = module.function_of(node)
                calls.append(given is not None and around is not function and check(given, module, around, modules))
    return bool(calls) and all(calls)


def names(target):
    return {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}


def imports_by_name(modules):
    """Every call of import_module whose argument is not in the source."""
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_module":
                arguments_are_known = len(node.args) == 1 and not node.keywords
                if not arguments_are_known or not is_literal(node.args[0], module, module.function_of(node), modules):
                    yield f"import_module({', '.join(ast.unparse(a) for a in node.args)})"


def faults(texts):
    """What is wrong in modules, which are given by their dotted names."""
    modules = [Module(name, ast.parse(text)) for name, text in texts.items()]
    return [fault for module in modules for fault in forbidden(module.tree)] + list(imports_by_name(modules))


def test_nothing_that_reads_a_file_can_run_code_of_it():
    texts = {}
    for path in files():
        name = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
        texts[name] = path.read_text(encoding="utf-8")
    assert len(texts) > 30
    assert faults(texts) == []


TABLE = "from importlib import import_module\nTABLE = {'a': 'b'}\nNAME = 'c'\n"


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import marshal as m",
        "def f():\n    import yaml",
        "from joblib import load",
        "import joblib.numpy_pickle",
        "eval('1')",
        "f = exec",
        "builtin = __import__",
        "import builtins",
        "sympy.sympify(text)",
        "torch.load(path)",
        "torch.jit.load(path)",
        "from torch import load",
        "np.load(path)",
        "f(path, allow_pickle=True)",
        "f(path, weights_only=True)",
        "import importlib\nimportlib.import_module('a')",
        "from importlib import import_module as get",
        "from importlib import util",
        "from importlib import import_module\nimport_module(config['class'])",
        TABLE + "def f(name):\n    import_module(name)",
        TABLE + "def f(name):\n    import_module(f'lifecycle.{name}')",
        TABLE + "def f(name):\n    import_module(TABLE.get(name, name))",
        TABLE + "def f(name):\n    module = TABLE['a']\n    module = name\n    import_module(module)",
        TABLE + "def f(name):\n    import_module(name)\nf(NAME)\nf(config)",
        TABLE + "def f(table):\n    import_module(table['a'])\nf(TABLE)\nf(config)",
        TABLE + "def f(config):\n    for name in config.values():\n        import_module(name)",
        TABLE + "import_module('.a', package)",
        "from importlib import import_module\nTABLE = dict.fromkeys(names, read())\nimport_module(TABLE['a'])",
        "from importlib import import_module\nTABLE = read()\nimport_module(TABLE['a'])",
    ],
)
def test_the_test_can_fail(text):
    assert faults({"a": text})


@pytest.mark.parametrize(
    "text",
    [
        "model.eval()\njson.loads(text)\nlc.load(path)\nre.compile(text)",
        TABLE + "import_module('a.b')",
        TABLE + "def f(name):\n    import_module(TABLE[name])",
        TABLE + "def f(name):\n    import_module(TABLE[name].module)",
        TABLE + "def f(name):\n    module = TABLE[name]\n    import_module(module)",
        TABLE + "def f():\n    for name, module in TABLE.items():\n        import_module(module)",
        TABLE + "def f(name):\n    import_module(name)\nf(NAME)\nx.f(name='a')",
        "from importlib import import_module\nTABLE = dict.fromkeys(['a'], 'b')\nimport_module(TABLE['a'])",
        TABLE + "def f(name, table):\n    import_module(table[name])\nf(config, TABLE)",
    ],
)
def test_what_is_allowed_passes(text):
    assert faults({"a": text}) == []


def test_a_table_of_another_module():
    text = "from importlib import import_module\nfrom a import TABLE\nimport_module(TABLE['a'])"
    assert faults({"a": TABLE, "b": text}) == []
    assert faults({"a": "TABLE = read()", "b": text})
    assert faults({"b": text})
