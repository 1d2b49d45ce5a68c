"""recurrent.json and recurrent.safetensors: recurrent layers and cells, their outputs, states and gradients."""

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import common
from common import randn, t

LAYERS = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
CELLS = {"rnn_cell": torch.nn.RNNCell, "lstm_cell": torch.nn.LSTMCell, "gru_cell": torch.nn.GRUCell}


def parameters(module):
    return {k: randn(*p.shape) * 0.5 for k, p in module.named_parameters()}


def case(r, op, x, tag, state=False, lengths=None, dtype=torch.float64, **a):
    args = {"input_size": x[-1], "hidden_size": 3, **a}
    layer = LAYERS[op](**args).to(dtype)
    ins = {"input": randn(*x)}
    names = ["h_0", "c_0"] if op == "lstm" else ["h_0"]
    if state:
        count = a.get("num_layers", 1) * (2 if a.get("bidirectional") else 1)
        batch = [] if len(x) == 2 else [x[0 if a.get("batch_first") else 1]]
        for n in names:
            size = a["proj_size"] if n == "h_0" and "proj_size" in a else 3
            ins[n] = randn(count, *batch, size)
    first = len(ins)
    ins.update(parameters(layer))
    ins = {k: v.to(dtype) for k, v in ins.items()}
    if lengths:
        ins["lengths"] = t(lengths, torch.int64)
    keys = [k for k in ins if k != "lengths"]

    def run(*xs):
        params = dict(zip(keys[first:], xs[first:]))
        h = xs[1:first]
        h = (h[0] if len(h) == 1 else tuple(h)) if state else None
        y = xs[0]
        if lengths:
            y = pack_padded_sequence(y, xs[-1], batch_first=a.get("batch_first", False), enforce_sorted=False)
        y, h = torch.func.functional_call(layer, params, (y, h))
        if lengths:
            y, _ = pad_packed_sequence(y, batch_first=a.get("batch_first", False),
                                       total_length=x[1 if a.get("batch_first") else 0])
        return (y, *h) if op == "lstm" else (y, h)

    r.case(op, run, ins, args, tag=tag, no_grad=("lengths",))


def layers(r):
    r.seed("recurrent", 1001)
    for op in LAYERS:
        case(r, op, (4, 2, 2), "plain")
        case(r, op, (4, 2, 2), "no_bias", bias=False)
        case(r, op, (4, 2), "unbatched", state=True)
        case(r, op, (2, 4, 2), "batch_first", state=True, batch_first=True)
        case(r, op, (3, 2, 2), "deep", state=True, num_layers=2, bidirectional=True)
        case(r, op, (4, 3, 2), "lengths", state=True, lengths=[2, 4, 1], bidirectional=True)
        case(r, op, (3, 4, 2), "lengths_deep", lengths=[1, 3, 4], num_layers=2, bidirectional=True, batch_first=True)
        case(r, op, (6, 2, 2), "f32", state=True, dtype=torch.float32)
    case(r, "rnn", (4, 2, 2), "relu", state=True, nonlinearity="relu", bidirectional=True)
    case(r, "lstm", (4, 2, 2), "proj", proj_size=2)
    case(r, "lstm", (4, 3, 2), "proj_all", state=True, proj_size=2, num_layers=2, bidirectional=True,
         lengths=[4, 1, 3])


def cells(r):
    r.seed("recurrent", 1002)
    for op, kind in CELLS.items():
        for tag, x, state, a in (("plain", (2, 2), True, {}), ("zero_state", (2, 2), False, {}),
                                 ("unbatched", (2,), True, {}), ("no_bias", (2, 2), True, {"bias": False})):
            if op == "rnn_cell" and tag == "no_bias":
                a = {**a, "nonlinearity": "relu"}
            args = {"input_size": 2, "hidden_size": 3, **a}
            cell = kind(**args).double()
            ins = {"input": randn(*x)}
            if state:
                for n in ["h_0", "c_0"] if op == "lstm_cell" else ["h_0"]:
                    ins[n] = randn(*x[:-1], 3)
            first = len(ins)
            ins.update(parameters(cell))
            keys = list(ins)

            def run(*xs, cell=cell, first=first, keys=keys):
                h = xs[1:first]
                h = (h[0] if len(h) == 1 else tuple(h)) if len(h) else None
                return torch.func.functional_call(cell, dict(zip(keys[first:], xs[first:])), (xs[0], h))

            r.case(op, run, ins, args, tag=tag)


def main():
    r = common.Recorder()
    layers(r)
    cells(r)
    common.write_tensors("recurrent.safetensors", r.tensors)
    common.write_json("recurrent.json", {"versions": common.versions()}, "cases", r.cases)
    print(f"recurrent: {len(r.cases)} cases")


if __name__ == "__main__":
    main()
