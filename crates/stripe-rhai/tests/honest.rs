//! As `inflight-rhai`'s test of that name, for what scripts call by Stripe's names: what is allocated for a script is charged and freed
//! on the same account.

use std::sync::{Arc, Mutex};

use inflight_core::testing::{ManualTransport, Sent};
use inflight_core::{Effect, Failure, FailureKind, Registry, Response, SessionLimits, Success};
use inflight_rhai::{FiberEngine, Limits, Locals, RunOptions, ScriptAllocator, ScriptErrorKind};
use inflight_stripe_rhai::{ApiKey, HostOptions, StripeHost, StripePackage};
use rhai::{Engine, Scope};

#[global_allocator]
static ALLOCATOR: ScriptAllocator = ScriptAllocator::system();

const HEAP: usize = 2_000_000;

/// Says again and again how many kilobytes the script holds, until it holds more than it may.
const FILL: &str = "let all = []; loop { all.push(blob(1_000)); print(all.len()); }";

/// Loops that hold little at a time.
const LOOPS: &[(&str, &str)] = &[
    (
        "refused parameters",
        "for i in 0..3000 { try { stripe::product::create(#{ nonsense: 1 }); } catch {} }",
    ),
    ("lists", "for i in 0..100 { stripe::product::list(#{ limit: 100 }); }"),
    (
        "pages",
        "for i in 0..100 { for product in stripe::product::list_all() { product.id; } }",
    ),
    (
        "pages that fail",
        "for i in 0..200 { try { for price in stripe::price::list_all() {} } catch {} }",
    ),
    ("builders", "for i in 0..2000 { new_product().name(long).create(); }"),
    (
        "functions",
        "for i in 0..2000 { stripe::product::create(#{ name: long }); }",
    ),
    (
        "raw",
        "for i in 0..2000 { stripe::raw(`POST`, `/v1/products`, #{ name: long }); }",
    ),
    (
        "notifications",
        "let event = #{ object: `v2.core.event`, id: `evt_${long.sub_string(0, 150)}`, type: `v1.billing.meter.no_meter_found` };
         for i in 0..5000 { stripe::webhook::fetch_event(event); }",
    ),
    (
        "configurations",
        "for i in 0..1000 {
            configure_stripe(#{ api_key: `sk_test_${i % 2}23456789`, account: `acct_1`, currency: `eur` });
            new_product().name(`Mug`).create(); stripe::file::list(#{ limit: 1 });
            try { configure_stripe(#{ nonsense: 1 }); } catch {}
        }",
    ),
    (
        "refusals",
        "for i in 0..1000 {
            try { new_product().nonsense(1); } catch {} try { new_product().name(#{ a: 1 }).create(); } catch {}
            try { stripe::product::list_all(#{ nonsense: 1 }); } catch {} try { stripe::raw(`NONE`, `/`); } catch {}
            try { stripe::price::list(); } catch {} try { stripe::webhook::construct_event(`{}`, `t=1`, `whsec_1`); } catch {}
        }",
    ),
    (
        "pages that are left",
        "for i in 0..200 { for product in stripe::product::list_all() { break; } }",
    ),
];

/// Products are listed and created, prices are not.
fn answer(sent: Sent) {
    let (target, body) = (sent.request().target.clone(), "x".repeat(20_000));
    if target.starts_with("/v1/prices") {
        let mut failure = Failure::new(FailureKind::Named("card_error".into()), Effect::None, "no".repeat(100));
        failure.response = Some(Response::new(402, body));
        return sent.fail(failure);
    }
    if sent.request().body.is_some() || target.starts_with("/v2/core/events") {
        return sent.succeed("prod_1");
    }
    let list = format!(
        r#"{{"object":"list","has_more":false,"url":"/v1/products","data":[{{"id":"prod_1","object":"product","name":"{body}"}}]}}"#
    );
    sent.complete(Ok(Success {
        object_id: None,
        response: Response::new(200, list),
    }));
}

/// Runs the loop and then what comes after it, within the heap limit. Gives the last line that was printed too.
fn run(script: &str, after: &str) -> (Result<(), ScriptErrorKind>, String) {
    let (registry, queue) = Registry::new();
    let host = StripeHost::new(HostOptions {
        api_key: Some(ApiKey::new("sk_test_marked4242424242").unwrap()),
        ..HostOptions::default()
    });
    let mut engine = Engine::new();
    StripePackage::install(&host, &mut engine);
    let engine = FiberEngine::new(engine);
    let limits = SessionLimits {
        pending: 100,
        unsent: 100,
    };
    let printed: Arc<Mutex<String>> = Arc::default();
    let output = Arc::clone(&printed);
    let locals = Locals::for_session(registry.session_with(limits))
        .with_output(Arc::new(move |line: &str| line.clone_into(&mut output.lock().unwrap())));
    let limits = Limits {
        heap_bytes: Some(HEAP),
        ..Limits::default()
    };
    let text = format!("let long = ``; long.pad(1000, `x`); {script} {after}");
    let script = engine.compile(&text).unwrap();
    let mut fiber = script.run_then(RunOptions::new(locals).limits(limits), Scope::new(), |_, _| Ok(()));
    let mut transport = ManualTransport::new(queue);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let ended = runtime.block_on(async {
        loop {
            tokio::select! {
                biased;
                ended = &mut fiber => return ended,
                () = tokio::task::yield_now() => {}
            }
            if let Some(sent) = transport.try_next() {
                answer(sent);
            }
        }
    });
    let last = printed.lock().unwrap().clone();
    (ended.map_err(|error| error.kind()), last)
}

#[test]
fn what_is_freed_is_no_longer_charged() {
    let ended = LOOPS.iter().map(|(name, script)| (name, run(script, "").0));
    let wrong: Vec<_> = ended.filter(|(_, ended)| ended.is_err()).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// How many kilobytes the script may hold after the loop.
fn room_after(script: &str) -> i64 {
    let (ended, last) = run(script, FILL);
    assert_eq!(ended, Err(ScriptErrorKind::HeapLimit), "{script}");
    last.parse().unwrap_or(0)
}

#[test]
fn a_script_may_hold_as_much_after_each_loop_as_before() {
    let before = room_after("");
    let after = LOOPS.iter().map(|(name, script)| (name, room_after(script)));
    let wrong: Vec<_> = after.filter(|(_, after)| (after - before).abs() > 5).collect();
    assert!(wrong.is_empty(), "{before} before, and after {wrong:?}");
}
