"""The names that scripts ask for, beside those of nets and solvers."""

import importlib
import logging
import subprocess
import sys

import pytest

from converters.run import main
from nets import console
from protos.errors import CaffeError

# What dir() says of the original's modules, without what they import for themselves.
NAMES = {
    "caffe": """AdaDeltaSolver AdaGradSolver AdamSolver Classifier Detector Layer NCCL NesterovSolver Net NetSpec
        RMSPropSolver SGDSolver TEST TRAIN Timer __version__ _caffe classifier detector get_solver has_nccl init_log io
        layer_type_list layers log net_spec params proto pycaffe set_device set_mode_cpu set_mode_gpu set_multiprocess
        set_random_seed set_solver_count set_solver_rank solver_count solver_rank to_proto""",
    "caffe._caffe": """AdaDeltaSolver AdaGradSolver AdamSolver Blob BlobVec BoolVec DtypeVec IntVec Layer LayerParameter
        LayerVec NCCL NesterovSolver Net NetVec RMSPropSolver RawBlobVec SGDSolver Solver SolverParameter StringVec
        Timer __version__ get_solver has_nccl init_log layer_type_list log set_device set_mode_cpu set_mode_gpu
        set_multiprocess set_random_seed set_solver_count set_solver_rank solver_count solver_rank""",
    "caffe.pycaffe": "AdaDeltaSolver AdaGradSolver AdamSolver NCCL NesterovSolver Net RMSPropSolver SGDSolver Timer",
    "caffe.io": """Transformer array_to_blobproto array_to_datum arraylist_to_blobprotovector_str blobproto_to_array
        blobprotovector_str_to_arraylist caffe_pb2 datum_to_array load_image np oversample resize_image""",
    "caffe.net_spec": "Function NetSpec Top _param_names assign_proto layers param_name_dict params to_proto",
    "caffe.coord_map": "coord_map_from_to crop",
    "caffe.classifier": "Classifier",
    "caffe.detector": "Detector",
    "caffe.draw": "draw_net draw_net_to_file get_pydot_graph",
    "caffe.proto.caffe_pb2": "Datum NetParameter SolverParameter TRAIN TEST Phase V1LayerParameter",
}


@pytest.mark.parametrize("module", NAMES)
def test_every_name_is_there(module, caffe):
    found = importlib.import_module(module)
    assert [name for name in NAMES[module].split() if not hasattr(found, name)] == []


def test_a_fork_s_own_modules_are_found(caffe, tmp_path, monkeypatch):
    """As SSD has caffe.model_libs in its python/caffe, which its scripts put on the path."""
    (tmp_path / "caffe").mkdir()
    (tmp_path / "caffe" / "model_libs.py").write_text("from caffe import layers as L\nmade = L.ReLU(L.Input())\n")
    with pytest.raises(ModuleNotFoundError, match=r"caffe\.model_libs"):
        importlib.import_module("caffe.model_libs")
    monkeypatch.syspath_prepend(tmp_path)
    libs = importlib.import_module("caffe.model_libs")
    assert libs.made.fn.type_name == "ReLU"
    assert sys.modules["caffe.io"] is caffe.io


