// Makes the calls of a table with Stripe's Node SDK. Arguments: the table, the server's URL, the key.
let Stripe;
try {
    Stripe = require("stripe");
} catch (error) {
    if (error.code !== "MODULE_NOT_FOUND") throw error;
    console.log("absent");
    process.exit();
}
const [table, url, key] = process.argv.slice(2);
const { hostname, port } = new URL(url);
const stripe = new (Stripe.default ?? Stripe)(key, { host: hostname, port, protocol: "http", maxNetworkRetries: 0, telemetry: false });
const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
(async () => {
    for (const call of JSON.parse(require("fs").readFileSync(table, "utf8"))) {
        const service = call.resource.split(".").reduce((at, step) => at[camel(step)] ?? at[camel(step) + "s"], stripe);
        const method = service[call.method === "delete" && !service.delete ? "del" : camel(call.method)];
        const options = Object.fromEntries(Object.entries(call.options).map(([name, value]) => [camel(name), value]));
        try {
            await method.call(service, ...call.ids, call.params, options);
        } catch (error) {
            console.error(call, String(error));
        }
    }
    const payload = '{"id":"evt_1","object":"event","type":"a.b"}';
    // A delivery that the SDK signs and takes; we compare our own header with it.
    const header = stripe.webhooks.generateTestHeaderString({ payload, secret: "whsec_sdk", timestamp: 1700000000 });
    if (stripe.webhooks.constructEvent(payload, header, "whsec_sdk", 1e12).id !== "evt_1") throw new Error("not taken");
    console.log(header);
})();
