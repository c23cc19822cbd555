"""Makes the calls of a table with Stripe's Python SDK. Arguments: the table, the server's URL, the key."""
import json
import sys

try:
    import stripe
except ImportError:
    print("absent")
    sys.exit()

table, url, key = sys.argv[1:]
# The table has no secrets, and nothing of these runs is to be told to anyone.
stripe.enable_telemetry = False
client = stripe.StripeClient(key, base_addresses={"api": url}, max_network_retries=0)
for call in json.load(open(table, encoding="utf-8")):
    service = client
    for step in (call["resource"] if call["resource"].startswith("v2.") else "v1." + call["resource"]).split("."):
        service = getattr(service, step, None) or getattr(service, step + "s")
    options = {k: v for k, v in call["options"].items()}
    try:
        getattr(service, call["method"])(*call["ids"], params=call["params"], options=options)
    except stripe.StripeError as error:
        print(call, error, file=sys.stderr)
# A delivery that the SDK signs and takes; we compare our own header with it.
payload = '{"id":"evt_1","object":"event","type":"a.b"}'
signature = stripe.WebhookSignature._compute_signature("%d.%s" % (1700000000, payload), "whsec_sdk")
header = f"t=1700000000,v1={signature}"
assert stripe.Webhook.construct_event(payload, header, "whsec_sdk", tolerance=10**12).id == "evt_1"
print(header)
