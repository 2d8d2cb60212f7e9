import re
import sys
import time

import pytest
from google.protobuf import text_format

from protos import text
from protos.errors import CaffeError, CaffeWarning, ParseError, UnknownFieldError
from protos.schema import NetParameter, PoolingParameter, SolverParameter

RELU = 'layer { name: "relu" type: "ReLU" bottom: "x" top: "x" }'


def refused(parse, source, message):
    with pytest.raises(ParseError) as caught:
        parse(source)
    assert "\n" not in str(caught.value)
    assert str(caught.value) == message


def save(tmp_path, content):
    path = tmp_path / "x.prototxt"
    path.write_bytes(content)
    return path


# ---- errors


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "layer {\n  convolution_param { kernel_sise: 3 }\n}",
            "prototxt:2:23: unknown field 'kernel_sise' in ConvolutionParameter, did you mean kernel_size or kernel_w?",
        ),
        (
            "layer { pooling_param { pool: MAXX } }",
            "prototxt:1:25: unknown value MAXX of pool in PoolingParameter, did you mean MAX?",
        ),
        (
            "layer { pooling_param { pool: 77 } }",
            "prototxt:1:25: unknown value 77 of pool in PoolingParameter; "
            "allow_unknown=True (--allow-unknown) ignores unknown fields and values",
        ),
        (
            "layers { type: CONVOLUTIN }",
            "prototxt:1:10: unknown value CONVOLUTIN of type in V1LayerParameter, "
            "did you mean CONVOLUTION or DECONVOLUTION?",
        ),
        ("layer { name: 'a' name: 'b' }", "prototxt:1:19: 'name' stands twice in one LayerParameter"),
        ("force_backward: maybe", "prototxt:1:17: force_backward takes true or false, not 'maybe'"),
        ("input_dim: 1.5", "prototxt:1:12: input_dim takes a whole number, not '1.5'"),
        (
            "layer { pooling_param { pool: 'MAX' } }",
            "prototxt:1:31: pool takes a name without quotes, not \"'MAX'\"",
        ),
        (
            "layer { pooling_param { pool: 1.5 } }",
            "prototxt:1:31: Enum type \"PoolingParameter.PoolMethod\" has no value named 1.5, at '1.5'",
        ),
        (
            "layer { inner_product_param { num_output: [1, 2] } }",
            "prototxt:1:43: num_output takes one value, not a list",
        ),
        (
            "layer { inner_product_param [{ num_output: 1 }] }",
            "prototxt:1:29: inner_product_param takes one value, not a list",
        ),
        ("layer { batch_norm_param { eps: tiny } }", "prototxt:1:33: eps takes a number, not 'tiny'"),
        ('layer {\n  name: "x"', "prototxt:2:12: expected a field or '}', found the end of the text"),
        ('layer { name: "x }', "prototxt:1:15: '\"x }' lacks its closing quote"),
        ('name: "\ud800"', "prototxt:1:8: not valid Unicode"),
        ('layer { name "x" }', "prototxt:1:14: expected ':', found '\"x\"'"),
        (
            "layer { clip_param { min: 1 } }",
            "prototxt: missing layer[0].clip_param.max, required by the schema",
        ),
        (
            "layer { name: conv1 }",
            'prototxt:1:15: name takes a quoted string: name: "conv1" '
            "(the dialect of MyCaffe, without quotes, is not read)",
        ),
    ],
)
def test_error_says_where_what_and_what_instead(source, message):
    refused(text.parse_net, source, message)


def test_all_unknown_things_are_listed_at_once():
    source = (
        'nam: "x"\n'
        "layer { pooling_param { pool: MAXX } bogus { a: [1, 2] b < c: 'd' 'e' > } }\n"
        "layer { bogus: -5; bogus: [] lrn_param { alpha: 1 unheard_of: WORD, } }"
    )
    refused(
        text.parse_net,
        source,
        "prototxt:1:1: unknown field 'nam' in NetParameter, did you mean name?; "
        "2:25: unknown value MAXX of pool in PoolingParameter, did you mean MAX?; "
        "2:38: unknown field 'bogus' in LayerParameter (3 times); "
        "3:51: unknown field 'unheard_of' in LRNParameter; "
        "allow_unknown=True (--allow-unknown) ignores unknown fields and values",
    )
    with pytest.warns(CaffeWarning) as caught:
        net = text.parse_net(source, path="a.prototxt", allow_unknown=True)
    assert [re.sub(":.*", "", str(warning.message)) for warning in caught] == ["a.prototxt"]
    assert "ignored 1:1: unknown field 'nam' in NetParameter" in str(caught[0].message)
    assert net == text.parse_net("layer { pooling_param {} } layer { lrn_param { alpha: 1 } }")


