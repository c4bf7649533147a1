"""Times of transformers on the models of family-speed.ts, in the same run on the same card: the step of a static cache as a CUDA graph,
with torch.compile before it where asked, and prompts. Weights are random, so that tokens choose different experts.

usage: family_transformers.py JOB.json OUT.json; JOB has name, config, context, batches, prompts (numbers of tokens), compile (batches
to compile for; a compile takes a minute), seconds (begin nothing more after so long). Rows: model, how, batch or tokens, ms or error.
"""
import json
import os
import statistics
import sys
import tempfile
import time

import torch
from transformers import AutoConfig, AutoModelForCausalLM, StaticCache

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
REAL = ("routed_scaling_factor", "attention_dropout")
REPLAYS = 12
# Experts whose sizes the device counts, in one grouped product, or their matrices gathered for every token: the faster one counts.
EXPERTS = ("grouped_mm", "batched_mm")


def opened(config):
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump({k: float(v) if k in REAL else v for k, v in config.items() if k != "auto_map"}, f)
        made = AutoConfig.from_pretrained(folder)
    with torch.device(DEVICE):
        model = AutoModelForCausalLM.from_config(made, dtype=torch.bfloat16, attn_implementation="sdpa")
    return model.eval()


def cache_of(model, batch, context):
    """Filled with random rows: what a step takes does not depend on them."""
    cache = StaticCache(config=model.config, max_cache_len=context + 4 * REPLAYS + 16)
    # What a model caches of a token is its own affair; a call makes the room.
    model(input_ids=torch.zeros(batch, 2, dtype=torch.long, device=DEVICE), past_key_values=cache, use_cache=True, logits_to_keep=1)
    for layer in cache.layers:
        layer.keys.normal_()
        layer.values.normal_()
        layer.cumulative_length.fill_(context)
    return cache


def ms_of(f, n, graph):
    """Median milliseconds of f, or of its replays as a CUDA graph."""
    for _ in range(3):
        f()
    if graph:
        torch.cuda.synchronize()
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            f()
        f = captured.replay
        f()
    times = []
    for _ in range(n):
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        f()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        times.append((time.perf_counter() - begin) * 1000)
    return statistics.median(times)


def step_of(model, batch, context, ids):
    cache = cache_of(model, batch, context)
    length = cache.layers[0].max_cache_len
    mask = (torch.arange(length, device=DEVICE) <= context).view(1, 1, 1, length).expand(batch, 1, 1, length)
    positions = torch.full((batch, 1), context, device=DEVICE)
    return lambda: model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True)


@torch.no_grad()
def rows_of(job):
    until = time.time() + job["seconds"]
    model = opened(job["config"])
    vocab = model.config.vocab_size
    mixture = bool(job["config"].get("n_routed_experts"))

    def timed(row, f):
        if time.time() > until:
            return {**row, "error": "not reached in time"}
        try:
            return {**row, "ms": f()}
        except Exception as e:
            return {**row, "error": "%s: %s" % (type(e).__name__, str(e)[:200])}
        finally:
            if DEVICE == "cuda":
                torch.cuda.empty_cache()

    for batch in job["batches"]:
        ids = torch.randint(vocab, (batch, 1), device=DEVICE)
        for experts in EXPERTS if mixture else EXPERTS[:1]:
            # A copy of each token's experts: 35 GB a layer at 64 tokens.
            if experts == "batched_mm" and batch > 8:
                continue
            model.config._experts_implementation = experts
            how = "CUDA graph, %s" % experts if mixture else "CUDA graph"
            yield timed({"how": how, "batch": batch}, lambda: ms_of(step_of(model, batch, job["context"], ids), REPLAYS, DEVICE == "cuda"))
    model.config._experts_implementation = "grouped_mm"
    for tokens in job["prompts"]:
        ids = torch.randint(vocab, (1, tokens), device=DEVICE)
        yield timed({"how": "eager", "tokens": tokens}, lambda: ms_of(lambda: model(input_ids=ids, use_cache=True, logits_to_keep=1), 3, False))
    if job["compile"]:
        # Layers of one kind are one graph but for their number, so each is traced and all but the first of a kind come from the cache.
        torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = 256
        for layer in model.model.layers:
            layer.forward = torch.compile(layer.forward, dynamic=False)
    for batch in job["compile"]:
        ids = torch.randint(vocab, (batch, 1), device=DEVICE)
        begin = time.time()
        row = timed({"how": "torch.compile, CUDA graph", "batch": batch}, lambda: ms_of(step_of(model, batch, job["context"], ids), REPLAYS, DEVICE == "cuda"))
        yield {**row, "compile_seconds": round(time.time() - begin, 1)}


def main():
    with open(sys.argv[1]) as f:
        job = json.load(f)
    rows = []
    for row in rows_of(job):
        rows.append({"model": job["name"], **row})
        print(rows[-1], flush=True)
        with open(sys.argv[2], "w") as f:
            json.dump(rows, f)


main()
