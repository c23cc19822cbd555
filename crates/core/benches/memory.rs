//! How much memory does a pending request take, beyond its body?
//!
//! Counts what the allocator gives out, for 100,000 requests that look like the creation of a product, and splits it by what
//! holds it. Prints a table; the target is fewer than 600 bytes per request.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use inflight_core::{IdempotencyKey, Method, Registry, Request, SessionLimits};

const REQUESTS: usize = 100_000;
const BODY: &str = "name=Mug&description=A+mug+of+stoneware&metadata%5Bsku%5D=mug-1&active=true";

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator with the arguments as they came; counting touches no memory of theirs.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract, which is the system allocator's own.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the block came from `alloc` above, with this layout.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `make` leaves allocated, per request.
fn measure<T>(make: impl FnOnce() -> T) -> (T, f64) {
    let before = ALLOCATED.load(Ordering::Relaxed);
    let made = make();
    let after = ALLOCATED.load(Ordering::Relaxed);
    (made, (after as f64 - before as f64) / REQUESTS as f64)
}

fn product() -> Request {
    Request::new(Method::Post, "/v1/products")
        .operation("product.create")
        .header("stripe-version", "2026-01-01")
        .body("application/x-www-form-urlencoded", Bytes::from(BODY.to_owned()))
        .credential("main")
        .idempotency_key(IdempotencyKey::Generated)
}

fn main() {
    let (requests, own) = measure(|| {
        let mut requests = Vec::with_capacity(REQUESTS);
        requests.resize_with(REQUESTS, product);
        requests
    });
    let inline = size_of::<Request>() as f64;
    let body = BODY.len() as f64;

    let (registry, mut queue) = Registry::builder().queue_capacity(REQUESTS).build();
    let session = registry.session_with(SessionLimits {
        pending: REQUESTS,
        unsent: REQUESTS,
    });
    // The list that they come from is not the registry's, and is gone by then.
    let (ids, added) = measure(|| {
        let submitted = requests.into_iter().map(|request| session.submit(request));
        let accepted = submitted.filter(Result::is_ok).count();
        assert_eq!(accepted, REQUESTS);
        accepted
    });
    let total = own + added - body;
    let (jobs, popped) = measure(|| {
        let mut jobs = Vec::with_capacity(REQUESTS);
        jobs.extend(std::iter::from_fn(|| queue.pop()));
        jobs
    });
    let channel = -(popped - size_of::<inflight_core::Job>() as f64);
    let ((), freed) = measure(|| drop(jobs));

    println!("memory per pending request, {ids} of them, in bytes");
    println!("  the request's own fields, boxed                  {inline:7.1}");
    println!(
        "  what they point to, beyond the body of {body:4.0}      {:7.1}",
        own - inline - body
    );
    println!("  its place in the queue                           {channel:7.1}");
    println!(
        "  its entry and its place in the session's table   {:7.1}",
        total - (own - body) - channel
    );
    println!("  total beyond the body                            {total:7.1}   (target: below 600)");
    println!(
        "left when all have ended, their results included   {:7.1}",
        total + body + freed
    );
}
