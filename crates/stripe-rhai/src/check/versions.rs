//! Which version of Stripe's API a script asks for, as far as can be seen: parameters of another one than the catalogue's are not known.

use inflight_stripe::API_VERSION;
use rhai::{ASTNode, Expr, Stmt};

/// What a script says of versions, anywhere in it.
#[derive(Default)]
pub(super) struct Versions {
    /// It configures another version for all its requests.
    configured: bool,
    /// It configures something that is not written out there.
    configures: bool,
    /// A map of it has another version in a setting's name. It may also be a parameter, or of an event.
    in_maps: bool,
    /// It may ask for another version in some request.
    in_options: bool,
}

impl Versions {
    pub(super) fn learn(&mut self, node: &ASTNode<'_>) {
        match node {
            ASTNode::Expr(map @ Expr::Map(..)) => {
                self.in_maps |= asks_for_another(map, "api_version");
                self.in_options |= asks_for_another(map, "stripe_version");
            }
            ASTNode::Expr(Expr::MethodCall(call, _)) if call.name == "stripe_version" => {
                self.in_options |= call.args.first().is_some_and(is_another);
            }
            ASTNode::Expr(Expr::FnCall(call, _)) | ASTNode::Stmt(Stmt::FnCall(call, _))
                if call.name == "configure_stripe" =>
            {
                match call.args.first() {
                    Some(map @ Expr::Map(..)) => self.configured |= asks_for_another(map, "api_version"),
                    _ => self.configures = true,
                }
            }
            _ => {}
        }
    }

    fn may_be_configured(&self) -> bool {
        self.configured || (self.configures && self.in_maps)
    }

    /// Whether a builder's parameters may be of another version: its options may be set anywhere.
    pub(super) fn of_builders(&self) -> bool {
        self.may_be_configured() || self.in_options
    }

    /// Whether a call's parameters may be of another version, by its options.
    pub(super) fn of_call(&self, options: Option<&Expr>) -> bool {
        let own = match options {
            None => false,
            Some(map @ Expr::Map(..)) => asks_for_another(map, "stripe_version"),
            Some(_) => self.in_options,
        };
        own || self.may_be_configured()
    }
}

/// Whether a map that is written out has another version under this name, or one that is not known yet.
fn asks_for_another(map: &Expr, name: &str) -> bool {
    let Expr::Map(entries, _) = map else { return false };
    let mut entries = entries.0.iter();
    entries.any(|(given, value)| given.as_str() == name && is_another(value))
}

fn is_another(version: &Expr) -> bool {
    match version {
        Expr::StringConstant(text, _) => text.as_str() != API_VERSION,
        Expr::Unit(_) => false,
        _ => true,
    }
}
