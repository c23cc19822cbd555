//! Values as text, with a limit to how deeply they nest: Rhai's own functions recurse in native code without one. What lies
//! deeper is shown as `…`; as JSON it is an error.

use std::fmt::Write;

use rhai::{Array, Dynamic, Engine, EvalAltResult, FnPtr, ImmutableString, Map, Module, NativeCallContext, Scope};

use crate::bounded::reserve;
use crate::coroutine::{breathe, running};
use crate::error::{error_text, script_error};
use crate::heap;
use crate::json::{self, JsonError};
use crate::state::Stop;
use crate::wait::terminated;

/// How deeply arrays and maps may nest where a value is turned into text.
pub const MAX_DEPTH: usize = 128;

type Printed = Result<ImmutableString, Box<EvalAltResult>>;

/// Registers `print`, `debug`, `to_string`, `to_debug` and `to_json` for arrays and maps, and `parse_json`.
pub(crate) fn register(module: &mut Module) {
    for name in ["print", "to_string", "debug", "to_debug"] {
        let of_error = matches!(name, "print" | "to_string");
        rhai::FuncRegistration::new(name).with_purity(true).set_into_module(
            module,
            |ctx: NativeCallContext, array: &mut Array| -> ImmutableString {
                shown(|out| write_array(&ctx, out, array, 0))
            },
        );
        rhai::FuncRegistration::new(name).with_purity(true).set_into_module(
            module,
            move |ctx: NativeCallContext, map: &mut Map| -> ImmutableString {
                error_text(map)
                    .filter(|_| of_error)
                    .map_or_else(|| shown(|out| write_map(&ctx, out, map, 0)), Into::into)
            },
        );
    }
    rhai::FuncRegistration::new("to_json")
        .set_into_module(module, |ctx: NativeCallContext, map: &mut Map| -> Printed {
            nested(|out| json_map(&ctx, out, map, 0))
        });
    rhai::FuncRegistration::new("to_json")
        .set_into_module(module, |ctx: NativeCallContext, array: &mut Array| -> Printed {
            nested(|out| json_array(&ctx, out, array, 0))
        });
    rhai::FuncRegistration::new("parse_json").set_into_module(module, parse_json);
}

/// In place of Rhai's own, which evaluates the text as an expression: it is data, and may be anybody's.
fn parse_json(text: ImmutableString) -> Result<Dynamic, Box<EvalAltResult>> {
    json::read(text.as_bytes()).map_err(|error| match error {
        JsonError::Syntax(error) => script_error(
            "invalid_argument",
            &format!("parse_json: the text is not JSON: {error}"),
        ),
        JsonError::Stopped(stopped) => stopped,
    })
}

/// The text that a script's `to_string` or `to_debug` gives for a value that is neither an array nor a map.
fn printed(ctx: &NativeCallContext, function: &str, item: &Dynamic) -> ImmutableString {
    let mut item = item.flatten_clone();
    match ctx.call_native_fn_raw(function, true, &mut [&mut item]) {
        Ok(text) if text.is_string() => text.into_immutable_string().unwrap_or_default(),
        _ => ctx.engine().map_type_name(item.type_name()).into(),
    }
}

fn nested(write: impl FnOnce(&mut String) -> Result<(), Box<EvalAltResult>>) -> Printed {
    let mut out = String::new();
    write(&mut out)?;
    Ok(out.into())
}

/// A value's text as a script's own `to_string` gives it; the type's name where it has none.
#[must_use]
pub fn value_text(engine: &Engine, value: &Dynamic) -> String {
    if let Some(text) = value.read_lock::<ImmutableString>() {
        return text.to_string();
    }
    if let Some(map) = value.read_lock::<Map>()
        && let Some(line) = error_text(&map)
    {
        return line;
    }
    if value.is_unit() || value.is_int() || value.is_float() || value.is_bool() || value.is_char() {
        return value.to_string();
    }
    let mut scope = Scope::new();
    scope.push_dynamic("value", value.flatten_clone());
    engine
        .eval_with_scope::<ImmutableString>(&mut scope, "value.to_string()")
        .map_or_else(|_| engine.map_type_name(value.type_name()).into(), Into::into)
}

/// A value as JSON, as a script's own `to_json` gives it; what JSON cannot say, as its text.
#[must_use]
pub fn value_json(engine: &Engine, value: &Dynamic) -> serde_json::Value {
    if value.is_unit() {
        return serde_json::Value::Null;
    }
    if let Ok(flag) = value.as_bool() {
        return flag.into();
    }
    if let Ok(number) = value.as_int() {
        return number.into();
    }
    if let Ok(number) = value.as_float() {
        return number.into();
    }
    if value.is_array() || value.is_map() {
        let mut scope = Scope::new();
        scope.push_dynamic("value", value.flatten_clone());
        let json = engine.eval_with_scope::<ImmutableString>(&mut scope, "value.to_json()");
        if let Some(json) = json.ok().and_then(|json| serde_json::from_str(&json).ok()) {
            return json;
        }
    }
    value_text(engine, value).into()
}

