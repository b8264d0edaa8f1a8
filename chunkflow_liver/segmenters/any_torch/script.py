"""What a TorchScript file would do, read from its source before torch sees it.

TorchScript runs no Python, but it has operations that write, map and load files, and a file runs some of its
code while it is loaded. Only operations on tensors and numbers are let through without `allow_code`.
"""

from __future__ import annotations

import ast
import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from chunkflow_liver.errors import ModelSecurityError

MOST_SOURCE_BYTES = 1 << 24

_OPERATIONS = """
    _adaptive_avg_pool2d _adaptive_avg_pool3d _convolution _native_multi_head_attention
    _transformer_encoder_layer_fwd _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact1d
    _upsample_nearest_exact2d _upsample_nearest_exact3d __and__ __contains__ __derive_index __getitem__ __is__
    __isnot__ __not__ __or__ __range_length abs abs_ adaptive_avg_pool1d adaptive_avg_pool2d
    adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d add add_ addmm all amax
    amin any append arange argmax argmin as_tensor avg_pool1d avg_pool2d avg_pool3d baddbmm batch_norm
    bitwise_and bitwise_not bitwise_or bmm Bool cat ceil celu chunk clamp clamp_ clamp_max clamp_min clone
    concat constant_pad_nd contiguous conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d
    copy_ cos cumsum detach dict dim div div_ dropout dropout_ einsum elu elu_ empty_like eq exp expand
    expand_as extend feature_dropout fill_ flatten flip Float floor floor_divide floordiv format full
    full_like gather ge gelu gelu_ glu group_norm gt hardsigmoid hardsigmoid_ hardswish hardswish_ hardtanh
    hardtanh_ index index_select insert instance_norm Int IntImplicit is_floating_point is_grad_enabled
    items keys layer_norm le leaky_relu leaky_relu_ len linear list log log_softmax logical_and logical_not
    logical_or lt masked_fill masked_fill_ masked_select matmul max max_pool1d max_pool2d
    max_pool3d maximum mean meshgrid min minimum mish mish_ mm mul mul_ narrow ne neg new_zeros norm
    numel ones ones_like pad permute pixel_shuffle pow prelu prod reciprocal reflection_pad1d
    reflection_pad2d reflection_pad3d relu relu6 relu6_ relu_ remainder repeat repeat_interleave
    replication_pad1d replication_pad2d replication_pad3d reshape rms_norm roll round rsqrt rsub
    scaled_dot_product_attention select selu selu_ sigmoid sigmoid_ sign silu silu_ sin size slice softmax
    softplus split split_with_sizes sqrt square squeeze stack std str sub sub_ sum t tanh tanh_
    tensor_split threshold to topk transpose type_as unbind unflatten unsqueeze upsample_bicubic2d
    upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d
    upsample_trilinear3d values var view view_as warn where zeros zeros_like tensor
"""
_PRIM = """
    NumToTensor RaiseException data device dtype is_cuda is_nested layout max min requires_grad shape type
    unchecked_cast unchecked_unwrap_optional
"""
_NAMES = "annotate bool float getattr int isinstance len list range str tuple unchecked_cast uninitialized"

OPERATIONS = frozenset(_OPERATIONS.split())
"""Operations of the namespace `torch` in a file: they take and give tensors, numbers, lists and texts."""
PRIM = frozenset(_PRIM.split())
"""Operations of the namespace `ops.prim`."""
NAMES = frozenset(_NAMES.split())
"""Functions without a namespace."""
TYPES = frozenset(["Tensor", "device", "dtype", "layout", "memory_format"])
STORED = re.compile(
    r"__torch__[\w.]* \w+|torch\._utils _rebuild_(tensor_v2|parameter)|collections OrderedDict"
    r"|torch\.jit\._pickle (build_\w+list|restore_type_tag)|torch \w+Storage|torch device"
)
"""What the stored attributes of a file may name, as 'module name'."""
CUSTOM = "torch.classes"