def test_allow_unknown_still_refuses_what_does_not_parse():
    def parse(source):
        text.parse_net(source, allow_unknown=True)

    refused(parse, "bogus: 1 layer { force: 2 name: 3 }", "prototxt:1:33: name takes a quoted string, not '3'")


def test_an_escaped_byte_that_is_not_utf8():
    with pytest.raises(ParseError, match=r"^prototxt:1:13: Couldn't parse string: .*, at the end of the text$"):
        text.parse_net(r'name: "\377"')


PLACEHOLDER = "which looks like a placeholder of a template, to be filled in first"


@pytest.mark.parametrize(
    "word",
    [
        "${NUM_LABELS}",
        "$TARGET_HEIGHT",
        "$(N)",
        "{{ n }}",
        "{{n|default('}')}}",
        "{% n %}",
        "<% n %>",
        "<<NAME>>",
        "<NAME>",
        "{n}",
        "{}",
        "%(n)s",
        "%.2f",
        "@N@",
        "__N__",
        "NUM_LABELS",
        "$ROOT/sizes.txt",
    ],
)
@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ("layer { inner_product_param { num_output: ", " } }", "num_output takes a whole number"),
        ("layer { inner_product_param { axis: 1 num_output:", "\n} }", "num_output takes a whole number"),
        ("layer { batch_norm_param { eps: ", ", } }", "eps takes a number"),
        ("layer { reshape_param { shape { dim: [0, ", "] } } }", "dim takes a whole number"),
        ("layer { data_param { source: ", " } }", "source takes a quoted string"),
    ],
)
def test_a_placeholder_in_place_of_a_value(word, before, after, wanted):
    message = f"prototxt:1:{len(before) + 1}: {wanted}, not {word!r}, {PLACEHOLDER}"
    refused(text.parse_net, before + word + after, message)


@pytest.mark.parametrize("word", ["${POOL}", "{{ pool }}", "<POOL>"])
def test_a_placeholder_in_place_of_a_name(word):
    refused(
        text.parse_net,
        f"layer {{ pooling_param {{ pool: {word} }} }}",
        f"prototxt:1:31: pool takes a name, not {word!r}, {PLACEHOLDER}",
    )


def test_all_placeholders_are_listed_at_once():
    source = "name: ${NAME}\nlayer { nam: 1 inner_product_param { num_output: $N bias_term: @B@ } }"
    refused(
        text.parse_net,
        source,
        f"prototxt:1:7: name takes a quoted string, not '${{NAME}}', {PLACEHOLDER}; "
        "2:9: unknown field 'nam' in LayerParameter, did you mean name?; "
        f"2:50: num_output takes a whole number, not '$N', {PLACEHOLDER}; "
        f"2:64: bias_term takes true or false, not '@B@', {PLACEHOLDER}",
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("${LAYERS}", f"1:1: expected a field, found '${{LAYERS}}', {PLACEHOLDER}"),
        ("layer {\n  {{ body }}\n}", f"2:3: expected a field or '}}', found '{{{{ body }}}}', {PLACEHOLDER}"),
        ("layer {{ name: 'a' }}", f"1:7: expected '{{', found \"{{{{ name: 'a' }}}}\", {PLACEHOLDER}"),
        (
            "layer { multi_stage_meanfield_param { axis: $A } }",
            f"1:45: expected '}}', found '$A', {PLACEHOLDER}",
        ),
    ],
)
def test_a_placeholder_elsewhere(source, message):
    refused(text.parse_net, source, f"prototxt:{message}")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "layer { name: Conv1 }",
            'prototxt:1:15: name takes a quoted string: name: "Conv1" '
            "(the dialect of MyCaffe, without quotes, is not read)",
        ),
        ("force_backward: TRUE", "prototxt:1:17: force_backward takes true or false, not 'TRUE'"),
        (
            "layer { pooling_param { pool: MEDIAN } }",
            "prototxt:1:25: unknown value MEDIAN of pool in PoolingParameter; "
            "allow_unknown=True (--allow-unknown) ignores unknown fields and values",
        ),
        (
            "layer { include {TRAIN} }",
            "prototxt:1:23: expected a value, found '}'",
        ),
        (
            "layer { type: ROI_WARPING }",
            'prototxt:1:15: type takes a quoted string: type: "ROI_WARPING" '
            "(the dialect of MyCaffe, without quotes, is not read)",
        ),
    ],
)
def test_what_is_no_placeholder(source, message):
    refused(text.parse_net, source, message)