def test_a_fork_s_module_is_one_however_it_is_imported(caffe, tmp_path, monkeypatch):
    (tmp_path / "caffe").mkdir()
    (tmp_path / "caffe" / "score.py").write_text("counted = []\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = {}
    exec("from caffe import score\nimport caffe.score\nsame = caffe.score is score", found)
    assert found["same"]
    with pytest.raises(ImportError, match="cannot import name 'scores'"):
        exec("from caffe import scores", {})


def test_messages_have_the_names_of_old_protobufs(caffe):
    pb = caffe.proto.caffe_pb2
    assert pb._V1LAYERPARAMETER_LAYERTYPE.values_by_number[4].name == "CONVOLUTION"
    assert pb._LAYERPARAMETER.fields_by_name["type"].name == "type"
    assert (pb._POOLINGPARAMETER_POOLMETHOD.values_by_number[0].name, pb._PHASE.name) == ("MAX", "Phase")


def test_messages_by_a_module_of_their_own(tmp_path):
    """Scripts put the folder of a ``caffe_pb2.py`` on the path, which today's protobuf would not read."""
    (tmp_path / "caffe_pb2.py").write_text("raise TypeError('Descriptors cannot be created directly')\n")
    script = tmp_path / "script.py"
    script.write_text("import caffe_pb2\nfrom caffe.proto import caffe_pb2 as own\nassert caffe_pb2 is own\n")
    assert main([str(script)]) == 0


FORKED = """
import multiprocessing, caffe, numpy as np
net = caffe.Net({path!r}, caffe.TEST)
net.forward()
def work(queue):
    child = caffe.Net({path!r}, caffe.TEST)
    queue.put(child.forward()['out'].shape)
queue = multiprocessing.get_context('fork').Queue()
process = multiprocessing.get_context('fork').Process(target=work, args=(queue,))
process.start()
print(queue.get(timeout=60))
process.join()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="it has no fork")
def test_nets_run_in_a_forked_process(tmp_path):
    (tmp_path / "net.prototxt").write_text(
        """input: "data" input_shape { dim: 8 dim: 3 dim: 64 dim: 64 }
        layer { name: "c" type: "Convolution" bottom: "data" top: "c"
            convolution_param { num_output: 32 kernel_size: 3 weight_filler { type: "xavier" } } }
        layer { name: "out" type: "InnerProduct" bottom: "c" top: "out" inner_product_param { num_output: 2 } }"""
    )
    (tmp_path / "script.py").write_text(FORKED.format(path=str(tmp_path / "net.prototxt")))
    command = [sys.executable, "-m", "converters.run", str(tmp_path / "script.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout, done.returncode) == ("(8, 2)\n", 0), done.stderr


@pytest.mark.parametrize(("level", "logged"), [("0", True), ("1", False)])
def test_a_script_s_nets_log_by_themselves(tmp_path, capsys, monkeypatch, level, logged):
    monkeypatch.setenv("GLOG_minloglevel", level)
    before = console.log.handlers[:], console.log.level, console.log.propagate
    (tmp_path / "script.py").write_text("import caffe\ncaffe.log('Solving')\n")
    assert main([str(tmp_path / "script.py")]) == 0
    assert ("] Solving\n" in capsys.readouterr().err) == logged
    assert (console.log.handlers, console.log.level, console.log.propagate) == before


def test_one_process_trains(caffe):
    caffe.set_solver_count(1)
    caffe.set_solver_rank(0)
    caffe.set_multiprocess(True)
    assert (caffe.solver_count(), caffe.solver_rank(), caffe.has_nccl()) == (1, 0, False)
    for wrong, named in (
        (lambda: caffe.set_solver_count(4), r"set_solver_count\(4\)"),
        (lambda: caffe.set_solver_rank(1), r"set_solver_rank\(1\)"),
        (caffe.NCCL.new_uid, "NCCL"),
        (lambda: caffe.NCCL(None, "uid"), "NCCL"),
    ):
        with pytest.raises(CaffeError, match=f"^caffe.{named} is not supported: train on several GPUs by python -m"):
            wrong()


def test_a_script_for_several_gpus_ends_in_a_line(tmp_path, capsys):
    script = tmp_path / "train.py"
    script.write_text("import caffe\ncaffe.NCCL.new_uid()\n")
    assert main([str(script)]) == 2
    assert capsys.readouterr().err.startswith("caffe.NCCL is not supported: train on several GPUs by ")


def test_the_log(caffe, monkeypatch, caplog):
    started = []
    monkeypatch.setattr(console, "start_log", lambda: started.append(True))
    monkeypatch.setattr(console.log, "level", logging.INFO)
    caffe.init_log(0, True)
    caffe.log("Using devices [0]")
    assert (started, caplog.messages) == ([True], ["Using devices [0]"])
    caffe.init_log(2)
    caffe.log("not this")
    assert caplog.messages == ["Using devices [0]"]
