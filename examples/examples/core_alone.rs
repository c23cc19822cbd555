//! `inflight-core` alone, with a transport of our own: no HTTP, no Stripe, no scripts, no async runtime.
//!
//! The "other side" is a thread that counts words. Whatever is slow can stand there: a device, a subprocess, another protocol.
//!
//! ```text
//! cargo run -p inflight-examples --example core_alone
//! ```

use std::error::Error;
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::Duration;

use inflight_core::{
    Effect, Failure, FailureKind, Method, Outcome, Queue, Registry, Request, Response, Success, Transport, block_on,
};

/// Wakes the worker when something changes in the queue, so that it never polls.
struct Unpark(Thread);

impl Transport for Unpark {
    fn notify(&self) {
        self.0.unpark();
    }
}

/// Takes the jobs one by one and answers each, until the registry is closed and nothing is left.
fn work(mut queue: Queue) {
    queue.attach(Arc::new(Unpark(thread::current())));
    loop {
        // Asked before the look into the queue: what was submitted before it closed is still seen.
        let closed = queue.is_closed();
        match queue.pop() {
            Some(job) => {
                // Nobody can cancel a request once it has started; one that was cancelled before does not start.
                if let Some(mut in_flight) = block_on(job.start()) {
                    in_flight.begin_attempt(Duration::ZERO);
                    let outcome = count_words(in_flight.request());
                    in_flight.complete(outcome);
                }
            }
            None if closed => return,
            None => thread::park(),
        }
    }
}

fn count_words(request: &Request) -> Outcome {
    let text = request
        .body
        .as_ref()
        .and_then(|body| std::str::from_utf8(&body.bytes).ok());
    match text {
        Some(text) if !text.is_empty() => Ok(Success {
            object_id: None,
            response: Response::new(200, text.split_whitespace().count().to_string()),
        }),
        // A failure says what it means for the other side: here, that nothing was done.
        _ => Err(Failure::new(
            FailureKind::Named("no_text".into()),
            Effect::None,
            "there is no text to count words in",
        )),
    }
}

fn job(text: &'static str) -> Request {
    Request::new(Method::Post, "/count")
        .operation("words.count")
        .body("text/plain", text)
}

fn main() -> Result<(), Box<dyn Error>> {
    let (registry, queue) = Registry::new();

    // Submitting never waits: there is no worker yet, and both have their ids all the same.
    let long = registry.submit(job("to be or not to be"))?;
    let unwanted = registry.submit(job("never mind"))?;
    println!(
        "submitted: {:?} and {:?}",
        registry.status(long),
        registry.status(unwanted)
    );
    println!("cancelled before it was sent: {:?}", registry.cancel(unwanted));

    let worker = thread::spawn(move || work(queue));
    let empty = registry.submit(job(""))?;

    // A thread can wait, and so can a future of any runtime.
    let ended = registry.wait(long, None)?;
    println!("to be or not to be: {}", words(&ended));
    let ending = registry.wait_async(empty).ok_or("the request is known")?;
    println!("no text: {}", words(&block_on(ending)));

    println!("counts: {:?}", registry.counts());
    registry.close();
    worker.join().map_err(|_| "the worker panicked")?;
    Ok(())
}

fn words(outcome: &Outcome) -> String {
    match outcome {
        Ok(success) => format!("{} words", String::from_utf8_lossy(&success.response.body)),
        Err(failure) => failure.to_string(),
    }
}
