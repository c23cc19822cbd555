// A smoke test of a simulator by Stripe's Node SDK. Arguments: the server's URL, the key. Prints calls and resources.
const assert = require("assert");
let Stripe;
try {
    Stripe = require("stripe");
} catch (error) {
    if (error.code !== "MODULE_NOT_FOUND") throw error;
    console.log("absent");
    process.exit();
}
const [url, key] = process.argv.slice(2);
const { hostname, port } = new URL(url);
const stripe = new (Stripe.default ?? Stripe)(key, { host: hostname, port, protocol: "http", maxNetworkRetries: 0, telemetry: false });
const errors = (Stripe.default ?? Stripe).errors;
let calls = 0;
const resources = new Set();
stripe.on("request", ({ path }) => {
    calls += 1;
    resources.add(path.split("?")[0].split("/")[2]);
});

const refused = async (kind, call, fields) => {
    try {
        await call();
    } catch (error) {
        assert(error instanceof kind, `${error.constructor.name}: ${error.message}`);
        for (const [name, value] of Object.entries(fields)) assert.strictEqual(error[name], value, name);
        return error;
    }
    assert.fail(`no ${kind.name}`);
};
const all = async (list) => {
    const found = [];
    for await (const one of list) found.push(one);
    return found;
};

const catalogue = async () => {
    const product = await stripe.products.create({ name: "Mug", metadata: { order: "42" } });
    assert(product.id.startsWith("prod_") && product.metadata.order === "42");
    assert.strictEqual((await stripe.products.retrieve(product.id)).name, "Mug");
    assert.deepStrictEqual((await stripe.products.update(product.id, { metadata: { order: "" } })).metadata, {});
    const price = await stripe.prices.create({ currency: "usd", unit_amount: 1000, product: product.id });
    const monthly = await stripe.prices.create({ currency: "usd", unit_amount: 500, product: product.id, recurring: { interval: "month" } });
    const expanded = await stripe.prices.retrieve(monthly.id, { expand: ["product"] });
    assert.strictEqual(expanded.product.name, "Mug");
    for (let n = 0; n < 12; n += 1) await stripe.products.create({ name: `Cup ${n}` });
    assert.strictEqual((await all(stripe.products.list({ limit: 5 }))).length, 13);
    assert.strictEqual((await stripe.products.list({ limit: 5 }).autoPagingToArray({ limit: 8 })).length, 8);
    assert.strictEqual((await all(stripe.products.search({ query: "name~'cup'", limit: 5 }))).length, 12);
    const coupon = await stripe.coupons.create({ percent_off: 25, duration: "once" });
    const code = await stripe.promotionCodes.create({ promotion: { type: "coupon", coupon: coupon.id }, code: "SPRING" });
    const rate = await stripe.taxRates.create({ display_name: "VAT", inclusive: false, percentage: 19 });
    assert.strictEqual((await stripe.taxRates.update(rate.id, { active: false })).active, false);
    assert.strictEqual((await stripe.shippingRates.create({ display_name: "Post" })).display_name, "Post");
    return { price, monthly, code };
};

const payments = async () => {
    const customer = await stripe.customers.create({ email: "ada@example.com", name: "Ada" });
    const method = await stripe.paymentMethods.attach("pm_card_visa", { customer: customer.id });
    await stripe.customers.update(customer.id, { invoice_settings: { default_payment_method: method.id } });
    const intent = await stripe.paymentIntents.create({
        amount: 2000, currency: "usd", customer: customer.id, payment_method: method.id, confirm: true,
        expand: ["latest_charge.balance_transaction"],
    });
    assert.strictEqual(intent.status, "succeeded");
    assert.strictEqual(intent.latest_charge.balance_transaction.net, 2000 - 88);
    const charge = await stripe.charges.retrieve(intent.latest_charge.id);
    assert.strictEqual((await stripe.refunds.create({ charge: charge.id, amount: 500 })).status, "succeeded");
    await refused(errors.StripeInvalidRequestError, () => stripe.refunds.create({ charge: charge.id, amount: 1501 }), { param: "amount" });
    assert.strictEqual((await stripe.balance.retrieve()).available[0].amount, 2000 - 88 - 500);
    const transactions = await stripe.balanceTransactions.list({ limit: 100 });
    assert.strictEqual(transactions.data.reduce((sum, one) => sum + one.net, 0), 2000 - 88 - 500);
    const held = await stripe.paymentIntents.create({ amount: 700, currency: "usd", capture_method: "manual" });
    assert.strictEqual((await stripe.paymentIntents.confirm(held.id, { payment_method: "pm_card_visa" })).status, "requires_capture");
    assert.strictEqual((await stripe.paymentIntents.capture(held.id)).amount_received, 700);
    const open = await stripe.paymentIntents.create({ amount: 100, currency: "usd" });
    assert.strictEqual((await stripe.paymentIntents.cancel(open.id)).status, "canceled");
    const setup = await stripe.setupIntents.create({ customer: customer.id, payment_method: "pm_card_visa", confirm: true });
    assert.strictEqual(setup.status, "succeeded");
    return { customer, charge };
};

