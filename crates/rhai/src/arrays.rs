//! Functions over whole arrays that Rhai has as native code: a time slice that ends in the middle of one suspends the script there.

use std::any::TypeId;
use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use rhai::{
    Array, Dynamic, EvalAltResult, FnPtr, FuncRegistration, INT, ImmutableString, Module, NativeCallContext, Position,
};

use crate::argument::value_type;
use crate::bounded::reserve;
use crate::compare::same;
use crate::coroutine::breathe;
use crate::error::script_error;
use crate::package::Answer;
use crate::state::Stop;
use crate::wait::terminated;

pub(crate) fn register(module: &mut Module) {
    register_sort(module);
    register_search(module);
}

fn function(name: &str) -> FuncRegistration {
    FuncRegistration::new(name).in_global_namespace()
}

fn register_sort(module: &mut Module) {
    function("sort").set_into_module(module, |array: &mut Array| sort(array, natural));
    function("sort_desc").set_into_module(module, |array: &mut Array| sort(array, |a, b| natural(b, a)));
    let ordered = |name: &str| function(name).with_purity(true);
    ordered("order").set_into_module(module, |array: &mut Array| {
        let mut array = array.clone();
        sort(&mut array, natural).map(|()| array)
    });
    for name in ["sort", "sort_by"] {
        function(name).set_into_module(
            module,
            |ctx: NativeCallContext, array: &mut Array, comparer: FnPtr| -> Answer<()> {
                sort_by(&ctx, array, &comparer)
            },
        );
    }
    for name in ["order", "order_by"] {
        ordered(name).set_into_module(
            module,
            |ctx: NativeCallContext, array: &mut Array, comparer: FnPtr| -> Answer<Array> {
                let mut array = array.clone();
                sort_by(&ctx, &mut array, &comparer).map(|()| array)
            },
        );
    }
    ordered("order_desc").set_into_module(module, |array: &mut Array| {
        let mut array = array.clone();
        sort(&mut array, |a, b| natural(b, a)).map(|()| array)
    });
}

/// Sorts by a function of the script, in an order of some kind also where that contradicts itself. What it throws ends the sort, with
/// the array as it was.
fn sort_by(ctx: &NativeCallContext, array: &mut Array, comparer: &FnPtr) -> Answer<()> {
    let len = array.len();
    reserve(len.saturating_mul(2 * size_of::<usize>() + size_of::<Dynamic>()))?;
    let order = merge_sorted(len, |a, b| {
        breathe().map_err(terminated)?;
        let told = comparer.call_raw(ctx, None, [array[a].clone(), array[b].clone()])?;
        // As Rhai has it: a number as elsewhere, or whether the first may stay before the second.
        match (told.as_int(), told.as_bool()) {
            (Ok(told), _) => Ok(told > 0),
            (_, Ok(may_stay)) => Ok(!may_stay),
            _ => {
                let told = ctx.engine().map_type_name(told.type_name());
                let message = format!(
                    "a function to sort by gives an integer or a boolean, and this one gave a value of type {told}"
                );
                Err(script_error("invalid_argument", &message))
            }
        }
    })?;
    let mut items = std::mem::take(array);
    array.extend(order.into_iter().map(|at| std::mem::take(&mut items[at])));
    Ok(())
}

/// The numbers up to `len` in the order that `is_greater` says, those that are equal as they were. Unlike the sort of the standard
/// library it can fail, and never panics.
fn merge_sorted(len: usize, mut is_greater: impl FnMut(usize, usize) -> Answer<bool>) -> Answer<Vec<usize>> {
    let mut sorted: Vec<usize> = (0..len).collect();
    let mut merged = Vec::with_capacity(len);
    let mut width = 1;
    while width < len {
        for pair in sorted.chunks(2 * width) {
            let (mut left, mut right) = pair.split_at(width.min(pair.len()));
            while let ([a, rest_left @ ..], [b, rest_right @ ..]) = (left, right) {
                if is_greater(*a, *b)? {
                    merged.push(*b);
                    right = rest_right;
                } else {
                    merged.push(*a);
                    left = rest_left;
                }
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        std::mem::swap(&mut sorted, &mut merged);
        merged.clear();
        width *= 2;
    }
    Ok(sorted)
}

/// Sorts values of one type that has an order of its own.
fn sort(array: &mut Array, compare: impl Fn(&Dynamic, &Dynamic) -> Ordering) -> Answer<()> {
    let Some(first) = array.first() else { return Ok(()) };
    if array.iter().any(|item| item.type_id() != first.type_id()) {
        return Err(unsortable("elements of different types cannot be sorted".into()));
    }
    let ordered = [
        TypeId::of::<INT>(),
        TypeId::of::<f64>(),
        TypeId::of::<char>(),
        TypeId::of::<bool>(),
        TypeId::of::<()>(),
        TypeId::of::<ImmutableString>(),
    ];
    if array.len() > 1 && !ordered.contains(&first.type_id()) {
        let text = format!("elements of {} cannot be sorted", value_type(first));
        return Err(unsortable(text));
    }
    // A comparison has no other way out of the middle of a sort, which leaves every element in the array.
    let sorted = catch_unwind(AssertUnwindSafe(|| {
        array.sort_by(|a, b| {
            if let Err(stop) = breathe() {
                resume_unwind(Box::new(stop));
            }
            compare(a, b)
        });
    }));
    sorted.map_err(|payload| match payload.downcast::<Stop>() {
        Ok(stop) => terminated(*stop),
        Err(panic) => resume_unwind(panic),
    })
}

fn unsortable(text: String) -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorFunctionNotFound(text, Position::NONE))
}

