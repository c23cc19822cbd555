//! `import`, confined: a script's modules lie in its own folder or below it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use rhai::{Engine, EvalAltResult, Module, ModuleResolver, Position, Scope, Shared};

use crate::coroutine::running;

/// A larger file is no module.
const LARGEST: u64 = 1024 * 1024;

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
    loading: RefCell<Vec<PathBuf>>,
}

impl Loaded {
    pub(crate) fn is_empty(&self) -> bool {
        self.modules.borrow().is_empty()
    }

    pub(crate) fn clear(&self) {
        self.modules.take();
    }
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
        if let Some(module) = loaded.modules.borrow().get(&file) {
            return Ok(module.clone());
        }
        if loaded.loading.borrow().contains(&file) {
            return Err(failed(format!("the module `{path}` imports itself")));
        }
        let text = fs::read_to_string(&file).map_err(|error| failed(format!("`{path}` cannot be read: {error}")))?;
        let ast = engine
            .compile(text)
            .map_err(|error| EvalAltResult::ErrorInModule(path.to_owned(), Box::new(error.into()), position))?;
        loaded.loading.borrow_mut().push(file.clone());
        let module = Module::eval_ast_as_new(Scope::new(), &ast, engine);
        loaded.loading.borrow_mut().pop();
        let module: Shared<Module> = module
            .map_err(|error| EvalAltResult::ErrorInModule(path.to_owned(), error, position))?
            .into();
        loaded.modules.borrow_mut().insert(file, module.clone());
        Ok(module)
    }
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
