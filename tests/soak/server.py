# SPDX-License-Identifier: Apache-2.0
"""server.py STOP REPORT ID: a web server with threads that asks itself, numbered calls as meter makes them, and children. Ends with
status 0 when the file STOP is there; any wrong answer ends it with an exception."""
import ctypes
import http.server
import os
import subprocess
import sys
import threading
import time
import urllib.request

STOP, REPORT, ID = sys.argv[1], sys.argv[2], int(sys.argv[3])
SYS_GETPPID, MARK = 110, 0x6D657465
syscall = ctypes.CDLL(None).syscall
syscall.argtypes = [ctypes.c_long] * 4


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.path.encode() * 100)

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
made = 0
while not os.path.exists(STOP):
    for _ in range(20):
        syscall(SYS_GETPPID, made, ID, MARK)
        made += 1
    path = f"/{made}"
    answer = urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}{path}", timeout=30).read()
    assert answer == path.encode() * 100, answer[:100]
    if made % 400 == 0:
        assert subprocess.run(["sh", "-c", "echo $0", path], stdout=subprocess.PIPE, check=True).stdout == path.encode() + b"\n"
    time.sleep(0.02)
server.shutdown()
with open(REPORT, "a") as out:
    out.write(f"{ID} {made}\n")
