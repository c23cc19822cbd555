// The workload of the program `chaos` by Stripe's Node SDK, with its default retries, at `inflight sim --faults chaos`.
//
//   NODE_MODULES=…/node_modules node benches/sdk/chaos.mjs URL [REQUESTS] [CONCURRENCY] [TIMEOUT_SECONDS]
//
// Ends with one line of JSON; see docs/reliability.md.
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.env.NODE_MODULES ?? join(process.cwd(), "node_modules"), "x.js"));
const module = require("stripe");
const Stripe = module.default ?? module;

const url = new URL(process.argv[2]);
const requests = Number(process.argv[3] ?? 20_000);
const concurrency = Number(process.argv[4] ?? 64);
const timeout = Number(process.argv[5] ?? 0.4) * 1000;
let attempts = 0;
const httpClient = Stripe.createNodeHttpClient();
const makeRequest = httpClient.makeRequest.bind(httpClient);
// Counts attempts, those that never arrive included.
httpClient.makeRequest = (...arguments_) => {
    attempts += 1;
    return makeRequest(...arguments_);
};
// Its retries are the SDK's default.
const settings = { host: url.hostname, port: url.port, protocol: "http", telemetry: false, timeout, httpClient };
const stripe = new Stripe("sk_test_chaos", settings);

/** For what is no part of the workload. */
async function insist(call) {
    for (;;) {
        try {
            return await call();
        } catch (error) {
            if (!(error instanceof Stripe.errors.StripeError)) throw error;
        }
    }
}

async function arrived() {
    return (await (await fetch(new URL("/_sim/stats", url))).json()).requests;
}

/** Calls for each number, so many at once. */
async function each(count, call) {
    let next = 0;
    const results = new Array(count);
    const worker = async () => {
        while (next < count) {
            const number = next++;
            results[number] = await call(number);
        }
    };
    await Promise.all(Array.from({ length: concurrency }, worker));
    return results;
}

function send(number, products) {
    const name = `s-${number}`;
    switch (number % 5) {
        case 0:
            return stripe.products.create({ name });
        case 1:
            return stripe.customers.create({ name });
        case 2:
            return stripe.coupons.create({ name, percent_off: 10, duration: "once" });
        case 3:
            return stripe.taxRates.create({ display_name: name, percentage: 7, inclusive: false });
        default:
            return stripe.products.update(products[Math.floor(number / 5)], { description: name });
    }
}

async function* listed(service, field) {
    let after = {};
    for (;;) {
        const page = await insist(() => service.list({ limit: 100, ...after }));
        for (const item of page.data) yield* [item[field], item.description];
        if (!page.has_more) return;
        after = { starting_after: page.data.at(-1).id };
    }
}

const products = await each(Math.floor(requests / 5), async (n) => (await insist(() => stripe.products.create({ name: `old-${n}` }))).id);
const before = await arrived();
attempts = 0;
const start = performance.now();
const errors = await each(requests, async (number) => {
    try {
        await send(number, products);
        return null;
    } catch (error) {
        // What is not an error of Stripe's, the caller sees all the same.
        return error instanceof Stripe.errors.StripeError ? error.type : `other: ${error.constructor.name}`;
    }
});
const wall = performance.now() - start;
const after = await arrived();
const retries = attempts - requests;

const seen = new Map();
for (const [service, field] of [
    [stripe.products, "name"],
    [stripe.customers, "name"],
    [stripe.coupons, "name"],
    [stripe.taxRates, "display_name"],
]) {
    for await (const text of listed(service, field)) {
        if (text?.startsWith("s-")) seen.set(text, (seen.get(text) ?? 0) + 1);
    }
}
const count = (test) => errors.filter((error, number) => test(error, seen.has(`s-${number}`))).length;
const kinds = {};
for (const error of errors) if (error) kinds[error] = (kinds[error] ?? 0) + 1;
console.log(
    JSON.stringify({
        sdk: `node ${Stripe.PACKAGE_VERSION}`,
        calls: requests,
        failed: count((error) => error !== null),
        failed_but_done: count((error, isDone) => error !== null && isDone),
        succeeded_but_not_done: count((error, isDone) => error === null && !isDone),
        duplicates: [...seen.values()].reduce((sum, times) => sum + times - 1, 0),
        retries,
        arrived: after - before,
        errors: kinds,
        wall_ms: Math.round(wall),
    }),
);
