//! Runs that die after any write, and another side that counts effects.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use inflight_core::testing::{ManualTransport, Sent};
use inflight_core::{Effect, Failure, FailureKind, Method, Registry, Request, RequestId, SessionLimits};
use inflight_rhai::{FiberEngine, InflightPackage, Limits, Locals, ModuleFolder, Run, RunOptions, ScriptError};
use rhai::packages::Package;
use rhai::{Dynamic, Engine, EvalAltResult, ImmutableString, NativeCallContext};

use crate::log::{Event, Log};

impl Log {
    /// The same log, of a store that says later that a row is written.
    pub(crate) fn slow(&self) -> Self {
        let mut slow = self.clone();
        slow.untold = Some(Arc::default());
        slow
    }

    /// Says of what is written that it is.
    pub(crate) fn tell(&self) {
        let untold = self
            .untold
            .iter()
            .flat_map(|untold| std::mem::take(&mut *untold.lock().unwrap()));
        untold.for_each(|done| done(Ok(())));
    }
}

/// The other side: what it was asked is done once for each key.
#[derive(Default)]
pub(crate) struct Server {
    seen: HashSet<String>,
    /// How often each thing was made.
    pub(crate) effects: BTreeMap<String, usize>,
}

impl Server {
    /// As it is where these requests have reached it.
    pub(crate) fn after(log: &Log) -> Self {
        let mut server = Self::default();
        for kept in log.kept() {
            if kept.attempts > 0 {
                server.carry_out(kept.id, &kept.request);
            }
        }
        server
    }

    fn carry_out(&mut self, id: RequestId, request: &Request) {
        let key = request
            .idempotency_key
            .text(id)
            .map_or_else(|| id.to_string(), std::borrow::Cow::into_owned);
        if self.seen.insert(key) {
            *self.effects.entry(request.target[1..].to_owned()).or_default() += 1;
        }
    }

    fn answer(&mut self, sent: Sent) {
        self.carry_out(sent.id(), sent.request());
        let name = sent.request().target[1..].to_owned();
        if name.starts_with("bad") {
            let refused = Failure::new(FailureKind::Named("card_error".into()), Effect::None, &*name);
            sent.fail(refused);
        } else if name.starts_with("list") {
            sent.complete(Ok(inflight_core::Success {
                object_id: None,
                response: inflight_core::Response::new(
                    200,
                    r#"{"object":"list","n":1.10,"of":[1,null,"$x"]}"#.to_owned(),
                ),
            }));
        } else {
            sent.succeed(&name);
        }
    }
}

/// What a script builds a request with.
#[derive(Clone)]
struct Thing(String);

fn request(name: &str) -> Request {
    inflight_rhai::uncharged(|| Request::new(Method::Post, format!("/{name}")).operation("thing.create"))
}

thread_local! {
    /// What the script's `shut_down()` closes, once.
    static SHUTS_DOWN: RefCell<Option<Registry>> = const { RefCell::new(None) };
}

pub(crate) fn engine() -> FiberEngine {
    type Answer<T> = Result<T, Box<EvalAltResult>>;
    let mut engine = Engine::new();
    engine.set_max_expr_depths(64, 64);
    InflightPackage::new().register_into_engine(&mut engine);
    engine.register_type_with_name::<Thing>("Thing");
    engine.register_fn("thing", |name: ImmutableString| Thing(name.into()));
    engine.register_fn(
        "create_async",
        |ctx: NativeCallContext, thing: &mut Thing| -> Answer<ImmutableString> {
            inflight_rhai::submit_request(&ctx, request(&thing.0))
        },
    );
    engine.register_fn(
        "create",
        |ctx: NativeCallContext, thing: &mut Thing| -> Answer<Dynamic> {
            inflight_rhai::call_request(&ctx, request(&thing.0), false)
        },
    );
    engine.register_fn(
        "make_async",
        |ctx: NativeCallContext, name: ImmutableString| -> Answer<ImmutableString> {
            inflight_rhai::submit_request(&ctx, request(&name))
        },
    );
    engine.register_fn(
        "drop_async",
        |ctx: NativeCallContext, name: ImmutableString| -> Answer<ImmutableString> {
            inflight_rhai::submit_request(&ctx, request(&name).operation("thing.drop"))
        },
    );
    engine.register_fn("shut_down", || {
        if let Some(registry) = SHUTS_DOWN.take() {
            registry.close();
        }
    });
    engine.register_fn("host_waits", |_: NativeCallContext| -> Answer<()> {
        inflight_rhai::wait(std::future::ready(()))
    });
    engine.register_fn(
        "look_up",
        |ctx: NativeCallContext, what: ImmutableString| -> Answer<Dynamic> {
            inflight_rhai::journalled(&ctx, "look_up", &[what.clone().into()], || {
                let made = inflight_rhai::call_request(&ctx, request(&what), false)?;
                inflight_rhai::wait(tokio::time::sleep(Duration::from_millis(3)))?;
                Ok(made)
            })
        },
    );
    inflight_rhai::register_async_fn(&mut engine, "ask_host", |what: ImmutableString| async move {
        tokio::time::sleep(Duration::from_millis(7)).await;
        Ok::<_, Box<EvalAltResult>>(format!("host says {what}"))
    });
    FiberEngine::new(engine)
}