/// The order of two values of one of the types that have one; floats in their total order, `NaN` last.
fn natural(a: &Dynamic, b: &Dynamic) -> Ordering {
    if let (Ok(a), Ok(b)) = (a.as_int(), b.as_int()) {
        return a.cmp(&b);
    }
    if let (Ok(a), Ok(b)) = (a.as_float(), b.as_float()) {
        return a.total_cmp(&b);
    }
    if let (Ok(a), Ok(b)) = (a.as_immutable_string_ref(), b.as_immutable_string_ref()) {
        return a.cmp(&*b);
    }
    if let (Ok(a), Ok(b)) = (a.as_char(), b.as_char()) {
        return a.cmp(&b);
    }
    if let (Ok(a), Ok(b)) = (a.as_bool(), b.as_bool()) {
        return a.cmp(&b);
    }
    Ordering::Equal
}

/// `contains` (which `in` calls), `index_of` a value, and `dedup`.
fn register_search(module: &mut Module) {
    let pure = |name: &str| function(name).with_purity(true);
    pure("contains").set_into_module(
        module,
        |ctx: NativeCallContext, array: &mut Array, value: Dynamic| -> Answer<bool> {
            Ok(position(&ctx, array, &value, 0)?.is_some())
        },
    );
    pure("index_of").set_into_module(
        module,
        |ctx: NativeCallContext, array: &mut Array, value: Dynamic| -> Answer<INT> {
            Ok(index(position(&ctx, array, &value, 0)?))
        },
    );
    pure("index_of").set_into_module(
        module,
        |ctx: NativeCallContext, array: &mut Array, value: Dynamic, start: INT| -> Answer<INT> {
            // A negative one counts from the end.
            let start = match usize::try_from(start) {
                Ok(start) => start,
                Err(_) => array
                    .len()
                    .saturating_sub(usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX)),
            };
            Ok(index(position(&ctx, array, &value, start)?))
        },
    );
    function("dedup").set_into_module(module, |ctx: NativeCallContext, array: &mut Array| -> Answer<()> {
        let mut failed = None;
        array.dedup_by(|next, kept| {
            // What cannot be compared stays.
            failed.is_none()
                && match breathe().map_err(terminated) {
                    Ok(()) => same(&ctx, kept, next).unwrap_or(false),
                    Err(stopped) => {
                        failed = Some(stopped);
                        false
                    }
                }
        });
        failed.map_or(Ok(()), Err)
    });
    function("dedup").set_into_module(
        module,
        |ctx: NativeCallContext, array: &mut Array, is_same: FnPtr| -> Answer<()> { dedup_by(&ctx, array, &is_same) },
    );
}

/// Leaves out each element that is the same as the one kept before it, by a function of the script. What it throws ends that, with the
/// array as it was.
fn dedup_by(ctx: &NativeCallContext, array: &mut Array, is_same: &FnPtr) -> Answer<()> {
    reserve(array.len())?;
    let mut last = 0;
    let mut stays = vec![true; array.len()];
    for at in 1..array.len() {
        breathe().map_err(terminated)?;
        let told = is_same.call_raw(ctx, None, [array[last].clone(), array[at].clone()])?;
        // As Rhai has it: what is no boolean is no.
        stays[at] = !told.as_bool().unwrap_or(false);
        if stays[at] {
            last = at;
        }
    }
    let mut stays = stays.into_iter();
    array.retain(|_| stays.next().unwrap_or(true));
    Ok(())
}

/// Where, from `start` on, the first element lies that equals `value`.
fn position(ctx: &NativeCallContext, array: &Array, value: &Dynamic, start: usize) -> Answer<Option<usize>> {
    for (at, item) in array.iter().enumerate().skip(start) {
        breathe().map_err(terminated)?;
        if same(ctx, item, value)? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// As Rhai has it: -1 where there is none.
fn index(position: Option<usize>) -> INT {
    position.and_then(|at| INT::try_from(at).ok()).unwrap_or(-1)
}