fn too_deep() -> Box<EvalAltResult> {
    script_error(
        "too_deep",
        &format!("the value nests deeper than {MAX_DEPTH} levels and cannot be turned into JSON"),
    )
}

/// The script is to stop: also where the text of one value needs more memory than it may hold, since the same text many times
/// over takes none until it is written out.
struct Cut(Stop);

/// What was written. Never an error: Rhai answers one inside an interpolated string by formatting the value itself, without a
/// limit. A script that would hold too much is stopped at its next operation.
fn shown(write: impl FnOnce(&mut String) -> Result<(), Cut>) -> ImmutableString {
    let mut out = String::new();
    if let Err(Cut(stop)) = write(&mut out) {
        // What has been written is not kept either.
        out = String::from("…");
        if let Some(context) = running() {
            context.script.stop(stop);
        }
    }
    out.into()
}

fn write_array(ctx: &NativeCallContext, out: &mut String, array: &Array, depth: usize) -> Result<(), Cut> {
    out.push('[');
    for (i, item) in array.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        write_debug(ctx, out, item, depth + 1)?;
    }
    out.push(']');
    Ok(())
}

fn write_map(ctx: &NativeCallContext, out: &mut String, map: &Map, depth: usize) -> Result<(), Cut> {
    out.push_str("#{");
    for (i, (key, item)) in map.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        let _ = write!(out, "{key:?}: ");
        write_debug(ctx, out, item, depth + 1)?;
    }
    out.push('}');
    Ok(())
}

fn write_debug(ctx: &NativeCallContext, out: &mut String, item: &Dynamic, depth: usize) -> Result<(), Cut> {
    if heap::is_exceeded() {
        return Err(Cut(Stop::Heap));
    }
    breathe().map_err(Cut)?;
    if depth > MAX_DEPTH {
        out.push('…');
    } else if let Some(array) = item.read_lock::<Array>() {
        write_array(ctx, out, &array, depth)?;
    } else if let Some(map) = item.read_lock::<Map>() {
        write_map(ctx, out, &map, depth)?;
    } else {
        out.push_str(&printed(ctx, "to_debug", item));
    }
    Ok(())
}

fn json_array(
    ctx: &NativeCallContext,
    out: &mut String,
    array: &Array,
    depth: usize,
) -> Result<(), Box<EvalAltResult>> {
    out.push('[');
    for (i, item) in array.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        json_value(ctx, out, item, depth + 1)?;
    }
    out.push(']');
    Ok(())
}

fn json_map(ctx: &NativeCallContext, out: &mut String, map: &Map, depth: usize) -> Result<(), Box<EvalAltResult>> {
    out.push('{');
    for (i, (key, item)) in map.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        json_text(out, key);
        out.push(':');
        json_value(ctx, out, item, depth + 1)?;
    }
    out.push('}');
    Ok(())
}

fn json_value(
    ctx: &NativeCallContext,
    out: &mut String,
    item: &Dynamic,
    depth: usize,
) -> Result<(), Box<EvalAltResult>> {
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    reserve(0)?;
    breathe().map_err(terminated)?;
    if let Some(array) = item.read_lock::<Array>() {
        return json_array(ctx, out, &array, depth);
    }
    if let Some(map) = item.read_lock::<Map>() {
        return json_map(ctx, out, &map, depth);
    }
    if item.is_unit() {
        out.push_str("null");
    } else if let Ok(flag) = item.as_bool() {
        out.push_str(if flag { "true" } else { "false" });
    } else if let Ok(number) = item.as_int() {
        let _ = write!(out, "{number}");
    } else if let Ok(number) = item.as_float() {
        // JSON has no infinities.
        match serde_json::Number::from_f64(number) {
            Some(number) => {
                let _ = write!(out, "{number}");
            }
            None => out.push_str("null"),
        }
    } else if let Some(text) = item.read_lock::<ImmutableString>() {
        json_text(out, &text);
    } else if let Some(function) = item.read_lock::<FnPtr>() {
        json_text(out, function.fn_name());
    } else {
        json_text(out, &printed(ctx, "to_string", item));
    }
    Ok(())
}

fn json_text(out: &mut String, text: &str) {
    // Writing a string as JSON cannot fail.
    out.push_str(&serde_json::Value::from(text).to_string());
}

#[cfg(test)]
mod tests {
    use rhai::Engine;
    use rhai::packages::Package;

    #[test]
    fn a_script_can_catch_that_a_text_is_not_json() {
        let mut engine = Engine::new();
        crate::InflightPackage::new().register_into_engine(&mut engine);
        for text in ["{", "{a: 1}", "#{}", "{\"a\": 1} x"] {
            let script = format!(
                "let caught = (); try {{ parse_json(`{text}`) }} catch (error) {{ caught = error }} caught.message"
            );
            let caught = engine.eval::<String>(&script).unwrap();
            assert!(
                caught.starts_with("parse_json: the text is not JSON"),
                "{text}: {caught}"
            );
        }
        let parsed = engine.eval::<i64>("let parsed = parse_json(`{\"a\": [1, null, {\"b\": 42}]}`); parsed.a[2].b");
        assert_eq!(parsed.unwrap(), 42);
    }
}
