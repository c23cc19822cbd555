//! `import`, confined: a script's modules lie in its own folder or below it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::future::poll_fn;
use std::path::{Component, Path, PathBuf};
use std::task::Poll;

use rhai::{Dynamic, Engine, EvalAltResult, Module, ModuleResolver, Position, Scope, Shared};

use crate::coroutine::{Context, Role, running};
use crate::heap::uncharged;
use crate::outside::{OutsideCall, end_run};
use crate::wait::wait;
use crate::waits::Awaited;
use crate::wakers::Wakers;

/// A larger file is no module: compiling is native work that cannot be preempted.
const LARGEST: u64 = 64 * 1024;

/// The folder that a script may import from; a value of its [`Locals`](crate::Locals). Without one a script imports nothing.
#[derive(Debug, Clone)]
pub struct ModuleFolder(PathBuf);

impl ModuleFolder {
    /// This folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }
}

/// Resolves `import "name"` to `name.rhai` below the running script's own [`ModuleFolder`]: no absolute path, no `..`, no link
/// that leads out. Each script evaluates its modules itself, since a module may make requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConfinedModules;

/// The modules of one running script.
#[derive(Default)]
pub(crate) struct Loaded {
    modules: RefCell<HashMap<PathBuf, Shared<Module>>>,
    /// What the coroutines of the script are loading, each by one of them.
    loading: RefCell<Vec<(Role, PathBuf)>>,
    /// Coroutines that wait for another one's module.
    waiting: RefCell<Wakers>,
}

impl Loaded {
    pub(crate) fn is_empty(&self) -> bool {
        self.modules.borrow().is_empty()
    }

    pub(crate) fn clear(&self) {
        self.modules.take();
    }
}

impl Loaded {
    /// Who is loading the module in this file.
    pub(crate) fn loader(&self, file: &Path) -> Option<Role> {
        let loading = self.loading.borrow();
        loading.iter().find(|(_, path)| path == file).map(|(loader, _)| *loader)
    }

    /// Begins to load a module, or gives it, as soon as no other coroutine is loading it. `None` where that would never be: the module
    /// imports itself.
    fn begin(&self, context: &Context, file: &Path) -> Result<Option<Begun>, Box<EvalAltResult>> {
        if let Some(begun) = self.begin_now(context.waiter(), file) {
            return Ok(Some(begun));
        }
        let waits = &context.script.waits;
        let imports_itself = |loader| waits.lead(loader, context.waiter(), self);
        if self.loader(file).is_some_and(imports_itself) {
            return Ok(None);
        }
        wait(poll_fn(|cx| match self.begin_now(context.waiter(), file) {
            Some(begun) => Poll::Ready(Some(begun)),
            None => {
                self.waiting.borrow_mut().add(cx.waker());
                Poll::Pending
            }
        }))
    }

    /// `None` where the module is being loaded.
    fn begin_now(&self, who: Role, file: &Path) -> Option<Begun> {
        if let Some(module) = self.modules.borrow().get(file) {
            return Some(Begun::Loaded(module.clone()));
        }
        let mut loading = self.loading.borrow_mut();
        if loading.iter().any(|(_, path)| path == file) {
            return None;
        }
        // Also asked where one waits, which is the host's to pay.
        uncharged(|| loading.push((who, file.to_owned())));
        Some(Begun::Loading)
    }

    /// As [`begin`](Self::begin), in the order in which the first run of the script loaded its modules: what another coroutine is
    /// loading is waited for.
    fn begin_in_turn(
        &self,
        context: &Context,
        file: &Path,
        path: &str,
        position: Position,
    ) -> Result<Option<Begun>, Box<EvalAltResult>> {
        let mut begun = None;
        let call = OutsideCall::at(position, "import").text(path).waits();
        let awaited = Awaited::Module(file.to_owned());
        let turn = context.script.waits.during(context.waiter(), awaited, || {
            call.answered(|| {
                begun = self.begin(context, file)?;
                Ok(Dynamic::from(begun.is_some()).into())
            })
        });
        let went_on = turn.answer?.as_bool().unwrap_or(false);
        if turn.replayed.is_none() || !went_on {
            return Ok(begun);
        }
        match self.begin_now(context.waiter(), file) {
            Some(begun) => Ok(Some(begun)),
            None => Err(end_run(
                "the modules are not loaded in the order of the first run",
                position,
            )),
        }
    }

