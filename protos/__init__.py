"""The language: nets and solvers as messages, and as prototxt. Knows only protobuf.

>>> import protos
>>> protos.text.parse_solver("base_lr: 0.01 solver_type: ADAM").type
'Adam'
"""

from protos import errors, files, registry, schema, spec, text, upgrade

__all__ = ["errors", "files", "registry", "schema", "spec", "text", "upgrade"]
