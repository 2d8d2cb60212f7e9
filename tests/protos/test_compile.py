import ast
import builtins

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from protos import compile as schema_compile
from protos.errors import CaffeError

RUN = "run `python -m protos.compile` and commit what it writes"


@pytest.fixture(scope="module")
def outputs():
    return {path.name: (path, content) for path, content in schema_compile.outputs().items()}


def test_descriptors_are_fresh(outputs):
    path, content = outputs["caffe.desc"]
    assert FileDescriptorSet.FromString(path.read_bytes()) == FileDescriptorSet.FromString(content), RUN


def names(tree, prefix=""):
    """What a stub declares, whichever protoc wrote it."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from names(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.AnnAssign):
            yield f"{prefix}{ast.unparse(node.target)}: {ast.unparse(node.annotation)}"


def test_stub_is_fresh(outputs):
    path, content = outputs["schema.pyi"]
    assert set(names(ast.parse(path.read_bytes()))) == set(names(ast.parse(content))), RUN


def test_without_the_compiler_the_remedy_is_named(monkeypatch, capsys):
    def without(name, *args):
        if name.startswith("grpc_tools"):
            raise ImportError(name)
        return real(name, *args)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(CaffeError, match="needs grpcio-tools: pip install"):
        schema_compile.outputs()
    assert schema_compile.main() == 2
    assert "Traceback" not in capsys.readouterr().err


def test_the_command_writes_what_is_compiled(outputs, monkeypatch, tmp_path, capsys):
    (tmp_path / "caffe.proto").write_bytes((schema_compile.HERE / "caffe.proto").read_bytes())
    monkeypatch.setattr(schema_compile, "HERE", tmp_path)
    assert schema_compile.main() == 0
    assert capsys.readouterr().out == f"{tmp_path / 'caffe.desc'}\n{tmp_path / 'schema.pyi'}\n"
    for name, (_, content) in outputs.items():
        assert (tmp_path / name).read_bytes() == content


def test_a_schema_that_does_not_compile_writes_nothing(monkeypatch, tmp_path, capfd):
    (tmp_path / "caffe.proto").write_text('syntax = "proto2";\nmessage Broken { optional strin name = 1; }\n')
    monkeypatch.setattr(schema_compile, "HERE", tmp_path)
    assert schema_compile.main() == 2
    said = capfd.readouterr().err
    assert "caffe.proto:2" in said
    assert said.endswith(f"{tmp_path / 'caffe.proto'}: does not compile; protoc says why above\n")
    assert [path.name for path in tmp_path.iterdir()] == ["caffe.proto"]