SETTLE = "is a conflict marker of git: keep one of the two sides and remove the markers"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("source", "place", "marker"),
    [
        ('<<<<<<< HEAD\nname: "a"\n=======\nname: "b"\n>>>>>>> b\n', "1:1", "<<<<<<< HEAD"),
        ('layer {\n<<<<<<< HEAD\n  name: "a"\n=======\n  name: "b"\n>>>>>>> b\n}', "2:1", "<<<<<<< HEAD"),
        ('layer {\n  name:\n<<<<<<< HEAD\n  "a"\n=======\n  "b"\n>>>>>>> b\n}', "3:1", "<<<<<<< HEAD"),
        ('layer { name: "a"\n=======\n type: "ReLU" }', "2:1", "======="),
        ('layer { name: "a"\n>>>>>>> 12ab (b)\n type: "ReLU" }', "2:1", ">>>>>>> 12ab (b)"),
        ("layer { name\n||||||| base\n }", "2:1", "||||||| base"),
        ("layer {\n<<<<<<< HEAD\n}", "2:1", "<<<<<<< HEAD"),
        ("layer { reshape_param { shape { dim: [1\n<<<<<<< HEAD\n, 2] } } }", "2:1", "<<<<<<< HEAD"),
    ],
)
def test_conflict_markers_of_git(source, place, marker, newline):
    refused(text.parse_net, source.replace("\n", newline), f"prototxt:{place}: {marker!r} {SETTLE}")


def test_signs_that_mark_no_conflict():
    refused(text.parse_net, f"# \n#=======\n# =======\n{RELU}\n==========", "prototxt:5:1: expected a field, found '='")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('layer { name: "a"\nlayer { name: "b" }', "2:1: a '}' is missing before 'layer': the 'layer' of line 1"),
        ('layers { name: "a"\n\nlayers { name: "b" }', "3:1: a '}' is missing before 'layers': the 'layers' of line 1"),
        (
            'name: "n"\nlayer {\n  convolution_param {\n    num_output: 2\n  }\nlayer: { name: "b" }',
            "6:1: a '}' is missing before 'layer': the 'layer' of line 2",
        ),
        (
            'layer {\n  convolution_param {\n    num_output: 2\nlayer { name: "b" }',
            "4:1: 2 '}' are missing before 'layer': the 'layer' of line 1",
        ),
        (
            'layer { python_param { module: "m" layer: "L"\n}\nlayer { name: "b" }',
            "3:1: a '}' is missing before 'layer': the 'layer' of line 1",
        ),
        (
            'layer { python_param { module: "m"\n\nlayer { name: "b" }',
            "3:1: 2 '}' are missing before 'layer': the 'layer' of line 1",
        ),
        (
            'layers { layer { name: "a" type: "relu" }\nlayers { layer { name: "b" type: "relu" } }',
            "2:1: a '}' is missing before 'layers': the 'layers' of line 1",
        ),
        (
            'input: "x"\ninput_shape { dim: 2\nlayer { name: "b" }',
            "3:1: a '}' is missing before 'layer': the 'input_shape' of line 2",
        ),
        (
            'layer { moe_param { gating_net {\nlayer { name: "a"\nlayer { name: "b" }\n} } }',
            "3:1: a '}' is missing before 'layer': the 'layer' of line 2",
        ),
    ],
)
def test_a_missing_brace_before_a_layer(source, message):
    for allow in (False, True):
        with pytest.raises(ParseError) as caught:
            text.parse_net(source, allow_unknown=allow)
        assert str(caught.value) == f"prototxt:{message} is not closed"
        assert not isinstance(caught.value, UnknownFieldError)


