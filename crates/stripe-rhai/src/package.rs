//! The bindings as a Rhai package.

use std::sync::Arc;

use inflight_rhai::InflightPackage;
use inflight_stripe::webhook::WebhookSecret;
use rhai::packages::Package;
use rhai::{Engine, Module, Shared};

use crate::builder;
use crate::configure;
use crate::host::StripeHost;
use crate::key::ApiKey;
use crate::namespace::{ROOT, root_module};
use crate::{opaque, pages};

/// How deeply a script's functions may call one another.
const MAX_CALL_LEVELS: usize = 64;
/// How deeply expressions may nest, outside of functions and in them.
const MAX_EXPRESSION_DEPTH: usize = 64;
const MAX_EXPRESSION_DEPTH_IN_FUNCTIONS: usize = 32;

/// `configure_stripe`, `new_product()` and its kin, the module `stripe` with every operation, and the constants `STRIPE_API_KEY`
/// and `STRIPE_WEBHOOK_SECRET`.
///
/// Built once per thread, registered in any number of its engines.
#[derive(Clone)]
pub struct StripePackage {
    functions: Shared<Module>,
    operations: Shared<Module>,
}

impl StripePackage {
    /// The package for this host.
    #[must_use]
    pub fn new(host: &Arc<StripeHost>) -> Self {
        let mut module = Module::new();
        Self::init(&mut module);
        configure::register(&mut module, host);
        builder::register(&mut module, host);
        pages::register(&mut module, host);
        if let Some(key) = &host.options().api_key {
            // A constant of the whole engine, so that a script's functions see it too.
            module.set_var("STRIPE_API_KEY", rhai::Dynamic::from(key.clone()));
        }
        if let Some(secret) = &host.options().webhook_secret {
            module.set_var("STRIPE_WEBHOOK_SECRET", rhai::Dynamic::from(secret.clone()));
        }
        module.build_index();
        Self {
            functions: module.into(),
            operations: root_module(host).into(),
        }
    }

    /// Registers the package: what can be called by a name alone, and the module `stripe`. Both are shared, not copied.
    pub fn register(&self, engine: &mut Engine) {
        self.register_into_engine(engine);
        engine.register_static_module(ROOT, Shared::clone(&self.operations));
    }

    /// A new engine with everything that a Stripe script uses.
    #[must_use]
    pub fn new_engine(host: &Arc<StripeHost>) -> Engine {
        let mut engine = Engine::new();
        Self::install(host, &mut engine);
        engine
    }

    /// Registers everything that a Stripe script uses: [`InflightPackage`], this package, and suggestions for names that do not
    /// exist.
    pub fn install(host: &Arc<StripeHost>, engine: &mut Engine) {
        Self::new(host).install_in(engine);
    }

    /// [`install`](Self::install) in a further engine of the same thread (with `sync`: of the process), which costs microseconds.
    pub fn install_in(&self, engine: &mut Engine) {
        // Rhai's optimizer puts a constant's type name into interpolated strings, where `STRIPE_API_KEY` has a text of its own.
        engine.set_optimization_level(rhai::OptimizationLevel::None);
        // Compiling is native work that no time slice can interrupt: one script's large text would hold up all others.
        engine.disable_symbol("eval");
        // Rhai's own limits in release builds; in debug builds it has far lower ones, and a script should run in both or in none.
        engine.set_max_call_levels(MAX_CALL_LEVELS);
        engine.set_max_expr_depths(MAX_EXPRESSION_DEPTH, MAX_EXPRESSION_DEPTH_IN_FUNCTIONS);
        InflightPackage::new().register_into_engine(engine);
        self.register(engine);
        engine.register_type_with_name::<crate::StripeBuilder>("StripeBuilder");
        engine.register_type_with_name::<crate::StripePages>("StripePages");
        engine.register_type_with_name::<ApiKey>("ApiKey");
        engine.register_type_with_name::<crate::convert::Unset>("unset");
        engine.register_type_with_name::<WebhookSecret>("WebhookSecret");
        #[allow(
            deprecated,
            reason = "Rhai marks its volatile interfaces this way; the version is pinned to the minor"
        )]
        engine.on_missing_function(|name, args, _is_method, _context| {
            builder::on_unknown_function(name, args.first().map(|first| &**first))?;
            Ok(None)
        });
    }
}

impl std::fmt::Debug for StripePackage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StripePackage")
    }
}

impl Package for StripePackage {
    fn init(module: &mut Module) {
        opaque::register::<ApiKey>(module);
        opaque::register::<WebhookSecret>(module);
    }

    fn as_shared_module(&self) -> Shared<Module> {
        Shared::clone(&self.functions)
    }
}