def check_script(path: Path) -> None:
    """Refuse a TorchScript file that does something else than calculate; nothing of it is run.

    Parameters
    ----------
    path : Path
        A zip archive.

    Raises
    ------
    ModelSecurityError
        Names what is not on the list.
    """
    found: set[str] = set()
    with zipfile.ZipFile(path) as archive:
        sources = []
        for info in archive.infolist():
            name = info.filename.lower()
            if name.endswith(".py"):
                if info.file_size > MOST_SOURCE_BYTES:
                    raise _refusal(path, {f"{info.filename}, which has {info.file_size} bytes"})
                sources.append(archive.read(info))
            elif name.endswith(("data.pkl", "constants.pkl")):
                found |= set(_foreign(archive.read(info)))
    trees = []
    for source in sources:
        try:
            trees.append(ast.parse(source.decode()))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as err:
            raise _refusal(path, {f"source that cannot be read ({err})"}) from err
    defined = {n.name for tree in trees for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    for tree in trees:
        found |= set(_doubtful(tree, defined))
    if found:
        raise _refusal(path, found)


def _refusal(path: Path, found: set[str]) -> ModelSecurityError:
    names = sorted(found)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ModelSecurityError(
        f"{path} asks for {', '.join(names[:5])}{more}, which is not on the list of what a TorchScript file "
        "may do. It was not loaded; if you know who made it and trust it, say 'allow_code: true' in the "
        "description"
    )


def _foreign(pickled: bytes) -> Iterator[str]:
    """What stored attributes name that is not on the list; the pickle is only disassembled."""
    try:
        for operation, argument, _ in pickletools.genops(pickled):
            if operation.name in ("GLOBAL", "INST") and (
                CUSTOM in str(argument) or not STORED.fullmatch(str(argument))
            ):
                yield repr(str(argument).replace(" ", "."))
            elif operation.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4", "OBJ", "NEWOBJ_EX"):
                yield f"the pickle operation {operation.name}"
    except ValueError as err:
        yield f"a pickle that cannot be read ({err})"


def _doubtful(tree: ast.Module, defined: set[str]) -> Iterator[str]:
    """Everything in a source file that is not on the lists."""
    inner = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    local = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (repr(n) for n in names if n.partition(".")[0] != "__torch__")
        elif isinstance(node, ast.Attribute) and id(node) not in inner:
            chain = _chain(node)
            if chain and not _is_listed(chain):
                yield repr(chain)
        elif (
            isinstance(node, ast.Name) and node.id in ("torch", "ops", "__torch__") and id(node) not in inner
        ):
            yield repr(node.id)
        if isinstance(node, ast.Call):
            yield from _called(node.func, defined, local)
        if isinstance(node, ast.Name | ast.Attribute | ast.Constant) and CUSTOM in ast.unparse(node):
            yield repr(CUSTOM)


def _called(function: ast.expr, defined: set[str], local: set[str]) -> Iterator[str]:
    if isinstance(function, ast.Name):
        # A local name stands for something of this file, or for what is looked at where it is assigned.
        if function.id not in NAMES | local:
            yield repr(function.id)
    elif isinstance(function, ast.Attribute):
        if _chain(function).partition(".")[0] in ("torch", "ops", "__torch__"):
            return
        # A method: one of this file. A name that is an operation too may be called on a tensor.
        name = function.attr
        if name not in OPERATIONS and (name not in defined or _is_operation(name)):
            yield repr(f".{name}")
    else:
        yield repr(ast.unparse(function)[:60])


def _chain(node: ast.expr) -> str:
    """'torch.nn.x' of nested attributes of a name; '' of anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def _is_listed(chain: str) -> bool:
    root, _, rest = chain.partition(".")
    if root == "torch":
        return rest in OPERATIONS or rest in TYPES
    if root == "ops":
        space, _, name = rest.partition(".")
        return space == "prim" and name in PRIM
    return CUSTOM not in chain


def _is_operation(name: str) -> bool:
    """Whether torch has an operation of that name; what networks call their own methods it has not."""
    if re.fullmatch(r"forward\d*", name):
        return False
    import torch

    return bool(torch._C._jit_get_schemas_for_operator(f"aten::{name}"))
