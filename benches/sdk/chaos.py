"""The workload of the program `chaos` by Stripe's Python SDK, with its default retries, at `inflight sim --faults chaos`.

  python benches/sdk/chaos.py URL [REQUESTS] [CONCURRENCY] [TIMEOUT_SECONDS] [RETRIES]

Without RETRIES, those of a `StripeClient` that is not told: in 16.1.0 there are none, whatever `stripe.max_network_retries` says.
Ends with one line of JSON; see docs/reliability.md.
"""
import collections
import concurrent.futures
import itertools
import json
import sys
import threading
import time
import urllib.request

import stripe

url = sys.argv[1]
requests = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
concurrency = int(sys.argv[3]) if len(sys.argv) > 3 else 64
timeout = float(sys.argv[4]) if len(sys.argv) > 4 else 0.4
retries = int(sys.argv[5]) if len(sys.argv) > 5 else None
stripe.enable_telemetry = False
local = threading.local()


class Counting(stripe.RequestsClient):
    """Counts attempts, those that never arrive included."""

    attempts = itertools.count()

    def request(self, *arguments, **named):
        next(self.attempts)
        return super().request(*arguments, **named)


def v1():
    """A client for each thread, as its connections are not to be shared."""
    if not hasattr(local, "client"):
        http = Counting(timeout=timeout)
        local.client = stripe.StripeClient(
            "sk_test_chaos", base_addresses={"api": url}, http_client=http, max_network_retries=retries
        )
    return local.client.v1


def insist(call):
    """For what is no part of the workload."""
    while True:
        try:
            return call()
        except stripe.StripeError:
            pass


def arrived():
    with urllib.request.urlopen(f"{url}/_sim/stats") as answer:
        return json.load(answer)["requests"]


def send(number):
    name = f"s-{number}"
    match number % 5:
        case 0:
            v1().products.create({"name": name})
        case 1:
            v1().customers.create({"name": name})
        case 2:
            v1().coupons.create({"name": name, "percent_off": 10, "duration": "once"})
        case 3:
            v1().tax_rates.create({"display_name": name, "percentage": 7, "inclusive": False})
        case _:
            v1().products.update(products[number // 5], {"description": name})


def attempt(number):
    try:
        send(number)
        return None
    except stripe.StripeError as error:
        return type(error).__name__
    except Exception as error:  # Not an error of Stripe's: the caller sees it all the same.
        return f"other: {type(error).__name__}"


def listed(service, field):
    after = {}
    while True:
        page = insist(lambda: service().list({"limit": 100, **after}))
        for item in page.data:
            yield getattr(item, field, None), item
        if not page.has_more:
            return
        after = {"starting_after": page.data[-1].id}


with concurrent.futures.ThreadPoolExecutor(concurrency) as pool:
    made = pool.map(lambda n: insist(lambda: v1().products.create({"name": f"old-{n}"})).id, range(requests // 5))
    products = list(made)
    before, start = arrived(), time.monotonic()
    Counting.attempts = itertools.count()
    errors = list(pool.map(attempt, range(requests)))
    wall, after, attempts = time.monotonic() - start, arrived(), next(Counting.attempts)

seen = collections.Counter()
for service, field in (
    (lambda: v1().products, "name"),
    (lambda: v1().customers, "name"),
    (lambda: v1().coupons, "name"),
    (lambda: v1().tax_rates, "display_name"),
):
    for name, item in listed(service, field):
        for text in (name, getattr(item, "description", None)):
            if (text or "").startswith("s-"):
                seen[text] += 1

done = [seen[f"s-{number}"] > 0 for number in range(requests)]
print(
    json.dumps(
        {
            "sdk": f"python {stripe.VERSION}",
            "max_network_retries": "default" if retries is None else retries,
            "calls": requests,
            "failed": sum(error is not None for error in errors),
            "failed_but_done": sum(error is not None and is_done for error, is_done in zip(errors, done)),
            "succeeded_but_not_done": sum(error is None and not is_done for error, is_done in zip(errors, done)),
            "duplicates": sum(times - 1 for times in seen.values()),
            "retries": attempts - requests,
            "arrived": after - before,
            "errors": collections.Counter(error for error in errors if error),
            "wall_ms": round(wall * 1000),
        }
    )
)
