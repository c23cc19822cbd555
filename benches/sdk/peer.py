"""What the program `peers` measures, by Stripe's Python SDK; started by it.

  python benches/sdk/peer.py URL IN_FLIGHT SECONDS async|threads

`async` needs aiohttp, `threads` has a thread for each place. Prints the same line of JSON as the clients in
`benches/peers`.
"""
import asyncio
import concurrent.futures
import json
import resource
import sys
import threading
import time

import stripe

url, in_flight, seconds, way = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
stripe.enable_telemetry = False
MUG = {"name": "Mug"}
KEY = "sk_test_000000000000000000000000"
BASE = {"api": url}


async def wave_async(client, until):
    """So many places, each with one request after the other until the time has come, but at least one."""

    async def place():
        done = 0
        while True:
            await client.v1.products.create_async(MUG)
            done += 1
            if time.monotonic() >= until:
                return done

    return sum(await asyncio.gather(*(place() for _ in range(in_flight))))


local = threading.local()


def wave_threads(pool, until):
    """The same in threads, of which each has a client, as its connections are not to be shared."""

    def place(_):
        if not hasattr(local, "client"):
            http = stripe.RequestsClient(timeout=600)
            local.client = stripe.StripeClient(KEY, base_addresses=BASE, http_client=http)
        done = 0
        while True:
            local.client.v1.products.create(MUG)
            done += 1
            if time.monotonic() >= until:
                return done

    return sum(pool.map(place, range(in_flight)))


def report(times, requests, cpu):
    begin, warm, start = times
    end = time.monotonic()
    line = {
        "version": stripe.VERSION,
        "requests": requests,
        "wall_s": end - start,
        "cpu_s": time.process_time() - cpu,
        "cold_s": warm - begin,
        "warm_s": start - warm,
        "peak_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
    print(json.dumps(line))


async def run_async():
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0)
    http = stripe.AIOHTTPClient(timeout=600, connector=connector)
    client = stripe.StripeClient(KEY, base_addresses=BASE, http_client=http)
    times = [time.monotonic()]
    for _ in ("cold", "warm"):
        await wave_async(client, 0)
        times.append(time.monotonic())
    cpu = time.process_time()
    report(times, await wave_async(client, times[-1] + seconds), cpu)
    await http.close_async()


def run_threads():
    with concurrent.futures.ThreadPoolExecutor(in_flight) as pool:
        times = [time.monotonic()]
        for _ in ("cold", "warm"):
            wave_threads(pool, 0)
            times.append(time.monotonic())
        cpu = time.process_time()
        report(times, wave_threads(pool, times[-1] + seconds), cpu)


if way == "async":
    asyncio.run(run_async())
else:
    run_threads()
