"""The language: nets and solvers as messages, and as prototxt. Knows only protobuf."""
