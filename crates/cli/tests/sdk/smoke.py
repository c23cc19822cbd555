"""A smoke test of a simulator by Stripe's Python SDK. Arguments: the server's URL, the key. Prints calls and resources."""
import io
import sys

try:
    import stripe
except ImportError:
    print("absent")
    sys.exit()

url, key = sys.argv[1:]
stripe.enable_telemetry = False
calls, resources = 0, set()


class Counting(stripe.RequestsClient):
    """Counts what is sent."""

    def request(self, method, url, headers, post_data=None):
        global calls
        calls += 1
        resources.add(url.split("?")[0].split("/", 4)[4].split("/")[0])
        return super().request(method, url, headers, post_data)


client = stripe.StripeClient(key, base_addresses={"api": url, "files": url}, max_network_retries=0, http_client=Counting())
v1 = client.v1


def refused(kind, call, **fields):
    try:
        call()
    except kind as error:
        for name, value in fields.items():
            assert getattr(error, name) == value, (name, getattr(error, name), value)
        return error
    raise AssertionError(f"no {kind.__name__}")


# Catalogue
product = v1.products.create({"name": "Mug", "metadata": {"order": "42"}, "images": ["https://example.com/a.png"]})
assert product.id.startswith("prod_") and product.metadata["order"] == "42" and not product.livemode
assert v1.products.retrieve(product.id).name == "Mug"
assert "order" not in v1.products.update(product.id, {"description": "Blue", "metadata": {"order": ""}}).metadata
price = v1.prices.create({"currency": "usd", "unit_amount": 1000, "product": product.id})
monthly = v1.prices.create(
    {"currency": "usd", "unit_amount": 500, "product": product.id, "recurring": {"interval": "month"}, "lookup_key": "gold"}
)
assert v1.prices.list({"lookup_keys": ["gold"], "expand": ["data.product"]}).data[0].product.name == "Mug"
for n in range(12):
    v1.products.create({"name": f"Cup {n}"})
assert len([p for p in v1.products.list({"limit": 5}).auto_paging_iter()]) == 13
found = v1.products.search({"query": "name~'cup' AND active:'true'", "limit": 5})
assert len(list(found.auto_paging_iter())) == 12
coupon = v1.coupons.create({"percent_off": 25, "duration": "once"})
code = v1.promotion_codes.create({"promotion": {"type": "coupon", "coupon": coupon.id}, "code": "SPRING"})
assert v1.promotion_codes.list({"code": "SPRING"}).data[0].id == code.id
rate = v1.tax_rates.create({"display_name": "VAT", "inclusive": False, "percentage": 19})
assert v1.tax_rates.retrieve(rate.id).percentage == 19
shipping = v1.shipping_rates.create({"display_name": "Post", "type": "fixed_amount", "fixed_amount": {"amount": 500, "currency": "usd"}})
assert shipping.fixed_amount.amount == 500

# From a customer to a refund
customer = v1.customers.create({"email": "ada@example.com", "name": "Ada"})
method = v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": method.id}})
assert v1.payment_methods.list({"customer": customer.id, "type": "card"}).data[0].id == method.id
intent = v1.payment_intents.create(
    {
        "amount": 2000,
        "currency": "usd",
        "customer": customer.id,
        "payment_method": method.id,
        "confirm": True,
        "expand": ["latest_charge.balance_transaction", "customer"],
    }
)
assert intent.status == "succeeded" and intent.customer.name == "Ada"
assert intent.latest_charge.balance_transaction.net == 2000 - 88
charge = v1.charges.retrieve(intent.latest_charge.id)
assert charge.payment_method_details.card.last4 == "4242"
refund = v1.refunds.create({"charge": charge.id, "amount": 500})
assert refund.status == "succeeded"
assert "unrefunded amount" in str(refused(stripe.InvalidRequestError, lambda: v1.refunds.create({"charge": charge.id, "amount": 1501}), param="amount"))
assert v1.balance.retrieve().available[0].amount == 2000 - 88 - 500
assert sum(t.net for t in v1.balance_transactions.list({"limit": 100}).data) == 2000 - 88 - 500
held = v1.payment_intents.create({"amount": 700, "currency": "usd", "capture_method": "manual"})
assert v1.payment_intents.confirm(held.id, {"payment_method": "pm_card_mastercard"}).status == "requires_capture"
assert v1.payment_intents.capture(held.id, {"amount_to_capture": 600}).amount_received == 600
asked = v1.payment_intents.create({"amount": 100, "currency": "usd", "confirm": True, "payment_method": "pm_card_authenticationRequired"})
assert asked.status == "requires_action"
assert v1.payment_intents.cancel(asked.id).status == "canceled"
setup = v1.setup_intents.create({"customer": customer.id, "payment_method": "pm_card_visa", "confirm": True})
assert setup.status == "succeeded"

