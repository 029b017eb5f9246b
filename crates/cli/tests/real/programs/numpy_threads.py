"""Holds MIB of checked memory; threads write at every tick. `ping` asks for the ticks, `check` for the memory."""
import hashlib, socket, sys, threading, time
import numpy as np

words = int(sys.argv[1]) << 17
memory = np.zeros(words, dtype=np.uint64)
memory[: words // 4] = np.random.default_rng(1).integers(0, 2**63, words // 4, dtype=np.uint64)
memory[words // 2 :] = np.arange(words - words // 2, dtype=np.uint64) // 7
written = np.zeros((3, 4096), dtype=np.uint64)
ticks = [0, 0, 0]


def digest():
    return hashlib.sha256(memory).digest()


def write(thread):
    while True:
        written[thread][ticks[thread] % 4096] += 1
        ticks[thread] += 1
        time.sleep(0.002)


want = digest()
for thread in range(3):
    threading.Thread(target=write, args=(thread,), daemon=True).start()
listener = socket.create_server(("127.0.0.1", 0))
print("ready", listener.getsockname()[1], flush=True)
for line in sys.stdin:
    if line == "ping\n":
        print("ticks", sum(ticks), flush=True)
    else:
        lost = any(int(written[t].sum()) not in (n, n + 1) for t, n in enumerate(list(ticks)))
        print("wrong" if lost or digest() != want else "right", flush=True)
