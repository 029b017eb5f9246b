# What systemd's process 1 tells systemd-oomd: which groups it is to watch (io.systemd.ManagedOOM, a document ended by a zero byte).
import _socket, os, sys
path = "/run/systemd/io.system.ManagedOOM"
os.makedirs("/run/systemd/oom", exist_ok=True)
try: os.unlink(path)
except FileNotFoundError: pass
server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0)
server.bind(path)
server.listen(1)
groups = b'{"mode":"kill","path":"/","property":"ManagedOOMSwap"},{"mode":"kill","path":"/work","property":"ManagedOOMMemoryPressure"}'
kept = []
while True:
    fd, _ = server._accept()
    asker = _socket.socket(fileno=fd)
    kept.append(asker)
    sys.stderr.write("asked: %r\n" % asker.recv(4096))
    asker.send(b'{"parameters":{"cgroups":[' + groups + b']},"continues":true}\0')
