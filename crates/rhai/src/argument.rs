//! What a script's function says of an argument that it cannot use.

use std::any::type_name;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use rhai::{Dynamic, EvalAltResult, INT, ImmutableString};

use crate::package::Answer;
use crate::script_error;

/// The error `invalid_argument`, which a script can catch.
#[must_use]
pub fn invalid_argument(message: &str) -> Box<EvalAltResult> {
    script_error("invalid_argument", message)
}

/// The error of an argument that is of another type: "`what` must be `wanted`, not" and the type's name.
#[must_use]
pub fn wrong_type(what: impl Display, wanted: &str, given: &Dynamic) -> Box<EvalAltResult> {
    let given = value_type(given);
    invalid_argument(&format!("{what} must be {wanted}, not {given}"))
}

/// The text in an argument.
///
/// # Errors
/// It holds something else.
pub fn text_argument(what: impl Display, value: &Dynamic) -> Answer<ImmutableString> {
    let text = value.read_lock::<ImmutableString>().map(|text| text.clone());
    text.ok_or_else(|| wrong_type(what, "a text", value))
}

/// The name of a value's type as a script's own `type_of` gives it, for types that have no other name there than in Rust.
#[must_use]
pub fn value_type(value: &Dynamic) -> &'static str {
    let name = value.type_name();
    if name == type_name::<Range<INT>>() {
        return "range";
    }
    if name == type_name::<RangeInclusive<INT>>() {
        return "range=";
    }
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_the_names_that_type_of_gives() {
        let engine = rhai::Engine::new();
        for script in [
            "()",
            "1",
            "1.5",
            "`a`",
            "'a'",
            "[]",
            "#{}",
            "blob()",
            "|x| x",
            "0..1",
            "0..=1",
            "timestamp()",
        ] {
            let value = engine.eval::<Dynamic>(script).unwrap();
            let told = engine
                .eval::<String>(&format!("let value = {script}; type_of(value)"))
                .unwrap();
            assert_eq!(value_type(&value), told, "{script}");
        }
    }

    #[test]
    fn a_type_of_rust_is_named_without_its_path() {
        #[derive(Clone)]
        struct Money;
        assert_eq!(value_type(&Dynamic::from(Money)), "Money");
    }

    #[test]
    fn an_argument_of_another_type_is_named() {
        let error = text_argument("`name`", &Dynamic::from(0..1_i64)).unwrap_err();
        assert!(
            error.to_string().contains("`name` must be a text, not range"),
            "{error}"
        );
    }
}
