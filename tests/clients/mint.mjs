#!/usr/bin/env node
// A 60-second key with nothing but Node: ./mint.mjs KEY
import http from "node:http";
import { fileURLToPath } from "node:url";

const socketPath = process.env.SIXTY_SOCKET ?? `${process.env.XDG_RUNTIME_DIR}/sixty/broker.sock`;

/** A lease: `token`, `expires_at`, `base_urls`, …; a refusal rejects. */
export function mint(key, ttl = 60) {
  return new Promise((resolve, reject) => {
    const request = http.request({ socketPath, method: "POST", path: "/v1/leases", timeout: 30_000 }, async (answer) => {
      const told = JSON.parse((await answer.setEncoding("utf8").toArray()).join(""));
      if (answer.statusCode === 201) resolve(told);
      else reject(new Error(`${told.code}: ${told.title} (request ${told.request_id})`));
    });
    request.on("timeout", () => request.destroy(new Error("the broker did not answer"))).on("error", reject);
    request.end(JSON.stringify({ key, ttl }));
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log((await mint(process.argv[2])).token);
