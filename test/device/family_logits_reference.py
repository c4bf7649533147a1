"""What transformers answers to a model of the family: the other half of family-logits.ts, on the same card and the same checkpoint.

usage: family_logits_reference.py JOBS.json, a list of jobs with
  folder, config, tensors, seed   a checkpoint to write (checkpoint_torch.py)
  prompt, steps                   ids of a prompt, and how many ids to add greedily
  out                             prefix of the files written: OUT.f32 and OUT.bf16 are float32 logits [prompt + steps, vocab] (the row
                                  after the last prompt id is the first step's), OUT.json the ids and, row by row, the margin
The ids are those of the f32 model, and the bf16 model is fed them too. The margin is how far router logits must move before another
expert is chosen, the least over the layers. A line "done NAME" goes to stdout after every job. FP8 checkpoints are decoded here
(weights times scales, activations as they are), for the kernels transformers would fetch for them are not on the machine.
"""
import glob
import json
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "oracle")]

import torch
import transformers
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM

import checkpoint_torch
from refmodel import expand_scale

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
WAYS = (("f32", torch.float32), ("bf16", torch.bfloat16))


def decoded(folder, dtype):
    """Tensors of an FP8 checkpoint, its matrices as numbers of `dtype`."""
    out = {}
    for file in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
        with safe_open(file, "pt", DEVICE) as f:
            names = set(f.keys())
            for name in names:
                if name.endswith("_scale_inv"):
                    continue
                t = f.get_tensor(name)
                if name + "_scale_inv" in names:
                    n, k = t.shape
                    t = t.float() * expand_scale(f.get_tensor(name + "_scale_inv"), n, k, (128, 128))
                out[name] = t if name.endswith("e_score_correction_bias") else t.to(dtype)
    return out


def opened(job, dtype):
    """The model, every one of its tensors read from the checkpoint and every tensor of the checkpoint in it."""
    folder = job["folder"]
    how = {"dtype": dtype, "attn_implementation": "eager", "experts_implementation": "eager", "output_loading_info": True}
    if "quantization_config" in job["config"]:
        config = AutoConfig.from_pretrained(folder)
        del config.quantization_config
        own = getattr(transformers, config.architectures[0])
        model, info = own.from_pretrained(None, config=config, state_dict=decoded(folder, dtype), **how)
    else:
        model, info = AutoModelForCausalLM.from_pretrained(folder, device_map=DEVICE, **how)
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[what]:
            raise ValueError("%s: %s" % (what, sorted(info[what])[:4]))
    return model.to(DEVICE).eval()


def margins(logits, bias, top):
    """How far logits must move, row by row, before one chosen and the next change places."""
    if bias is None:
        v = logits.float().sort(-1, descending=True)[0]
        return v[:, top - 1] - v[:, top]
    score = logits.float().sigmoid()
    v, i = (score + bias.float()).sort(-1, descending=True)
    slope = (score * (1 - score)).gather(-1, i)[:, top - 1 : top + 1].sum(-1) / 2
    return (v[:, top - 1] - v[:, top]) / slope


class Routers:
    """Margins of every row that went through any router, by layer."""

    def __init__(self, model, top):
        self.layers = []
        for m in model.modules():
            if type(m).__name__.endswith("TopkRouter"):
                at = len(self.layers)
                self.layers.append([])
                m.register_forward_hook(lambda m, _in, out, at=at: self.layers[at].append(margins(out[0], getattr(m, "e_score_correction_bias", None), top)))

    def least(self):
        return torch.stack([torch.cat(rows) for rows in self.layers]).amin(0)


@torch.no_grad()
def answers(model, prompt, steps, given=None):
    """Logits of all rows; ids that were fed, which are `given` or the most likely ones."""
    out = model(input_ids=torch.tensor([prompt], device=DEVICE), use_cache=True)
    rows, cache, ids = [out.logits[0].float()], out.past_key_values, []
    for i in range(steps):
        ids.append(given[i] if given else int(rows[-1][-1].argmax()))
        out = model(input_ids=torch.tensor([[ids[-1]]], device=DEVICE), past_key_values=cache, use_cache=True)
        rows.append(out.logits[0].float())
        cache = out.past_key_values
    return torch.cat(rows), ids


def run(job):
    times = [time.time()]
    written = checkpoint_torch.write(job["folder"], job["config"], job["tensors"], job["seed"], DEVICE)
    times.append(time.time())
    about = {"bytes": written}
    for name, dtype in WAYS:
        model = opened(job, dtype)
        routers = Routers(model, job["config"]["num_experts_per_tok"])
        logits, ids = answers(model, job["prompt"], job["steps"], about.get("ids"))
        if name == "f32":
            about |= {"ids": ids, "margin": routers.least().tolist()}
        logits.cpu().numpy().tofile(job["out"] + "." + name)
        del model, routers, logits
        if DEVICE == "cuda":
            torch.cuda.empty_cache()
        times.append(time.time())
    about["seconds"] = [round(b - a, 2) for a, b in zip(times, times[1:])]
    with open(job["out"] + ".json", "w") as f:
        json.dump(about, f)


def main():
    torch.backends.cuda.matmul.allow_tf32 = False
    with open(sys.argv[1]) as f:
        jobs = json.load(f)
    for job in jobs:
        try:
            run(job)
            print("done", job["name"], flush=True)
        except Exception as e:
            print("failed", job["name"], type(e).__name__, str(e)[:400].replace("\n", " "), flush=True)


main()