/// What one run of a script gave.
pub(crate) struct Ended {
    pub(crate) result: Result<String, ScriptError>,
    pub(crate) lines: Vec<String>,
    pub(crate) warnings: Vec<String>,
    pub(crate) server: Server,
    pub(crate) log: Log,
}

/// The name that all runs here have.
const RUN: &str = "nightly";

/// Runs a script with what is in the log, until it ends.
pub(crate) fn run(script: &str, log: &Log, server: Server) -> Ended {
    run_until(script, log, server, usize::MAX)
}

/// As [`run`]; the process is stopped after so many turns.
pub(crate) fn run_until(script: &str, log: &Log, server: Server, turns: usize) -> Ended {
    let place = Place {
        turns,
        ..Place::default()
    };
    run_in(&place, script, log, server)
}

/// What a run is given beside its script.
pub(crate) struct Place {
    /// The process is stopped after so many turns.
    pub(crate) turns: usize,
    /// The program shuts down after so many turns: nothing more is accepted, and nothing sent.
    pub(crate) shuts_down_after: usize,
    /// It does so where the script calls `shut_down()`.
    pub(crate) shuts_down_on_call: bool,
    /// How many requests may be pending.
    pub(crate) limit: usize,
    /// Where modules are.
    pub(crate) folder: Option<PathBuf>,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            turns: usize::MAX,
            shuts_down_after: usize::MAX,
            shuts_down_on_call: false,
            limit: 100,
            folder: None,
        }
    }
}

