//! Engines whose scripts run as fibers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::panic::resume_unwind;
use std::rc::Rc;

use rhai::{AST, Dynamic, Engine, EvalAltResult, FuncArgs, ModuleResolver, Position, Scope, Variant};

use crate::argument::value_type;
use crate::coroutine::{near, on_operation, running};
use crate::error::{ScriptError, ScriptErrorKind};
use crate::fiber::{Fiber, Limits};
use crate::heap::{self, uncharged};
use crate::locals::Locals;
use crate::modules::ConfinedModules;
use crate::outside::OutsideCall;
use crate::state::{ScriptState, Stop};
use crate::ticker;
use crate::vm::{Code, Evaluator};
use crate::wait::token;

/// A Rhai engine whose scripts run as fibers. A cheap handle; one engine serves all scripts of its thread.
#[derive(Clone)]
pub struct FiberEngine {
    engine: Rc<Engine>,
    /// Scripts by their texts, for hosts that run the same few texts again and again.
    compiled: Rc<RefCell<HashMap<Box<str>, Rc<AST>>>>,
}

/// How many compiled scripts an engine keeps for [`FiberEngine::compile_cached`].
const CACHED_SCRIPTS: usize = 128;

/// What one run of a script is given.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// The script's own values. By default no session, and output to standard output.
    pub locals: Locals,
    /// The script's limits. By default heap and stack alone are limited.
    pub limits: Limits,
}

