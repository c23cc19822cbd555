//! Which script runs when: copies are started in order, as many at once as there is room for.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use inflight::core::{Priority, Registry, Session};
use inflight::rhai::{FiberEngine, Script, ScriptError, ScriptErrorKind, max_live_fibers};
use inflight::{Inflight, Metrics, ScriptOptions, ScriptReport, ScriptRun, run_script};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::durable::{Begun, Runs, RunsError, finish};
use crate::monitor::Monitor;
use crate::run::output::Output;
use crate::script::ScriptFile;
use crate::text::one_line;

/// What is to be run.
pub(crate) struct Plan {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) scripts: Vec<ScriptFile>,
    pub(crate) copies: u32,
    pub(crate) priority: Option<Priority>,
    /// Where the copies' runs are kept, if they are any.
    pub(crate) runs: Option<Runs>,
}

/// How one copy of a script ended.
pub(crate) struct RunResult {
    /// The script's place in the plan.
    pub(crate) script: usize,
    /// The copy, counted from 1.
    pub(crate) copy: u32,
    pub(crate) report: ScriptReport,
}

impl Plan {
    pub(crate) fn new(paths: Vec<PathBuf>, scripts: Vec<ScriptFile>, copies: u32, priority: Option<Priority>) -> Self {
        Self {
            paths,
            scripts,
            copies,
            priority,
            runs: None,
        }
    }

    /// Makes the copies runs that go on where they were.
    pub(crate) fn runs(self, runs: Option<Runs>) -> Result<Self, RunsError> {
        if let Some(runs) = &runs {
            let labels = (0..self.total()).map(|number| {
                let (script, copy) = self.place(number);
                self.label(script, copy)
            });
            runs.check(labels)?;
        }
        Ok(Self { runs, ..self })
    }

    /// The script and the copy of this number: the first copy of each script, then the second of each, …
    fn place(&self, number: usize) -> (usize, u32) {
        let copy = u32::try_from(number / self.scripts.len()).map_or(u32::MAX, |copy| copy.saturating_add(1));
        (number % self.scripts.len(), copy)
    }

    pub(crate) fn total(&self) -> usize {
        self.scripts.len().saturating_mul(self.copies as usize)
    }

    /// The name that a copy's output and errors are shown under.
    pub(crate) fn label(&self, script: usize, copy: u32) -> String {
        let name = &self.scripts[script].name;
        if self.copies == 1 {
            name.clone()
        } else {
            format!("{name}#{copy}")
        }
    }

    /// `name:line:column: message`.
    pub(crate) fn error_line(&self, result: &RunResult, error: &ScriptError) -> String {
        let label = self.label(result.script, result.copy);
        let message = one_line(error.message());
        match error.position() {
            Some((line, column)) => format!("{label}:{line}:{column}: {message}"),
            None => format!("{label}: {message}"),
        }
    }

    /// Failures in place of the results that never came: something panicked where it was not the script's.
    pub(crate) fn missing(&self, results: &[RunResult]) -> Vec<RunResult> {
        if results.len() == self.total() {
            return Vec::new();
        }
        let came: HashSet<(usize, u32)> = results.iter().map(|result| (result.script, result.copy)).collect();
        (0..self.scripts.len())
            .flat_map(|script| (1..=self.copies).map(move |copy| (script, copy)))
            .filter(|place| !came.contains(place))
            .map(|(script, copy)| {
                let message = "the script gave no result: the program panicked";
                RunResult {
                    script,
                    copy,
                    report: ScriptReport::failed(ScriptError::of_kind(ScriptErrorKind::Panic, message)),
                }
            })
            .collect()
    }
}

/// What each thread of the pool is given.
#[derive(Clone)]
struct Feed {
    plan: Arc<Plan>,
    /// The number of the next copy that any thread starts.
    next: Arc<AtomicUsize>,
    registry: Registry,
    metrics: Option<Arc<Metrics>>,
    monitor: Arc<Monitor>,
    time_limit: Duration,
    output: Arc<Output>,
    cancel: CancellationToken,
    results: mpsc::UnboundedSender<RunResult>,
    live: usize,
}

/// Starts all copies on the pool's threads. The channel closes when the last has ended.
pub(crate) fn start(
    plan: &Arc<Plan>,
    inflight: &Inflight,
    monitor: &Arc<Monitor>,
    time_limit: Duration,
    output: &Arc<Output>,
    cancel: &CancellationToken,
    results: mpsc::UnboundedSender<RunResult>,
) {
    let threads = inflight.pool().threads().min(plan.total().max(1));
    let feed = Feed {
        plan: Arc::clone(plan),
        next: Arc::default(),
        registry: inflight.registry().clone(),
        metrics: inflight.metrics().cloned(),
        monitor: Arc::clone(monitor),
        time_limit,
        output: Arc::clone(output),
        cancel: cancel.clone(),
        results,
        live: (max_live_fibers() / threads).max(1),
    };
    for thread in 0..threads {
        let feed = feed.clone();
        // Its end is the end of its sender.
        drop(inflight.pool().spawn_on(thread, move |engine| feed.run(engine)));
    }
}

/// A thread's scripts, each compiled once, when its first copy starts.
struct Compiled {
    engine: FiberEngine,
    scripts: HashMap<usize, Result<Script, Rc<ScriptError>>>,
}