def test_all_missing_braces_are_listed_at_once():
    refused(
        text.parse_net,
        'layer { name: "a"\nlayer { name: "b" tipe: 1\nlayer { name: "c" }\nnam: "n"',
        "prototxt:2:1: a '}' is missing before 'layer': the 'layer' of line 1 is not closed; "
        "2:19: unknown field 'tipe' in LayerParameter, did you mean type?; "
        "3:1: a '}' is missing before 'layer': the 'layer' of line 2 is not closed; "
        "4:1: unknown field 'nam' in NetParameter, did you mean name?",
    )


def test_a_layer_in_a_layer_is_not_ignored():
    for allow in (False, True):
        with pytest.raises(ParseError) as caught:
            text.parse_net('layer { name: "a" layer { name: "b" } }', allow_unknown=allow)
        wanted = "prototxt:1:19: a '}' is missing before 'layer': the 'layer' of line 1 is not closed; "
        assert str(caught.value) == wanted + "1:39: expected a field, found '}'"


@pytest.mark.parametrize(
    "source",
    [
        'layers { layer { name: "a" type: "relu" } bottom: "x" top: "x" }',
        'layer { name: "a" type: "Python" python_param { module: "m" layer: "L" } }',
        'layer { name: "a" moe_param { gating_net { layer { name: "b" type: "ReLU" } } } }',
    ],
)
def test_layers_where_they_may_stand(source):
    """A field that is unknown makes the scan walk over them."""
    with pytest.warns(CaffeWarning, match="ignored 1:1: unknown field 'bogus' in NetParameter"):
        assert text.parse_net(f"bogus: 1 {source}", allow_unknown=True) == text.parse_net(source)


def test_a_layer_in_a_solver():
    layer = 'layer { name: "a" type: "ReLU" }'
    with pytest.warns(CaffeWarning, match="ignored 1:1: unknown field 'bogus' in SolverParameter"):
        text.parse_solver(f"bogus: 1 net_param {{ {layer} }}", allow_unknown=True)
    refused(
        text.parse_solver,
        f"net_param {{ {layer}\n layer {{ name: 'b'\n {layer} }}",
        "prototxt:3:2: a '}' is missing before 'layer': the 'layer' of line 2 is not closed",
    )
    refused(text.parse_solver, layer, "prototxt: this is a net (it has layer), and a solver is wanted")


def test_a_solver_is_no_net_and_a_net_is_no_solver():
    for options in ({}, {"allow_unknown": True}):
        with pytest.raises(ParseError, match=r"x: this is a solver \(it has base_lr, net\), and a net is wanted$"):
            text.parse_net('base_lr: 0.1 net: "n"', path="x", **options)
        with pytest.raises(ParseError, match=r"x: this is a net \(it has name, layer\), and a solver is wanted$"):
            text.parse_solver(f'name: "n" {RELU}', path="x", **options)


def test_deep_nesting_is_an_error():
    depth = sys.getrecursionlimit()
    for opening in ("layer { moe_param { gating_net {", "bogus {"):
        with pytest.raises(ParseError, match=r"^prototxt:"):
            text.parse_net(opening * depth)
        closing = " }" * opening.count("{")
        with pytest.raises(ParseError, match=r"^prototxt:"):
            text.parse_net(opening * depth + closing * depth)


@pytest.mark.parametrize(("name", "reason"), [("missing", "no such file or directory"), ("", "is a directory")])
def test_files_that_cannot_be_read(tmp_path, name, reason):
    for read in (text.read_net, text.read_solver):
        with pytest.raises(CaffeError, match=f"{re.escape(str(tmp_path / name))}: cannot be read: {reason}$"):
            read(tmp_path / name)


# ---- what real files have


def test_empty_text_is_an_empty_message():
    assert text.parse_net("") == NetParameter()
    assert text.parse_solver(" # nothing\n") == SolverParameter()


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + RELU.encode(),
        b"# \xb5\xda\xd2\xbb\xb2\xe3 {\r\n" + RELU.encode() + b"\r\n",  # GBK
        b"# caf\xe9\n" + RELU.encode(),  # Latin-1
        "# 第一层\n".encode() + RELU.encode(),
        RELU.encode("utf-16"),
        b"# a bell \x07" + b" " * 200 + b"\n" + RELU.encode(),
        RELU.replace(" ", "\r\n\t").encode(),
    ],
)
def test_bytes_of_all_kinds(tmp_path, content):
    assert text.read_net(save(tmp_path, content)) == text.parse_net(RELU)


