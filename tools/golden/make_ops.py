"""ops.safetensors and ops.json: operations, layers as functions, and losses."""

import common
import ops_binary
import ops_loss
import ops_nn
import ops_reduce
import ops_shape
import ops_unary


def main():
    r = common.Recorder()
    for family in (ops_unary, ops_binary, ops_reduce, ops_shape, ops_nn, ops_loss):
        family.run(r)
    common.write_tensors("ops.safetensors", r.tensors)
    common.write_json("ops.json", {"versions": common.versions()}, "cases", r.cases)
    print(f"ops: {len(r.cases)} cases, {len(r.tensors)} tensors, {len({c['op'] for c in r.cases})} operations")


if __name__ == "__main__":
    main()