# Errors
declined = refused(
    stripe.CardError,
    lambda: v1.payment_intents.create({"amount": 500, "currency": "usd", "confirm": True, "payment_method": "pm_card_chargeDeclined"}),
    code="card_declined",
    http_status=402,
)
assert declined.error.decline_code == "generic_decline" and declined.error.payment_intent.status == "requires_payment_method"
refused(stripe.InvalidRequestError, lambda: v1.products.retrieve("prod_0"), code="resource_missing", http_status=404, param="id")
refused(stripe.InvalidRequestError, lambda: v1.products.create({"nmae": "x"}), code="parameter_unknown", param="nmae")
refused(stripe.InvalidRequestError, lambda: v1.prices.create({"currency": "usd", "product": "prod_0", "unit_amount": 1}), param="product")
refused(stripe.AuthenticationError, lambda: v1.balance.retrieve(options={"api_key": "sk_wrong_1"}), http_status=401)
first = v1.customers.create({"name": "Once"}, {"idempotency_key": "once"})
again = v1.customers.create({"name": "Once"}, {"idempotency_key": "once"})
assert first.id == again.id and again.last_response.headers["idempotent-replayed"] == "true"
refused(stripe.IdempotencyError, lambda: v1.customers.create({"name": "Twice"}, {"idempotency_key": "once"}), http_status=400)

# Billing
subscription = v1.subscriptions.create(
    {"customer": customer.id, "items": [{"price": monthly.id, "quantity": 2}], "discounts": [{"promotion_code": code.id}], "expand": ["latest_invoice"]}
)
assert subscription.status == "active" and subscription.latest_invoice.total == 750 and subscription.latest_invoice.status == "paid"
item = subscription["items"].data[0]
assert v1.subscription_items.update(item.id, {"quantity": 3}).quantity == 3
assert v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True}).cancel_at == item.current_period_end
invoice = v1.invoices.create({"customer": customer.id})
v1.invoice_items.create({"customer": customer.id, "invoice": invoice.id, "amount": 300, "currency": "usd"})
assert v1.invoices.finalize_invoice(invoice.id).amount_due == 300
assert v1.invoices.pay(invoice.id).status == "paid"
assert v1.invoices.line_items.list(invoice.id).data[0].amount == 300
assert v1.invoice_payments.list({"invoice": invoice.id}).data[0].status == "paid"
assert v1.subscriptions.cancel(subscription.id).status == "canceled"
session = v1.checkout.sessions.create({"mode": "payment", "line_items": [{"price": price.id, "quantity": 2}], "success_url": "https://example.com"})
assert session.amount_total == 2000 and session.url
assert v1.checkout.sessions.line_items.list(session.id).data[0].quantity == 2
assert v1.checkout.sessions.expire(session.id).status == "expired"
link = v1.payment_links.create({"line_items": [{"price": price.id, "quantity": 1}]})
assert link.active and v1.payment_links.update(link.id, {"active": False}).active is False
quote = v1.quotes.create({"customer": customer.id, "line_items": [{"price": price.id, "quantity": 1}]})
assert v1.quotes.finalize_quote(quote.id).status == "open"

# What else there is
hook = v1.webhook_endpoints.create({"url": "https://example.com", "enabled_events": ["*"]})
assert hook.secret.startswith("whsec_") and v1.webhook_endpoints.delete(hook.id).deleted
kinds = [event.type for event in v1.events.list({"limit": 100}).auto_paging_iter()]
for kind in ["product.created", "payment_intent.succeeded", "charge.refunded", "invoice.paid", "customer.subscription.deleted"]:
    assert kind in kinds, kind
event = v1.events.list({"type": "charge.refunded"}).data[0]
assert v1.events.retrieve(event.id).data.object.id == charge.id
account = v1.accounts.create({"type": "express", "country": "US"})
assert v1.account_links.create({"account": account.id, "type": "account_onboarding", "return_url": "https://example.com", "refresh_url": "https://example.com"}).url
payout = v1.payouts.create({"amount": 100, "currency": "usd"})
assert v1.payouts.retrieve(payout.id).status == "paid"
tax_id = v1.customers.tax_ids.create(customer.id, {"type": "eu_vat", "value": "DE123"})
assert [one.id for one in v1.customers.tax_ids.list(customer.id).data] == [tax_id.id]
upload = v1.files.create({"purpose": "dispute_evidence", "file": io.BytesIO(b"hello")})
assert upload.size == 5 and upload.purpose == "dispute_evidence"
clock = v1.test_helpers.test_clocks.create({"frozen_time": 1700000000})
assert v1.test_helpers.test_clocks.retrieve(clock.id).status == "ready"
assert v1.customers.search({"query": "email:'ada@example.com'"}).data[0].id == customer.id
assert v1.customers.delete(customer.id).deleted and v1.customers.retrieve(customer.id).deleted
destination = client.v2.core.event_destinations.create(
    {"name": "Hook", "type": "webhook_endpoint", "event_payload": "thin", "enabled_events": ["v1.billing.meter.no_meter_found"]}
)
assert [one.id for one in client.v2.core.event_destinations.list({"limit": 1}).auto_paging_iter()] == [destination.id]

print(calls, len(resources))
