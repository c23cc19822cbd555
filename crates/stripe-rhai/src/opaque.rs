//! Values that a script can use and not read.

use std::fmt::Display;

use rhai::{FuncRegistration, ImmutableString, Module, Variant};

/// Gives a type its `Display` as its only text, wherever a script prints, concatenates, serialises or throws a value of it.
pub(crate) fn register<T: Variant + Clone + Display>(module: &mut Module) {
    for name in ["to_string", "print", "to_debug", "debug", "to_json"] {
        FuncRegistration::new(name)
            .in_global_namespace()
            .with_purity(true)
            .set_into_module(module, |value: &mut T| ImmutableString::from(value.to_string()));
    }
    FuncRegistration::new("+")
        .in_global_namespace()
        .set_into_module(module, |text: ImmutableString, value: T| {
            ImmutableString::from(format!("{text}{value}"))
        });
    FuncRegistration::new("+")
        .in_global_namespace()
        .set_into_module(module, |value: T, text: ImmutableString| {
            ImmutableString::from(format!("{value}{text}"))
        });
}