pub(crate) fn run_in(place: &Place, script: &str, log: &Log, mut server: Server) -> Ended {
    let (registry, queue) = Registry::builder().store(Arc::new(log.clone())).build();
    let mut transport = Some(ManualTransport::new(queue));
    SHUTS_DOWN.set(place.shuts_down_on_call.then(|| registry.clone()));
    let run = Run::new(RUN, Arc::new(log.clone()));
    let limits = SessionLimits {
        pending: place.limit,
        unsent: place.limit,
    };
    let session = run.session(&registry, limits, log.kept());
    log.unended().for_each(|kept| registry.take_in(kept));
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let output = Arc::clone(&lines);
    let locals = Locals::for_session(session.clone()).with_output(Arc::new(move |line: &str| {
        output.lock().unwrap().push(line.to_owned());
    }));
    locals.set(run);
    if let Some(folder) = &place.folder {
        locals.set(ModuleFolder::new(folder));
    }
    let engine = engine();
    let script = engine.compile(script).unwrap();
    let limits = Limits {
        wall_time: Some(Duration::from_secs(3600)),
        ..Limits::default()
    };
    let mut fiber = script.run_then(
        RunOptions::new(locals).limits(limits),
        rhai::Scope::new(),
        |engine, value| Ok(inflight_rhai::value_text(engine, &value)),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let mut slow = Vec::new();
    let result = runtime.block_on(async {
        for turn in 0..place.turns {
            if turn == place.shuts_down_after {
                registry.close();
            }
            tokio::select! {
                biased;
                ended = &mut fiber => return ended,
                () = tokio::task::yield_now() => {}
            }
            // The worker goes after the script has been refused something.
            if turn == place.shuts_down_after {
                transport = None;
            }
            log.tell();
            match transport.as_mut().and_then(ManualTransport::try_next) {
                Some(sent) if sent.request().target.starts_with("/slow") => {
                    server.carry_out(sent.id(), sent.request());
                    slow.push(sent);
                }
                Some(sent) => server.answer(sent),
                None if !slow.is_empty() => server.answer(slow.remove(0)),
                // Nothing else can happen: time passes.
                None => tokio::time::advance(Duration::from_millis(5)).await,
            }
        }
        Err(ScriptError::cancelled())
    });
    let mut warnings = fiber.take_warnings();
    let unobserved = session.unobserved_failures().into_iter();
    warnings.extend(unobserved.filter_map(|(_, _, outcome)| Some(outcome.as_ref().as_ref().err()?.message.clone())));
    drop(fiber);
    // What is left unanswered reaches the other side all the same.
    while let Some(sent) = transport.as_mut().and_then(ManualTransport::try_next) {
        server.answer(sent);
    }
    let lines = lines.lock().unwrap().clone();
    Ended {
        result,
        lines,
        warnings,
        server,
        log: log.clone(),
    }
}

pub(crate) fn first(script: &str) -> Ended {
    run(script, &Log::default(), Server::default())
}

/// Kills the process after each of its writes and runs the script again: it ends as if nothing had happened.
#[track_caller]
pub(crate) fn survives(script: &str) {
    survives_in(&Place::default(), script);
}

/// As [`survives`], in this place.
#[track_caller]
pub(crate) fn survives_in(place: &Place, script: &str) {
    let whole = run_in(place, script, &Log::default(), Server::default());
    let value = whole
        .result
        .as_ref()
        .unwrap_or_else(|error| panic!("{script}: {error}"));
    for writes in 0..=whole.log.events().len() {
        let log = whole.log.cut(writes);
        let printed = log.lines();
        let again = run_in(place, script, &log, Server::after(&log));
        let context = format!("{script}\ncut after {writes} writes: {:#?}", shown(&log, &again.log));
        let result = again.result.unwrap_or_else(|error| panic!("{error}\n{context}"));
        assert_eq!(&result, value, "{context}");
        assert_eq!(again.lines, whole.lines[printed..], "{context}");
        assert_eq!(again.warnings, whole.warnings, "{context}");
        assert_eq!(again.server.effects, whole.server.effects, "{context}");
        assert!(again.server.effects.values().all(|times| *times == 1), "{context}");
        is_replayed(place, script, &again.log, value);
    }
}

/// As [`survives`], with a quick store and a slow one, for a script whose course depends on what ends first, and which gives the lines that it has printed: those that the
/// dead process printed and those of the next one are these lines, and nothing is done twice.
#[track_caller]
pub(crate) fn stays_consistent(script: &str) {
    stays_consistent_on(&Log::default(), script);
    stays_consistent_on(&Log::default().slow(), script);
}

#[track_caller]
fn stays_consistent_on(store: &Log, script: &str) {
    let whole = run(script, store, Server::default());
    whole
        .result
        .as_ref()
        .unwrap_or_else(|error| panic!("{script}: {error}"));
    let requests = whole.server.effects.len();
    for writes in 0..=whole.log.events().len() {
        let log = whole.log.cut(writes);
        let mut lines = whole.lines[..log.lines()].to_vec();
        let again = run(script, &log, Server::after(&log));
        let context = format!("{script}\ncut after {writes} writes: {:#?}", shown(&log, &again.log));
        let value = again.result.unwrap_or_else(|error| panic!("{error}\n{context}"));
        lines.extend(again.lines);
        assert_eq!(
            value,
            inflight_rhai::value_text(engine().engine(), &lines.into()),
            "{context}"
        );
        assert_eq!(again.server.effects.len(), requests, "{context}");
        assert!(again.server.effects.values().all(|times| *times == 1), "{context}");
        is_replayed(&Place::default(), script, &again.log, &value);
    }
}

/// A run that has ended is run once more: it gives the same without doing anything.
#[track_caller]
fn is_replayed(place: &Place, script: &str, log: &Log, value: &str) {
    let (writes, done) = (log.entries().len(), Server::after(log).effects);
    let again = run_in(place, script, log, Server::after(log));
    assert_eq!(
        again.result.as_deref().map_err(ToString::to_string),
        Ok(value),
        "{script}"
    );
    assert_eq!((again.lines.len(), log.entries().len()), (0, writes), "{script}");
    assert_eq!(again.server.effects, done, "{script}");
}

fn shown(before: &Log, after: &Log) -> Vec<String> {
    let mut names: HashMap<RequestId, String> = HashMap::new();
    let begun = before.events().len();
    let events = after.events().into_iter().enumerate();
    let shown = events.map(|(at, event)| {
        let mark = if at < begun { " " } else { "+" };
        let text = match event {
            Event::Entry(e) => format!(
                "{}/{} {} {}",
                e.task,
                e.sequence,
                e.operation,
                String::from_utf8_lossy(&e.answer)
            ),
            Event::Row(id, request) => {
                names.insert(id, request.target.to_string());
                format!("row {}", request.target)
            }
            Event::Sent(id) => format!("sent {}", names[&id]),
            Event::Ended(id, status, _) => format!("{} {}", status.as_str(), names[&id]),
        };
        format!("{mark} {text}")
    });
    shown.collect()
}
