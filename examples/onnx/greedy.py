"""Ids of a model that dsc exported, run by onnxruntime: python greedy.py MODEL.onnx 48 1 2 3 (48 new ids on a prompt of ids)."""
import sys

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1])
pasts = [i.name for i in session.get_inputs() if i.name.startswith("past.")]
width = session.get_inputs()[1].shape[2]
cache = {name: np.zeros((1, 0, width), np.float32) for name in pasts}
ids, said = [int(word) for word in sys.argv[3:]], []
names = [o.name for o in session.get_outputs()]
for _ in range(int(sys.argv[2])):
    out = dict(zip(names, session.run(None, {"input_ids": np.array([ids]), **cache})))
    cache = {name: out[name.replace("past", "present")] for name in pasts}
    ids = [int(out["logits"][0, -1].argmax())]
    said += ids
print(*said)
