#!/usr/bin/env bash
# openvino 2026.4.1, onnxruntime 1.32.0, onnx 1.23.2 (newest in December 2026)
#
# Behaviour: a network is trained elsewhere, written as ONNX, and run over a volume by OpenVINO on CPUs. Where a block is
#   empty, scaling it by its own spread gives 0 / 0, NaN.
# Guess:  NaN in, NaN out, for all that the convolutions reach, as for onnxruntime and ONNX's own reference; so a count of
#   NaN after the run finds such blocks.
# Seen:   OpenVINO's Relu takes NaN for 0, its MaxPool for the smallest number. A block of NaN through Conv, Relu, Conv and
#   Sigmoid comes out as 0.5 in every voxel, with MaxPool in place of Relu as 0 and 1; one bad voxel leaves no trace but
#   wrong numbers around it. With LeakyRelu or Elu it is NaN. No warning.
# Why it matters: a blank section becomes a slab of cell or of membrane, with a probability that passes every check; which
#   one it is hangs on a layer of the network.
# Source: ONNX operators Relu and MaxPool, by the reference evaluator; openvinotoolkit/openvino issue 35649.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cat > block.py <<'PY'
import sys
import warnings
from importlib.metadata import version

sys.modules["openvino_telemetry"] = None  # it would report the run
import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import openvino  # noqa: E402
from onnx import helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

warnings.simplefilter("error")
SHAPE = (1, 1, 12, 12, 12)
layers = {
    "Relu": {},
    "MaxPool": {"kernel_shape": [2] * 3, "strides": [2] * 3},
    "LeakyRelu": {"alpha": 0.1},
    "Elu": {},
}


def write(name):
    """A network of four layers, the second of them `name`."""
    rng = np.random.default_rng(0)
    shapes = {"w": (4, 1, 3, 3, 3), "v": (1, 4, 3, 3, 3)}
    weights = [numpy_helper.from_array(rng.normal(0, 0.3, s).astype(np.float32), key) for key, s in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 6),
        helper.make_node(name, ["a"], ["b"], **layers[name]),
        helper.make_node("Conv", ["b", "v"], ["c"], pads=[1] * 6),
        helper.make_node("Sigmoid", ["c"], ["y"]),
    ]
    side = (6, 6, 6) if name == "MaxPool" else SHAPE[2:]
    ends = [
        helper.make_tensor_value_info(k, onnx.TensorProto.FLOAT, s) for k, s in (("x", SHAPE), ("y", (1, 1, *side)))
    ]
    graph = helper.make_graph(nodes, name, ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, f"{name}.onnx")


def run(name, block):
    """The answers of ONNX's reference, of onnxruntime and of OpenVINO."""
    session = onnxruntime.InferenceSession(f"{name}.onnx", providers=["CPUExecutionProvider"])
    compiled = openvino.Core().compile_model(f"{name}.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    reference = ReferenceEvaluator(f"{name}.onnx").run(None, {"x": block})[0]
    return reference, session.run(None, {"x": block})[0], compiled(block)[0]


if __name__ == "__main__":
    print(*(f"{name} {version(name)}" for name in ("openvino", "onnxruntime", "onnx", "numpy")))
    good = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    spot = good.copy()
    spot[0, 0, 6, 6, 6] = np.nan
    print("guess: all three NaN in the same voxels (of a block of NaN, around one NaN)")
    seen = {}
    for name in layers:
        write(name)
        reference, *others = run(name, good)
        assert all(np.allclose(reference, other, atol=1e-5) for other in others)
        blank, around = run(name, np.full(SHAPE, np.nan, np.float32)), run(name, spot)
        assert all(np.isnan(answer).all() for answer in blank[:2])
        assert all(np.isnan(answer).any() for answer in around[:2])
        values = [round(float(value), 3) for value in np.unique(blank[2])]
        seen[name] = ("NaN" if np.isnan(values).all() else values, int(np.isnan(around[2]).sum()))
        print(f"seen:  {name}: OpenVINO: block of NaN {seen[name][0]}, NaN around one {seen[name][1]}", end=", ")
        print("reference and onnxruntime: NaN,", *(int(np.isnan(answer).sum()) for answer in around[:2]))
    recorded = {"Relu": ([0.5], 0), "MaxPool": ([0.0, 1.0], 0), "LeakyRelu": ("NaN", 125), "Elu": ("NaN", 125)}
    if seen != recorded:
        sys.exit(f"this differs from what is recorded: {recorded}")
PY
env/bin/python block.py 2>err.txt || { cat err.txt >&2; exit 1; }