const mistakes = async () => {
    const pay = () => stripe.paymentIntents.create({ amount: 500, currency: "usd", confirm: true, payment_method: "pm_card_chargeDeclined" });
    const declined = await refused(errors.StripeCardError, pay, { code: "card_declined", decline_code: "generic_decline", statusCode: 402 });
    assert.strictEqual(declined.payment_intent.status, "requires_payment_method");
    assert(declined.requestId.startsWith("req_"));
    await refused(errors.StripeInvalidRequestError, () => stripe.products.retrieve("prod_0"), { code: "resource_missing", statusCode: 404 });
    await refused(errors.StripeInvalidRequestError, () => stripe.products.create({ nmae: "x" }), { code: "parameter_unknown", param: "nmae" });
    await refused(errors.StripeAuthenticationError, () => stripe.balance.retrieve({}, { apiKey: "sk_wrong_1" }), { statusCode: 401 });
    const once = { idempotencyKey: "once" };
    const first = await stripe.customers.create({ name: "Once" }, once);
    const again = await stripe.customers.create({ name: "Once" }, once);
    assert.strictEqual(first.id, again.id);
    assert.strictEqual(again.lastResponse.headers["idempotent-replayed"], "true");
    await refused(errors.StripeIdempotencyError, () => stripe.customers.create({ name: "Twice" }, once), { statusCode: 400 });
};

const billing = async ({ price, monthly, code }, { customer }) => {
    const subscription = await stripe.subscriptions.create({
        customer: customer.id, items: [{ price: monthly.id, quantity: 2 }], discounts: [{ promotion_code: code.id }], expand: ["latest_invoice"],
    });
    assert.strictEqual(subscription.latest_invoice.total, 750);
    const [item] = subscription.items.data;
    assert.strictEqual((await stripe.subscriptionItems.update(item.id, { quantity: 3 })).quantity, 3);
    const invoice = await stripe.invoices.create({ customer: customer.id });
    await stripe.invoiceItems.create({ customer: customer.id, invoice: invoice.id, amount: 300, currency: "usd" });
    assert.strictEqual((await stripe.invoices.finalizeInvoice(invoice.id)).amount_due, 300);
    assert.strictEqual((await stripe.invoices.pay(invoice.id)).status, "paid");
    assert.strictEqual((await stripe.invoices.listLineItems(invoice.id)).data[0].amount, 300);
    assert.strictEqual((await stripe.subscriptions.cancel(subscription.id)).status, "canceled");
    const session = await stripe.checkout.sessions.create({ mode: "payment", line_items: [{ price: price.id, quantity: 2 }], success_url: "https://example.com" });
    assert.strictEqual(session.amount_total, 2000);
    assert.strictEqual((await stripe.checkout.sessions.expire(session.id)).status, "expired");
    const link = await stripe.paymentLinks.create({ line_items: [{ price: price.id, quantity: 1 }] });
    assert.strictEqual((await stripe.paymentLinks.update(link.id, { active: false })).active, false);
    const quote = await stripe.quotes.create({ customer: customer.id, line_items: [{ price: price.id, quantity: 1 }] });
    assert.strictEqual((await stripe.quotes.cancel(quote.id)).status, "canceled");
};

const rest = async ({ customer, charge }) => {
    const hook = await stripe.webhookEndpoints.create({ url: "https://example.com", enabled_events: ["*"] });
    assert((await stripe.webhookEndpoints.del(hook.id)).deleted);
    const [event] = await all(stripe.events.list({ type: "charge.refunded" }));
    assert.strictEqual((await stripe.events.retrieve(event.id)).data.object.id, charge.id);
    const account = await stripe.accounts.create({ type: "express", country: "US" });
    const links = { account: account.id, type: "account_onboarding", return_url: "https://example.com", refresh_url: "https://example.com" };
    assert((await stripe.accountLinks.create(links)).url);
    const payout = await stripe.payouts.create({ amount: 100, currency: "usd" });
    assert.strictEqual((await stripe.payouts.retrieve(payout.id)).status, "paid");
    const taxId = await stripe.customers.createTaxId(customer.id, { type: "eu_vat", value: "DE123" });
    assert.strictEqual((await stripe.customers.listTaxIds(customer.id)).data[0].id, taxId.id);
    const clock = await stripe.testHelpers.testClocks.create({ frozen_time: 1700000000 });
    assert.strictEqual((await stripe.testHelpers.testClocks.retrieve(clock.id)).status, "ready");
    const file = { purpose: "dispute_evidence", file: { data: Buffer.from("hello"), name: "a.txt", type: "text/plain" } };
    assert.strictEqual((await stripe.files.create(file)).size, 5);
    const [found] = (await stripe.customers.search({ query: "email:'ada@example.com'" })).data;
    assert.strictEqual(found.id, customer.id);
    assert((await stripe.customers.del(customer.id)).deleted);
    const destination = await stripe.v2.core.eventDestinations.create({
        name: "Hook", type: "webhook_endpoint", event_payload: "thin", enabled_events: ["v1.billing.meter.no_meter_found"],
    });
    assert.strictEqual((await all(stripe.v2.core.eventDestinations.list({ limit: 1 })))[0].id, destination.id);
};

(async () => {
    const shop = await catalogue();
    const paid = await payments();
    await mistakes();
    await billing(shop, paid);
    await rest(paid);
    console.log(calls, resources.size);
})().catch((error) => {
    console.error(error);
    process.exit(1);
});
