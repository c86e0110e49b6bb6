"""Networks of convolutions computed with NumPy alone, in double precision: graph files, layers."""

from __future__ import annotations

import numpy as np


def evaluate(graph: dict, arrays: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Logits (N, K) of a graph file for `x` (N, C, H, W): what goes into its softmax."""
    values = {graph["info"]["input_id"]: x.astype(np.float64)}
    for op in graph["ops"]:
        inputs = [values[number] for number in op["inputs"]]
        if op["op"] == "SOFTMAX":
            return inputs[0]
        values[op["output"]] = _run(op, arrays, inputs)
    raise ValueError("the graph has no softmax")


def _run(op: dict, arrays: dict[str, np.ndarray], inputs: list[np.ndarray]) -> np.ndarray:
    if op["op"] in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        kernel = arrays[f"{op['name']}_weight"].astype(np.float64)
        assert list(kernel.shape) == op["wshape"] and op["padding"] == "SAME"
        x = same_padded(inputs[0], kernel.shape[-1], op["stride"])
        groups = kernel.shape[0] if op["op"].startswith("DEPTH") else 1
        y = convolve(x, kernel, stride=op["stride"], groups=groups)
        y = y + arrays[f"{op['name']}_bias"].astype(np.float64)[:, None, None]
        return np.clip(y, 0, 6) if op["act"] == "relu6" else y
    if op["op"] == "ADD":
        return inputs[0] + inputs[1]
    if op["op"] == "AVERAGE_POOL_2D":
        return inputs[0].mean((2, 3), keepdims=True)
    assert op["op"] == "RESHAPE"
    return inputs[0].reshape(len(inputs[0]), -1)


def same_padded(x: np.ndarray, size: int, stride: int) -> np.ndarray:
    """TensorFlow's documentation of "SAME": out = ceil(in / stride), the odd zero at the end."""
    widths = [(0, 0), (0, 0)]
    for length in x.shape[2:]:
        rest = length % stride
        total = max(size - (rest or stride), 0)
        widths.append((total // 2, total - total // 2))
    return np.pad(x, widths)


def convolve(x: np.ndarray, kernel: np.ndarray, *, stride: int = 1, groups: int = 1) -> np.ndarray:
    """(N, C, H, W) with kernel (O, C / groups, kh, kw), no padding; a loop over the kernel."""
    rows, columns = kernel.shape[2:]
    height = (x.shape[2] - rows) // stride + 1
    width = (x.shape[3] - columns) // stride + 1
    total = np.zeros((x.shape[0], kernel.shape[0], height, width))
    for row in range(rows):
        for column in range(columns):
            part = x[:, :, row : row + stride * height : stride]
            part = part[:, :, :height, column : column + stride * width : stride][..., :width]
            weight = kernel[:, :, row, column]
            if groups == 1:
                total += np.einsum("oc,nchw->nohw", weight, part, optimize=True)
            else:  # depthwise
                total += weight[:, 0, None, None] * part
    return total


def pool(x: np.ndarray, *, how: str) -> np.ndarray:
    """2 x 2 with stride 2, "max" or "mean"."""
    n, c, h, w = x.shape
    windows = x[:, :, : h // 2 * 2, : w // 2 * 2].reshape(n, c, h // 2, 2, w // 2, 2)
    return getattr(windows, how)((3, 5))


def norm(x: np.ndarray, tensors: dict[str, np.ndarray], name: str) -> np.ndarray:
    """Batch norm with stored statistics, then ReLU; names are torchvision's."""
    leaf = {
        key: tensors[f"{name}.{key}"][:, None, None]
        for key in ("weight", "bias", "running_mean", "running_var")
    }
    x = (x - leaf["running_mean"]) / np.sqrt(leaf["running_var"] + 1e-5)
    return np.maximum(x * leaf["weight"] + leaf["bias"], 0)


def densenet(tensors: dict[str, np.ndarray], x: np.ndarray, *, blocks: tuple) -> np.ndarray:
    """Features (N, D, h, w) of a DenseNet-BC (Huang et al. 2017, section 3 and table 1)."""
    x = convolve(np.pad(x, [(0, 0), (0, 0), (3, 3), (3, 3)]), kernel(tensors, "conv0"), stride=2)
    x = np.pad(norm(x, tensors, "features.norm0"), [(0, 0), (0, 0), (1, 1), (1, 1)])
    corners = [
        x[:, :, i : x.shape[2] - 2 + i : 2, j : x.shape[3] - 2 + j : 2]
        for i in range(3)
        for j in range(3)
    ]
    x = np.max(
        [corner[:, :, : x.shape[2] // 2 - 1, : x.shape[3] // 2 - 1] for corner in corners], 0
    )
    for block, count in enumerate(blocks, start=1):
        outputs = [x]
        for layer in range(1, count + 1):
            name = f"denseblock{block}.denselayer{layer}"
            y = norm(np.concatenate(outputs, 1), tensors, f"features.{name}.norm1")
            y = convolve(y, kernel(tensors, f"{name}.conv1"))
            y = norm(y, tensors, f"features.{name}.norm2")
            y = np.pad(y, [(0, 0), (0, 0), (1, 1), (1, 1)])
            outputs.append(convolve(y, kernel(tensors, f"{name}.conv2")))
        x = np.concatenate(outputs, 1)
        if block < len(blocks):
            x = norm(x, tensors, f"features.transition{block}.norm")
            x = pool(convolve(x, kernel(tensors, f"transition{block}.conv")), how="mean")
    return norm(x, tensors, "features.norm5")


def kernel(tensors: dict[str, np.ndarray], name: str) -> np.ndarray:
    return tensors[f"features.{name}.weight"]


def vggish(tensors: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Map (N, D, f, m) after the sixth convolution; positions as in torchvggish's list."""
    for number in (0, 3, 6, 8, 11, 13):
        if number in (3, 6, 11):
            x = pool(x, how="max")
        x = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
        x = convolve(x, tensors[f"features.{number}.weight"])
        x = np.maximum(x + tensors[f"features.{number}.bias"][:, None, None], 0)
    return x