impl RunOptions {
    /// Options with these values and the default limits.
    #[must_use]
    pub fn new(locals: Locals) -> Self {
        Self {
            locals,
            limits: Limits::default(),
        }
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// How many bytes a script may hold whose values are harmless as text: a text of half of it, named in an array of the other half.
const HARMLESS: usize = 64 * 1024;

/// Leaves a script that is to stop by unwinding, where it holds enough for a text without bounds.
///
/// Rhai turns a value into text itself where the function that is to do it fails (in `${…}`, in `text + value`), as it does where the
/// operation of that call is the one at which the script is stopped: without an end, and without a look at any limit. An error, which has
/// its place in the script, is for scripts that hold little. A program that aborts where others unwind has only that. (With `sync` the lock
/// of a value in whose method it happens stays poisoned: where the host shares that value with other scripts, they end as panics.)
fn leave_at_once(script: &ScriptState, stop: Stop) {
    if cfg!(panic = "unwind") && heap::used() > HARMLESS {
        script.note_place(near());
        resume_unwind(Box::new(stop));
    }
}

/// A script that was compiled once and runs many times, each run with variables of its own.
#[derive(Clone)]
pub struct Script {
    engine: FiberEngine,
    ast: Rc<AST>,
    code: Code,
}

impl FiberEngine {
    /// Takes over an engine with everything that is registered in it.
    ///
    /// Its `on_progress`, `on_print` and `on_debug` are replaced: the first preempts scripts that compute, the others write to
    /// the script's own [`Locals`]. Its module resolver becomes [`ConfinedModules`]; for another one see
    /// [`with_module_resolver`](Self::with_module_resolver).
    ///
    /// How deeply functions may call one another and expressions may nest is the engine's own setting.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self::with_module_resolver(engine, ConfinedModules)
    }

    /// Takes over an engine whose scripts import modules by this resolver.
    #[must_use]
    pub fn with_module_resolver(mut engine: Engine, modules: impl ModuleResolver + 'static) -> Self {
        ticker::start();
        engine.on_progress(|_| {
            let stop = on_operation()?;
            if let Some(context) = running() {
                context.script.stop(stop);
                leave_at_once(&context.script, stop);
            }
            Some(token(stop))
        });
        engine.set_module_resolver(modules);
        engine.on_print(print);
        engine.on_debug(|text, source, position| match source {
            Some(source) => print(&format!("{source} @ {position:?}: {text}")),
            None => print(&format!("{position:?}: {text}")),
        });
        Self {
            engine: Rc::new(engine),
            compiled: Rc::default(),
        }
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Compiles a script.
    ///
    /// # Errors
    /// [`ScriptErrorKind::Syntax`] where it does not parse, with the position.
    pub fn compile(&self, text: &str) -> Result<Script, ScriptError> {
        let ast = self
            .engine
            .compile(text)
            .map_err(|error| ScriptError::from_rhai(&self.engine, &EvalAltResult::from(error)))?;
        Ok(self.script(ast))
    }

    /// Compiles a script, or takes it from the last texts that this engine compiled here. A cache for hosts that run the same few
    /// texts again and again; it keeps at most 128.
    ///
    /// # Errors
    /// As [`compile`](Self::compile).
    pub fn compile_cached(&self, text: &str) -> Result<Script, ScriptError> {
        if let Some(ast) = self.compiled.borrow().get(text) {
            return Ok(self.script_of(Rc::clone(ast)));
        }
        let script = self.compile(text)?;
        let mut compiled = self.compiled.borrow_mut();
        if compiled.len() >= CACHED_SCRIPTS {
            compiled.clear();
        }
        compiled.insert(text.into(), Rc::clone(&script.ast));
        Ok(script)
    }

    /// A script of this syntax tree, compiled by an engine with the same functions.
    #[must_use]
    pub fn script(&self, ast: AST) -> Script {
        self.script_of(Rc::new(ast))
    }

    fn script_of(&self, ast: Rc<AST>) -> Script {
        Script {
            engine: self.clone(),
            code: Code::compile(&ast, Evaluator::default()),
            ast,
        }
    }

    /// Evaluates a script without a session: for scripts that wait for `register_async_fn` functions only.
    pub fn eval_async<T: Variant + Clone>(&self, text: &str) -> Fiber<T> {
        self.eval_async_with(RunOptions::default(), text)
    }

    /// Evaluates a script.
    pub fn eval_async_with<T: Variant + Clone>(&self, options: RunOptions, text: &str) -> Fiber<T> {
        match self.compile(text) {
            Ok(script) => script.run_with(options, Scope::new()),
            Err(error) => Fiber::new(&self.engine, options, move || Err(error)),
        }
    }

    /// Calls one of a script's functions. The script's own statements are run first.
    pub fn call_fn_async<T: Variant + Clone>(
        &self,
        options: RunOptions,
        script: &Script,
        name: &str,
        args: impl FuncArgs + 'static,
    ) -> Fiber<T> {
        let (engine, ast, name) = (self.clone(), Rc::clone(&script.ast), name.to_owned());
        Fiber::new(&self.engine, options, move || {
            let mut scope = Scope::new();
            engine
                .engine
                .call_fn::<Dynamic>(&mut scope, &ast, name, args)
                .map_err(|error| ScriptError::in_script(&engine.engine, &ast, &error))
                .and_then(typed)
        })
    }
}

impl Script {
    /// Runs the script.
    pub fn run<T: Variant + Clone>(&self, options: RunOptions) -> Fiber<T> {
        self.run_with(options, Scope::new())
    }

    /// Runs the script with these variables and constants in scope.
    pub fn run_with<T: Variant + Clone>(&self, options: RunOptions, scope: Scope<'static>) -> Fiber<T> {
        self.run_then(options, scope, |_, value| typed(value))
    }

    /// Runs the script and turns its value into something else, still on the script's own stack: what a script gives may nest
    /// as deeply as its memory allows, and only there is room to take it apart.
    pub fn run_then<T: 'static>(
        &self,
        options: RunOptions,
        mut scope: Scope<'static>,
        then: impl FnOnce(&Engine, Dynamic) -> Result<T, ScriptError> + 'static,
    ) -> Fiber<T> {
        let (engine, ast, code) = (self.engine.clone(), Rc::clone(&self.ast), self.code.clone());
        Fiber::new(&self.engine.engine, options, move || {
            code.evaluate(&engine.engine, &mut scope, &ast)
                .map_err(|error| ScriptError::in_script(&engine.engine, &ast, &error))
                .and_then(|value| then(&engine.engine, value))
        })
    }

    /// The same script on this evaluator; on the walker where the VM cannot run all of it, or where there is no VM (feature
    /// `grain`). The two differ: see `docs/grain.md` before choosing the VM.
    #[must_use]
    pub fn with_evaluator(mut self, evaluator: Evaluator) -> Self {
        self.code = Code::compile(&self.ast, evaluator);
        self
    }

    /// What evaluates it.
    #[must_use]
    pub fn evaluator(&self) -> Evaluator {
        self.code.evaluator()
    }

    /// The engine that runs it.
    #[must_use]
    pub fn engine(&self) -> &FiberEngine {
        &self.engine
    }

    /// The syntax tree.
    #[must_use]
    pub fn ast(&self) -> &AST {
        &self.ast
    }
}

/// The value as the type that the host asked for.
fn typed<T: Variant + Clone>(value: Dynamic) -> Result<T, ScriptError> {
    let found = value_type(&value);
    value.try_cast_result::<T>().map_err(|_| {
        ScriptError::new(
            ScriptErrorKind::Runtime,
            format!(
                "the script gave a value of type {found}, not of type {}",
                std::any::type_name::<T>()
            ),
        )
    })
}

fn print(text: &str) {
    match running() {
        // What an earlier run has printed is not printed again.
        Some(context) => {
            let print = || uncharged(|| context.script.locals.print(text));
            // A script that is to stop does so at its next operation.
            let _ = OutsideCall::at(Position::NONE, "print").answer(|| {
                print();
                Ok(Dynamic::UNIT.into())
            });
        }
        None => println!("{text}"),
    }
}

impl fmt::Debug for FiberEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FiberEngine")
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script")
            .field("source", &self.ast.source())
            .finish_non_exhaustive()
    }
}
