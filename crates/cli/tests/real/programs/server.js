// Holds rows that each request adds up; timers tick. Answers "right TICKS".
const rows = [];
for (let i = 0; i < 200000; i++) rows.push({ i, text: "row " + i, bytes: Buffer.alloc(64, i & 255) });
const sum = () => rows.reduce((s, row) => (s * 31 + row.i + row.text.length + row.bytes[5]) >>> 0, 0);
const want = sum();
let ticks = 0;
setInterval(() => ticks++, 5);
const server = require("http").createServer((request, response) => {
  response.end((sum() === want ? "right " : "wrong ") + ticks);
});
server.keepAliveTimeout = 0; // one connection through all rounds
server.listen(0, "127.0.0.1", () => console.log("ready " + server.address().port));
