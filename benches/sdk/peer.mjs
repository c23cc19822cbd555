// What the program `peers` measures, by Stripe's Node SDK; started by it.
//
//   NODE_MODULES=…/node_modules node benches/sdk/peer.mjs URL IN_FLIGHT SECONDS
//
// Prints the same line of JSON as the clients in `benches/peers`.
import http from "node:http";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const require = createRequire(join(resolve(process.env.NODE_MODULES ?? "node_modules"), "x.js"));
const module = require("stripe");
const Stripe = module.default ?? module;

const url = new URL(process.argv[2]);
const inFlight = Number(process.argv[3]);
const seconds = Number(process.argv[4]);
const httpAgent = new http.Agent({ keepAlive: true });
const server = { host: url.hostname, port: url.port, protocol: "http" };
const stripe = new Stripe("sk_test_000000000000000000000000", {
    ...server,
    telemetry: false,
    timeout: 600_000,
    httpAgent,
});

/** So many places, each with one request after the other until the time has come, but at least one. */
async function wave(until) {
    let done = 0;
    const place = async () => {
        do {
            await stripe.products.create({ name: "Mug" });
            done += 1;
        } while (performance.now() < until);
    };
    await Promise.all(Array.from({ length: inFlight }, place));
    return done;
}

let begin = performance.now();
await wave(0);
const cold = performance.now() - begin;
begin = performance.now();
await wave(0);
const warm = performance.now() - begin;
const start = performance.now();
const before = process.cpuUsage();
const requests = await wave(start + seconds * 1000);
const wall = performance.now() - start;
const cpu = process.cpuUsage(before);
console.log(
    JSON.stringify({
        version: Stripe.PACKAGE_VERSION,
        requests,
        wall_s: wall / 1000,
        cpu_s: (cpu.user + cpu.system) / 1e6,
        cold_s: cold / 1000,
        warm_s: warm / 1000,
        peak_kb: process.resourceUsage().maxRSS,
    }),
);
process.exit(0);
