//! `==` and `!=` of arrays and maps, with a limit to how deeply they nest: Rhai's own recurse in native code without one.

use rhai::{Array, Dynamic, EvalAltResult, FuncRegistration, Map, Module, NativeCallContext};

use crate::coroutine::breathe;
use crate::error::script_error;
use crate::package::Answer;
use crate::text::MAX_DEPTH;
use crate::wait::terminated;

pub(crate) fn register(module: &mut Module) {
    for (operator, equal) in [("==", true), ("!=", false)] {
        let function = |name: &str| FuncRegistration::new(name).in_global_namespace().with_purity(true);
        function(operator).set_into_module(
            module,
            move |ctx: NativeCallContext, left: &mut Array, right: Array| -> Answer<bool> {
                Ok(arrays(&ctx, left, &right, 0)? == equal)
            },
        );
        function(operator).set_into_module(
            module,
            move |ctx: NativeCallContext, left: &mut Map, right: Map| -> Answer<bool> {
                Ok(maps(&ctx, left, &right, 0)? == equal)
            },
        );
    }
}

fn arrays(ctx: &NativeCallContext, left: &Array, right: &Array, depth: usize) -> Answer<bool> {
    if left.len() != right.len() {
        return Ok(false);
    }
    for (left, right) in left.iter().zip(right) {
        if !values(ctx, left, right, depth + 1)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn maps(ctx: &NativeCallContext, left: &Map, right: &Map, depth: usize) -> Answer<bool> {
    if left.len() != right.len() {
        return Ok(false);
    }
    for (name, left) in left {
        match right.get(name) {
            Some(right) if values(ctx, left, right, depth + 1)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Whether `==` holds between two values; values of different types differ.
pub(crate) fn same(ctx: &NativeCallContext, left: &Dynamic, right: &Dynamic) -> Answer<bool> {
    values(ctx, left, right, 0)
}

fn values(ctx: &NativeCallContext, left: &Dynamic, right: &Dynamic, depth: usize) -> Answer<bool> {
    breathe().map_err(terminated)?;
    // The common types, without the search for a function.
    if let (Ok(left), Ok(right)) = (left.as_int(), right.as_int()) {
        return Ok(left == right);
    }
    if let (Ok(left), Ok(right)) = (left.as_immutable_string_ref(), right.as_immutable_string_ref()) {
        return Ok(*left == *right);
    }
    if depth > MAX_DEPTH {
        return Err(script_error(
            "too_deep",
            &format!("the values nest deeper than {MAX_DEPTH} levels and cannot be compared"),
        ));
    }
    if let (Some(left), Some(right)) = (left.read_lock::<Array>(), right.read_lock::<Array>()) {
        return arrays(ctx, &left, &right, depth);
    }
    if let (Some(left), Some(right)) = (left.read_lock::<Map>(), right.read_lock::<Map>()) {
        return maps(ctx, &left, &right, depth);
    }
    let same_type = left.type_id() == right.type_id();
    let (mut left, mut right) = (left.flatten_clone(), right.flatten_clone());
    match ctx.call_native_fn_raw("==", true, &mut [&mut left, &mut right]) {
        Ok(equal) => Ok(equal.as_bool().unwrap_or(false)),
        // Values of different types, and of a type that knows no `==`, are different, as Rhai has it.
        Err(error) => match *error {
            EvalAltResult::ErrorFunctionNotFound(..) if !same_type => Ok(false),
            _ => Err(error),
        },
    }
}
