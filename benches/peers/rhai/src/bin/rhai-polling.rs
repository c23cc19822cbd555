//! The design that Inflight began with: scripts in threads, one map of all requests behind a mutex, and a wait that looks
//! into it every 50 ms. Its worker sends requests at the same time; as it was first written down it sent one after another.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use load::Load;
use peer_reqwest::Products;
use rhai::{Engine, EvalAltResult};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use uuid::Uuid;

const SCRIPT: &str = r#"do { let id = create_async("Mug"); await_result(id, 600); } while again();"#;

/// What came of a request, once it has ended.
type Ended = Option<Result<String, String>>;

/// Every request that nobody has fetched yet.
static PENDING: LazyLock<Mutex<HashMap<String, Ended>>> = LazyLock::new(Mutex::default);

struct Request {
    id: String,
    name: String,
}

fn main() {
    let load = Load::from_arguments();
    let (sender, receiver) = unbounded_channel();
    let url = load.url.clone();
    thread::spawn(move || work(&url, receiver));
    let mut engine = Engine::new();
    engine.register_fn("create_async", move |name: &str| submit(&sender, name));
    engine.register_fn("await_result", wait);
    engine.register_fn("again", load::again);
    let script = engine.compile(SCRIPT).expect("a script");
    load.run_threads(move || engine.run_ast(&script));
}

fn submit(sender: &UnboundedSender<Request>, name: &str) -> Result<String, Box<EvalAltResult>> {
    let id = Uuid::new_v4().to_string();
    PENDING.lock().expect("the map").insert(id.clone(), None);
    let request = Request {
        id: id.clone(),
        name: name.to_owned(),
    };
    sender.send(request).map_err(|_| "the worker has ended".to_owned())?;
    Ok(id)
}

fn wait(id: &str, seconds: i64) -> Result<String, Box<EvalAltResult>> {
    let start = Instant::now();
    loop {
        if let Some(result) = take(id) {
            return result.map_err(Into::into);
        }
        if start.elapsed() > Duration::from_secs(seconds.unsigned_abs()) {
            return Err("out of time".into());
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn take(id: &str) -> Option<Result<String, String>> {
    let mut pending = PENDING.lock().expect("the map");
    pending.get(id)?.as_ref()?;
    pending.remove(id)?
}

fn work(url: &str, mut receiver: UnboundedReceiver<Request>) {
    let products = Arc::new(Products::new(url));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        while let Some(request) = receiver.recv().await {
            let products = products.clone();
            tokio::spawn(async move {
                let result = products.create(&request.name).await.map_err(|error| error.to_string());
                PENDING.lock().expect("the map").insert(request.id, Some(result));
            });
        }
    });
}