    /// The module is loaded, or has failed to.
    fn end(&self, file: PathBuf, module: Option<Shared<Module>>) {
        uncharged(|| self.loading.borrow_mut().retain(|(_, path)| *path != file));
        if let Some(module) = module {
            self.modules.borrow_mut().insert(file, module);
        }
        self.waiting.take().wake();
    }
}

enum Begun {
    Loaded(Shared<Module>),
    Loading,
}

impl ModuleResolver for ConfinedModules {
    fn resolve(
        &self,
        engine: &Engine,
        _source: Option<&str>,
        path: &str,
        position: Position,
    ) -> Result<Shared<Module>, Box<EvalAltResult>> {
        let failed = |reason: String| -> Box<EvalAltResult> {
            let runtime = EvalAltResult::ErrorRuntime(reason.into(), position);
            EvalAltResult::ErrorInModule(path.to_owned(), Box::new(runtime), position).into()
        };
        let context = running().ok_or_else(|| failed("modules need a script that runs as a fiber".into()))?;
        let folder = context
            .script
            .locals
            .get::<ModuleFolder>()
            .ok_or_else(|| failed("this script has no folder to import modules from".into()))?;
        let file = confined(&folder.0, path).map_err(failed)?;
        let loaded = &context.script.modules;
        match loaded.begin_in_turn(&context, &file, path, position)? {
            Some(Begun::Loaded(module)) => return Ok(module),
            Some(Begun::Loading) => {}
            None => return Err(failed(format!("the module `{path}` imports itself"))),
        }
        let mut loading = Loading {
            loaded,
            file: Some(file),
            module: None,
        };
        let module = load(engine, loading.file.as_deref().unwrap_or(Path::new("")), path, position);
        loading.module = module.as_ref().ok().cloned();
        module
    }
}

/// A module that is being loaded. Whoever waits for it goes on when this is dropped, also where a host function panics in it.
struct Loading<'a> {
    loaded: &'a Loaded,
    file: Option<PathBuf>,
    module: Option<Shared<Module>>,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            self.loaded.end(file, self.module.take());
        }
    }
}

fn load(engine: &Engine, file: &Path, path: &str, position: Position) -> Result<Shared<Module>, Box<EvalAltResult>> {
    let failed = |error: Box<EvalAltResult>| EvalAltResult::ErrorInModule(path.to_owned(), error, position);
    let text = fs::read_to_string(file).map_err(|error| failed(format!("it cannot be read: {error}").into()))?;
    let ast = engine.compile(text).map_err(|error| failed(Box::new(error.into())))?;
    let module = Module::eval_ast_as_new(Scope::new(), &ast, engine).map_err(failed)?;
    Ok(module.into())
}

/// The module's file, where it is inside the folder.
fn confined(folder: &Path, path: &str) -> Result<PathBuf, String> {
    let outside = || format!("`{path}` is not below the script's own folder");
    let relative = Path::new(path);
    let plain = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if path.is_empty() || !plain {
        return Err(outside());
    }
    let mut file = folder.join(relative).into_os_string();
    file.push(".rhai");
    let missing = |error| format!("there is no module `{path}`: {error}");
    let folder = fs::canonicalize(folder).map_err(missing)?;
    // Links are followed before the look at where the file is.
    let file = fs::canonicalize(file).map_err(missing)?;
    if !file.starts_with(&folder) {
        return Err(outside());
    }
    let metadata = fs::metadata(&file).map_err(missing)?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(format!("`{path}` is not a file of at most {LARGEST} bytes"));
    }
    Ok(file)
}
