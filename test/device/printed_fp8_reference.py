"""The printed model as an FP8 checkpoint, by refmodel.py in float64 and float32 on one card: how far the reference is from itself.

usage: printed_fp8_reference.py RECORD.json OUT.json
RECORD is test/oracle/reduced_seed.json: its config, its prompt and, for every mode, the ids it continued with. OUT has, per mode
and dtype, the logits of the last prompt position and of every step, all fed with the recorded ids.
"""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "oracle"))

import torch

import synthetic
from refmodel import RefModel


def weights(config, seed, device, ue8m0):
    out = {}
    for name, shape, dtype in synthetic.tensor_shapes(config):
        if synthetic.is_fp8_name(name):
            out[name], out[name + "_scale_inv"] = synthetic.torch_fp8(seed, name, shape, device, ue8m0=ue8m0)
        else:
            out[name] = synthetic.torch_tensor(seed, name, shape, torch.float32 if dtype == "f32" else torch.bfloat16, device)
    return out


@torch.no_grad()
def answers(model, prompt, ids, device):
    """Logits after the prompt, then after every recorded id."""
    out = [model.forward(torch.tensor(prompt, device=device))["logits"][-1]]
    for i, token in enumerate(ids):
        out.append(model.forward(torch.tensor([token], device=device), start=len(prompt) + i)["logits"][-1])
    return [[float(v) for v in row.float().cpu()] for row in out]


def main():
    record, to = json.load(open(sys.argv[1])), sys.argv[2]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = False
    config = dict(record["config"], quantization_config={"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]})
    result = {"device": torch.cuda.get_device_name() if device == "cuda" else "cpu", "torch": torch.__version__, "modes": {}}
    for mode in ("fp8", "fp8ue8m0"):
        ue8m0 = mode == "fp8ue8m0"
        c = dict(config, quantization_config=dict(config["quantization_config"], **({"scale_fmt": "ue8m0"} if ue8m0 else {})))
        state = weights(c, record["seed"], device, ue8m0)
        ids = record["modes"][mode]["greedy_ids"][:-1]
        result["modes"][mode] = {
            name: answers(RefModel(c, state, dtype, act_fp8=True), record["input_ids"], ids, device)
            for name, dtype in (("f64", torch.float64), ("f32", torch.float32))
        }
    json.dump(result, open(to, "w"))


main()