def test_a_backslash_of_windows():
    net = text.parse_net(r'layer { name: "D:\data\\train \"x\" \101" }')
    assert net.layer[0].name == r'D:\data\train "x" A'
    assert text.parse_net(text.to_text(net)) == net


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"C:\Users\me", r"C:\Users\me"),
        (r"\users\xylo\Xray", r"\users\xylo\Xray"),
        (r"\X41\x41\u0041\U00000041\u12", r"AAAA\u12"),
        (r"\\X41\\u0041", r"\X41\u0041"),
    ],
)
def test_escapes_without_their_digits_stand_for_themselves(written, read):
    net = text.parse_net(f'layer {{ name: "{written}" }}')
    assert net.layer[0].name == read
    assert text.parse_net(text.to_text(net)) == net


def test_byte_order_mark_in_a_string():
    assert text.parse_net("\ufeff" + RELU) == text.parse_net(RELU)


@pytest.mark.parametrize(
    ("spaced", "value"),
    [("- 0.5", -0.5), ("-\t.5", -0.5), ("-\n  # why\n 5e-1f", -0.5), ("- inf", float("-inf")), ("- 0", 0.0)],
)
def test_a_minus_apart_from_its_number(spaced, value):
    """As protobuf's parser in C++, and so the original, reads it."""
    fields = f"power_param {{ shift: {spaced} power: 2 }} slice_param {{ axis: - 1 }}"
    (layer,) = text.parse_net(f"layer {{ {fields} reshape_param {{ shape {{ dim: [0, - 1] }} }} }}").layer
    assert (layer.power_param.shift, layer.power_param.power, layer.slice_param.axis) == (value, 2, -1)
    assert list(layer.reshape_param.shape.dim) == [0, -1]
    with pytest.warns(CaffeWarning, match="ignored 1:9: unknown field 'bogus' in LayerParameter"):
        (other,) = text.parse_net(f"layer {{ bogus: {spaced} {fields} }}", allow_unknown=True).layer
    assert other.power_param == layer.power_param


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("layer { slice_param { axis: - 0.5 } }", "1:29: axis takes a whole number, not '-0.5'"),
        ("layer { name: - 5 }", "1:15: name takes a quoted string, not '-5'"),
        (
            "layer { power_param { shift: - -5 } }",
            "1:30: shift takes a number, not '-'; 1:32: expected a field or '}', found '-5'",
        ),
        (
            "layer { power_param { shift: -\nscale: 2 } }",
            "1:30: shift takes a number, not '-'",
        ),
        ("layer { power_param { shift: - 5 } lrn_param { local_size: - 3 } }", "1:60: Value out of range: -3, at '-3'"),
        ("layer { power_param { shift: - 5 } }\nname: 3", "2:7: name takes a quoted string, not '3'"),
    ],
)
def test_a_minus_that_is_wrong(source, message):
    refused(text.parse_net, source, f"prototxt:{message}")


def test_several_devices():
    solver = text.parse_solver("base_lr: 1 device_id: [2,3] max_iter: 5")
    assert (solver.device_id, list(solver.device_ids), solver.max_iter) == (2, [2, 3], 5)
    assert text.parse_solver(text.to_text(solver)) == solver


def test_strings_side_by_side_are_one():
    net = text.parse_net("name: 'a' \"b\"\n'c' layer { name: 'd' 'e' }")
    assert (net.name, net.layer[0].name) == ("abc", "de")
    mended = text.parse_net("layer { name: 'd' \"e\" 'f' type: CONVOLUTION }").layer[0]
    assert (mended.name, mended.type) == ("def", "Convolution")


def test_enum_by_number():
    mended = text.parse_net("layer { type: POOLING pooling_param { pool: 1 } }").layer[0]
    assert mended.pooling_param.pool == PoolingParameter.AVE
    assert text.parse_net("layer { phase: 1 }").layer[0].phase == 1
    assert text.parse_net("layers { type: 4 }").layer[0].type == "Convolution"


