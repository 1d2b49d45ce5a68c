"""The command line and the serving loop that the Python contenders share. The protocol is in README.md."""

import argparse
import ctypes
import json
import sys
import time

from fill import summary

WARM_UPS = 3


def keep_memory():
    """Asks glibc to keep freed memory. By default it gives large blocks back to the system at once, and then every
    operation pays for fresh pages; with it, the peers are compared at their best."""
    try:
        libc = ctypes.CDLL(None)
        m_trim_threshold, m_mmap_max, m_arena_max = -1, -4, -8  # <malloc.h>
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)
        libc.mallopt(m_arena_max, 1)
    except (OSError, AttributeError):
        pass  # not glibc


def resident():
    """Most bytes of this process that were in memory at once."""
    try:
        with open("/proc/self/status") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None  # not Linux


class Server:
    """`prepare(workload)` returns the function that is timed, `numpy(result)` its outputs as a list of arrays."""

    def __init__(self, prepare, numpy):
        self.prepare = prepare
        self.numpy = numpy
        self.ready = {}

    def made(self, workload):
        f = self.prepare(workload)
        outputs = []
        for i in range(WARM_UPS):
            result = f()
            if i in (0, WARM_UPS - 1):
                outputs += [summary(a) for a in self.numpy(result)]
        self.ready[workload] = f
        return outputs

    def answer(self, f, workload, *args):
        try:
            return {"workload": workload, **f(workload, *args)}
        except Exception as e:  # one workload that cannot run must not end the others
            return {"workload": workload, "error": f"{type(e).__name__}: {e}"[:300]}

    def check(self, workload):
        return {"outputs": self.made(workload)}

    def run(self, workload, reps):
        if workload not in self.ready:
            self.made(workload)
        f = self.ready[workload]
        ms = []
        for _ in range(reps):
            t = time.perf_counter()
            f()
            ms.append((time.perf_counter() - t) * 1e3)
        return {"ms": [round(m, 6) for m in ms], "resident": resident()}

    def line(self, words):
        match words:
            case ["CHECK", workload]:
                return self.answer(self.check, workload)
            case ["RUN", workload, reps] if reps.isdigit():
                return self.answer(self.run, workload, int(reps))
            case ["FREE", workload]:
                self.ready.pop(workload, None)
                return {"workload": workload, "freed": True}
        return {"error": "expected: CHECK <workload> | RUN <workload> <reps> | FREE <workload> | QUIT"}


def say(obj):
    print(json.dumps(obj), flush=True)


def arguments(doc, *flags):
    """The options, those of one contender included, and the command."""
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, text in flags:
        p.add_argument(flag, action="store_true", help=text)
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--return-memory", action="store_true", help="leave the allocator at its defaults")
    p.add_argument("command", choices=["setup", "serve", "first_step", "check", "run"])
    p.add_argument("rest", nargs="*")
    a = p.parse_args()
    if not a.return_memory:
        keep_memory()
    return a


def serve(a, setup, prepare, numpy):
    if a.command == "setup":
        say({**setup, "versions": {**setup["versions"], "python": sys.version.split()[0]}})
        return
    server = Server(prepare, numpy)
    match a.command:
        case "first_step":
            prepare("lenet_step")()
            say({"workload": "first_step", "done": True, "resident": resident()})
        case "check" | "run":
            say(server.line([a.command.upper(), *a.rest]))
        case _:
            for line in sys.stdin:
                words = line.split()
                if words == ["QUIT"]:
                    return
                if words:
                    say(server.line(words))
