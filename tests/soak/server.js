// SPDX-License-Identifier: Apache-2.0
// server.js STOP: a web server that asks itself, reads files and starts children. Ends with status 0 when the file STOP is there.
"use strict";
const http = require("http");
const fs = require("fs");
const { execFile } = require("child_process");

const fail = (why) => {
  console.error(String(why));
  process.exit(1);
};
const server = http.createServer((request, response) => response.end(request.url.repeat(100)));
let round = 0;

function once() {
  if (fs.existsSync(process.argv[2])) return server.close();
  const path = `/${++round}`;
  const options = { host: "127.0.0.1", port: server.address().port, path, agent: false };
  http.get(options, (response) => {
    let text = "";
    response.on("data", (part) => (text += part));
    response.on("end", () => {
      if (text !== path.repeat(100)) fail(`wrong answer: ${text.slice(0, 100)}`);
      if (round % 20 !== 0) return setTimeout(once, 20);
      execFile("/bin/echo", [path], (error, out) => {
        if (error || out !== path + "\n") fail(error || `wrong output: ${out}`);
        fs.readFile("/etc/passwd", (bad) => (bad ? fail(bad) : setTimeout(once, 20)));
      });
    });
  }).on("error", fail);
}
server.listen(0, "127.0.0.1", once);