def test_a_parameter_that_nobody_published_is_kept_as_it_stands():
    source = 'layer { multi_stage_meanfield_param { axis: 2 # two\n axis: [3, 4], s < t: "a\\"b\'" > } }'
    net = text.parse_net(source)
    kept = 'axis: 2 axis: [ 3, 4 ], s < t: "a\\"b\'" >'
    assert net.layer[0].multi_stage_meanfield_param.text == kept
    assert f"multi_stage_meanfield_param {{\n    {kept}\n  }}" in text.to_text(net)
    assert text.parse_net(text.to_text(net)) == net


def test_place_of_an_error_behind_mended_text():
    source = "layer { type: CONVOLUTION multi_stage_meanfield_param { axis: 2 } lrn_param { local_size: -3 } }"
    refused(text.parse_net, source, f"prototxt:1:{source.index('-3') + 1}: Value out of range: -3, at '-3'")


# ---- binary


def test_old_binary_nets_are_upgraded(tmp_path):
    net = text_format.Parse("layers { name: 'r' type: RELU blobs { data: [1, 2] } }", NetParameter())
    (layer,) = text.read_net(save(tmp_path, net.SerializeToString())).layer
    assert (layer.type, list(layer.blobs[0].data)) == ("ReLU", [1, 2])


def test_truncated_binary(tmp_path):
    content = text.parse_net(RELU).SerializeToString()
    for length in range(3, len(content)):
        with pytest.raises(ParseError, match="neither prototxt nor a whole binary NetParameter: damaged or cut short"):
            text.read_net(save(tmp_path, content[:length]))


def test_a_string_of_a_binary_that_is_not_utf8(tmp_path):
    for tag in (b"\x0a", b"\x1a"):  # name, input
        with pytest.raises(ParseError, match="a string in it is not UTF-8"):
            text.read_net(save(tmp_path, tag + b"\x03\0\xcd\xcd"))


@pytest.mark.parametrize("content", [b"", b" \n\n"])
def test_an_empty_file_is_no_net(tmp_path, content):
    with pytest.raises(ParseError, match=r"x.prototxt: the file is empty$"):
        text.read_net(save(tmp_path, content))


def test_unknown_fields_of_a_binary_are_listed(tmp_path):
    path = save(tmp_path, b"\xa2\x06\x09\n\x01x\xa8\x46\x01\xb0\x46\x02")
    with pytest.raises(ParseError, match="unknown field number 1125 in LayerParameter; field number 1126 in Layer"):
        text.read_net(path)
    with pytest.warns(CaffeWarning, match="ignored unknown field number 1125"):
        net = text.read_net(path, allow_unknown=True)
    assert net == text.parse_net('layer { name: "x" }')


# ---- writing


def test_write_leaves_no_half_file(tmp_path, monkeypatch):
    path = save(tmp_path, b"old")
    with pytest.raises(CaffeError, match="cannot be written"):
        text.write(NetParameter(), tmp_path / "nowhere" / "x")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(CaffeError, match=r"x.prototxt: cannot be written: no space left on device"):
        text.write(NetParameter(name="n"), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("binary", [True, False])
def test_an_incomplete_message_is_not_written(tmp_path, binary):
    net = NetParameter(layer=[{"clip_param": {"min": 1}}])
    with pytest.raises(ParseError, match=r"missing layer\[0\].clip_param.max, required by the schema"):
        text.write(net, tmp_path / "x", binary=binary)
    assert not list(tmp_path.iterdir())


def test_a_large_net_parses_within_a_second():
    layer = (
        'layer {{ name: "res{i}" type: "Convolution" bottom: "res{i}" top: "res{j}" '
        "param {{ lr_mult: 1 decay_mult: 1 }} "
        "convolution_param {{ num_output: 256 kernel_size: 1 stride: 1 pad: 0 bias_term: false "
        'weight_filler {{ type: "msra" }} }} }}\n'
    )
    source = "".join(layer.format(i=i, j=i + 1) for i in range(516))
    start = time.perf_counter()
    assert len(text.parse_net(source).layer) == 516
    assert time.perf_counter() - start < 1
