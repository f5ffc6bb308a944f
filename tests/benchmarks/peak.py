"""Run a command; write status, seconds, CPU seconds and peak KiB as the last line of stderr."""

import os
import sys
import time

start = time.perf_counter()
pid = os.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(pid, 0)
seconds = time.perf_counter() - start
peak = usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
os.write(2, b"\n[%d, %f, %f, %d]\n" % (status, seconds, usage.ru_utime + usage.ru_stime, peak))
