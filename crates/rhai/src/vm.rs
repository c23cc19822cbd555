//! What evaluates a script: Rhai's tree walker, or its bytecode VM where that gives what the walker gives.

use rhai::{AST, Dynamic, Engine, EvalAltResult, Scope};

/// What evaluates a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Evaluator {
    /// Rhai's tree walker, which runs every script.
    #[default]
    Walker,
    /// Rhai's bytecode VM (feature `grain`), for scripts that it can run without the walker's help.
    Vm,
}

/// What a script needs beside its syntax tree.
#[derive(Clone, Default)]
pub(crate) struct Code {
    #[cfg(feature = "grain")]
    program: Option<rhai::grain::SharedProgram>,
}

impl Code {
    /// The code for this evaluator; for the walker where the VM cannot run the whole script.
    pub(crate) fn compile(ast: &AST, evaluator: Evaluator) -> Self {
        #[cfg(feature = "grain")]
        if evaluator == Evaluator::Vm {
            let program = rhai::grain::Compiler::new().compile(ast);
            return Self {
                program: (program.residual_count() == 0).then(|| program.into()),
            };
        }
        let _ = (ast, evaluator);
        Self::default()
    }

    pub(crate) fn evaluator(&self) -> Evaluator {
        #[cfg(feature = "grain")]
        if self.program.is_some() {
            return Evaluator::Vm;
        }
        Evaluator::Walker
    }

    /// Evaluates the script.
    pub(crate) fn evaluate(
        &self,
        engine: &Engine,
        scope: &mut Scope<'static>,
        ast: &AST,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        #[cfg(feature = "grain")]
        if let Some(program) = &self.program {
            // Without callbacks, closures that are handed to host functions would not be found.
            return rhai::grain::Vm::new(engine).eval_with_callbacks(scope, program);
        }
        engine.eval_ast_with_scope(scope, ast)
    }
}