impl Compiled {
    fn get(&mut self, plan: &Plan, script: usize) -> Result<Script, ScriptError> {
        let engine = &self.engine;
        let compiled = self.scripts.entry(script).or_insert_with(|| {
            let text = plan.scripts[script].text.as_ref();
            text.map_err(|error| ScriptError::of_kind(ScriptErrorKind::Syntax, &format!("the script {error}")))
                .and_then(|text| engine.compile(text))
                .map_err(Rc::new)
        });
        compiled.clone().map_err(|error| error.again())
    }
}

impl Feed {
    async fn run(self, engine: FiberEngine) {
        let mut compiled = Compiled {
            engine,
            scripts: HashMap::new(),
        };
        let live = Arc::new(Semaphore::new(self.live));
        let mut running = JoinSet::new();
        while let Some((script, copy)) = self.next() {
            let Some(place) = self.place(&live).await else {
                self.not_started(script, copy, ScriptError::cancelled());
                continue;
            };
            match compiled.get(&self.plan, script) {
                Err(error) => self.not_started(script, copy, error),
                Ok(compiled) => {
                    let feed = self.clone();
                    running.spawn_local(async move {
                        feed.run_in_session(&compiled, script, copy).await;
                        drop(place);
                    });
                    // It runs to its first wait before the next is considered: what it submits counts then.
                    tokio::task::yield_now().await;
                    while running.try_join_next().is_some() {}
                }
            }
        }
        while running.join_next().await.is_some() {}
    }

    /// The next copy that no thread has taken yet.
    fn next(&self) -> Option<(usize, u32)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.plan.total()).then(|| self.plan.place(number))
    }

    /// A place among the live scripts, and room in the queue for all that one script may submit: a script that is started could
    /// otherwise find the queue full of others' requests. `None` where the run is cancelled.
    async fn place(&self, live: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        let places = async {
            let place = Arc::clone(live).acquire_owned().await.ok();
            self.registry.room(self.registry.session_share()).await;
            place
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => None,
            place = places => place,
        }
    }

    /// Runs a copy in a session of its own, or in its run's.
    async fn run_in_session(&self, script: &Script, number: usize, copy: u32) {
        // One that cannot be read does not come here.
        let text = self.plan.scripts[number].text.as_deref().unwrap_or_default();
        let begun = match &self.plan.runs {
            None => None,
            Some(runs) => {
                let label = self.plan.label(number, copy);
                Some(runs.begin(&label, self.plan.total() == 1, text).await)
            }
        };
        let (session, report) = match begun {
            None => {
                let session = self.registry.session();
                let id = session.id();
                (id, self.run_copy(script, number, copy, session, None).await)
            }
            Some(Begun::Ended(report)) => return self.report(number, copy, None, report),
            Some(Begun::Goes(kept, run)) => {
                let session = run.session(&self.registry);
                let id = session.id();
                let report = self.run_copy(script, number, copy, session, Some(run)).await;
                (id, finish(kept, report, text).await)
            }
        };
        self.report(number, copy, Some(session), report);
    }

    async fn run_copy(
        &self,
        script: &Script,
        number: usize,
        copy: u32,
        session: Session,
        run: Option<ScriptRun>,
    ) -> ScriptReport {
        let output = Arc::clone(&self.output);
        let label = self.plan.label(number, copy);
        self.monitor.script_began(&label, &session);
        let options = ScriptOptions {
            time_limit: Some(self.time_limit),
            priority: self.plan.priority,
            metrics: self.metrics.clone(),
            output: Some(Arc::new(move |text: &str| output.print(&label, text))),
            module_folder: self.plan.paths[number].parent().map(|folder| match folder {
                // A path without a folder is relative to where the program runs.
                folder if folder.as_os_str().is_empty() => PathBuf::from("."),
                folder => folder.to_owned(),
            }),
            cancel: self.cancel.clone(),
            run,
            ..ScriptOptions::default()
        };
        run_script(script, session, options).await
    }

    fn not_started(&self, script: usize, copy: u32, error: ScriptError) {
        if let Some(metrics) = &self.metrics {
            metrics.script_ended(Some(error.kind()));
        }
        self.report(script, copy, None, ScriptReport::failed(error));
    }

    /// `session` is the script's, where it was started.
    fn report(&self, script: usize, copy: u32, session: Option<u64>, report: ScriptReport) {
        let result = RunResult { script, copy, report };
        let error = result.report.result.as_ref().err();
        let error = error.map(|error| self.plan.error_line(&result, error));
        let label = self.plan.label(script, copy);
        self.monitor.script_ended(&label, session, error.as_deref());
        // Nobody listens only when the program is ending.
        let _ = self.results.send(result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_that_never_came_is_a_failure() {
        let script = |name: &str| ScriptFile {
            name: name.into(),
            text: Ok(String::new()),
        };
        let plan = Plan::new(vec!["a".into(), "b".into()], vec![script("a"), script("b")], 2, None);
        let came = |script, copy| RunResult {
            script,
            copy,
            report: ScriptReport::failed(ScriptError::cancelled()),
        };
        let mut results = vec![came(1, 1), came(0, 2)];
        let missing = plan.missing(&results);
        let places: Vec<_> = missing.iter().map(|result| (result.script, result.copy)).collect();
        assert_eq!(places, [(0, 1), (1, 2)]);
        for result in &missing {
            let error = result.report.result.as_ref().expect_err("a failure");
            assert_eq!(error.kind(), ScriptErrorKind::Panic);
        }
        results.extend(missing);
        assert!(plan.missing(&results).is_empty());
    }
}
