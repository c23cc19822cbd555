//! Functions of Rhai's own packages that allocate out of proportion to what the script holds, each with a look at the script's
//! heap limit before it begins; and those that take long over a long text, in a way that does not.

use std::ops::{Range, RangeInclusive};

use rhai::{Array, Blob, Dynamic, FuncRegistration, INT, ImmutableString, Map, Module, NativeCallContext};

use crate::coroutine::{breathe, note_growth, running};
use crate::heap::has_room_for;
use crate::package::Answer;
use crate::state::Stop;
use crate::text::MAX_DEPTH;
use crate::wait::terminated;

/// What a value in an array costs, without what it points to.
const VALUE: usize = size_of::<Dynamic>();

/// What a short string costs, with its place in an array.
const TEXT: usize = VALUE + 64;

/// Ends the script where this much more is more than it may hold.
pub(crate) fn reserve(bytes: usize) -> Answer<()> {
    if has_room_for(bytes) {
        return Ok(());
    }
    if let Some(context) = running() {
        context.script.stop(Stop::Heap);
    }
    Err(terminated(Stop::Heap))
}

/// Ends the script where a copy of the value that shares nothing with it is more than it may hold: the same text many times over takes no
/// room until it is copied. Others have their turn meanwhile.
pub(crate) fn reserve_copy(value: &Dynamic) -> Answer<()> {
    fn weigh(value: &Dynamic, so_far: &mut usize, depth: usize) -> Answer<()> {
        breathe().map_err(terminated)?;
        *so_far += VALUE;
        if let Some(text) = value.read_lock::<ImmutableString>() {
            *so_far += text.len();
        } else if let Some(blob) = value.read_lock::<Blob>() {
            *so_far += blob.len();
        } else if depth < MAX_DEPTH
            && let Some(array) = value.read_lock::<Array>()
        {
            for item in array.iter() {
                weigh(item, so_far, depth + 1)?;
            }
        } else if depth < MAX_DEPTH
            && let Some(map) = value.read_lock::<Map>()
        {
            for (name, item) in map.iter() {
                *so_far += name.len();
                weigh(item, so_far, depth + 1)?;
            }
        }
        reserve(*so_far)
    }
    weigh(value, &mut 0, 0)
}

fn length(of: INT) -> usize {
    usize::try_from(of).unwrap_or(0)
}

pub(crate) fn register(module: &mut Module) {
    register_push(module);
    register_pad(module);
    register_blob(module);
    register_replace(module);
    register_split(module);
    register_crop(module);
}

fn function(name: &str) -> FuncRegistration {
    FuncRegistration::new(name).in_global_namespace()
}

/// What most scripts grow by. Rhai's own does the same, without a look at what the script holds then: where that is too much, the error has
/// its place here.
fn register_push(module: &mut Module) {
    function("push").set_into_module(
        module,
        |ctx: NativeCallContext, array: &mut Array, item: Dynamic| -> Answer<()> {
            array.push(item);
            note_growth(ctx.call_position());
            reserve(0)
        },
    );
}

fn register_pad(module: &mut Module) {
    function("pad").set_into_module(module, |array: &mut Array, len: INT, item: Dynamic| -> Answer<()> {
        let more = length(len).saturating_sub(array.len());
        reserve(more.saturating_mul(VALUE))?;
        array.reserve(more);
        // Each copy may be as large as all that the script holds.
        for _ in 0..more {
            reserve(0)?;
            array.push(item.clone());
        }
        Ok(())
    });
    function("pad").set_into_module(
        module,
        |string: &mut ImmutableString, len: INT, character: char| -> Answer<()> {
            let more = length(len).saturating_sub(string.chars().count());
            reserve(more.saturating_mul(character.len_utf8()))?;
            string.make_mut().extend(std::iter::repeat_n(character, more));
            Ok(())
        },
    );
    function("pad").set_into_module(
        module,
        |string: &mut ImmutableString, len: INT, padding: ImmutableString| -> Answer<()> {
            let mut more = length(len).saturating_sub(string.chars().count());
            if padding.is_empty() {
                return Ok(());
            }
            reserve(more.saturating_mul(4))?;
            let text = string.make_mut();
            while more > 0 {
                for character in padding.chars().take(more) {
                    text.push(character);
                }
                more = more.saturating_sub(padding.chars().count());
            }
            Ok(())
        },
    );
    function("pad").set_into_module(module, |blob: &mut Blob, len: INT, value: INT| -> Answer<()> {
        let more = length(len).saturating_sub(blob.len());
        reserve(more)?;
        blob.resize(blob.len() + more, (value & 0xff) as u8);
        Ok(())
    });
}

fn register_blob(module: &mut Module) {
    let filled = |len: INT, value: INT| -> Answer<Blob> {
        reserve(length(len))?;
        Ok(vec![(value & 0xff) as u8; length(len)])
    };
    function("blob").set_into_module(module, move |len: INT| filled(len, 0));
    function("blob").set_into_module(module, filled);
}

/// `replace`, of a text or a character by a text or a character.
fn register_replace(module: &mut Module) {
    fn replace(string: &mut ImmutableString, find: &str, by: &str) -> Answer<()> {
        if string.is_empty() {
            return Ok(());
        }
        let times = string.matches(find).count();
        let grows = times.saturating_mul(by.len().saturating_sub(find.len()));
        reserve(grows.saturating_add(string.len()))?;
        *string = string.replace(find, by).into();
        Ok(())
    }
    function("replace").set_into_module(
        module,
        |string: &mut ImmutableString, find: ImmutableString, by: ImmutableString| replace(string, &find, &by),
    );
    function("replace").set_into_module(
        module,
        |string: &mut ImmutableString, find: ImmutableString, by: char| {
            replace(string, &find, by.encode_utf8(&mut [0; 4]))
        },
    );
    function("replace").set_into_module(
        module,
        |string: &mut ImmutableString, find: char, by: ImmutableString| {
            replace(string, find.encode_utf8(&mut [0; 4]), &by)
        },
    );
    function("replace").set_into_module(module, |string: &mut ImmutableString, find: char, by: char| {
        replace(string, find.encode_utf8(&mut [0; 4]), by.encode_utf8(&mut [0; 4]))
    });
}

/// `split`, `split_rev`, `to_chars` and a blob's `to_array`, which make a value of every piece.
fn register_split(module: &mut Module) {
    for name in ["split", "split_rev"] {
        let reverse = name == "split_rev";
        let pieces = move |string: &str, by: &str, most: usize| pieces(string, by, most, reverse);
        pure(name).set_into_module(module, move |string: &mut ImmutableString, by: ImmutableString| {
            pieces(string, &by, usize::MAX)
        });
        pure(name).set_into_module(module, move |string: &mut ImmutableString, by: char| {
            pieces(string, by.encode_utf8(&mut [0; 4]), usize::MAX)
        });
        pure(name).set_into_module(
            module,
            move |string: &mut ImmutableString, by: ImmutableString, most: INT| {
                pieces(string, &by, length(most).max(1))
            },
        );
        pure(name).set_into_module(module, move |string: &mut ImmutableString, by: char, most: INT| {
            pieces(string, by.encode_utf8(&mut [0; 4]), length(most).max(1))
        });
    }
    pure("split").set_into_module(module, |string: &mut ImmutableString| -> Answer<Array> {
        reserve((string.split_whitespace().count() + 1).saturating_mul(TEXT))?;
        Ok(string.split_whitespace().map(text).collect())
    });
    pure("to_chars").set_into_module(module, |string: &mut ImmutableString| -> Answer<Array> {
        reserve(string.len().saturating_mul(VALUE))?;
        Ok(string.chars().map(Dynamic::from).collect())
    });
    pure("to_array").set_into_module(module, |blob: &mut Blob| -> Answer<Array> {
        reserve(blob.len().saturating_mul(VALUE))?;
        Ok(blob.iter().map(|byte| INT::from(*byte).into()).collect())
    });
}

/// `crop`, `sub_string` and `set`, by the place in the text: Rhai's own take it apart into characters.
fn register_crop(module: &mut Module) {
    register_part(module, "crop", crop);
    register_part(module, "sub_string", |string: &mut ImmutableString, start, len| {
        ImmutableString::from(&string[part(string, start, len)])
    });
    function("set").set_into_module(module, |string: &mut ImmutableString, index: INT, character: char| {
        let Some(at) = byte_offset(string, index) else { return };
        let Some(old) = string[at..].chars().next() else { return };
        string
            .make_mut()
            .replace_range(at..at + old.len_utf8(), character.encode_utf8(&mut [0; 4]));
    });
}

/// What takes a part of a text, under each way to name one.
fn register_part<T>(
    module: &mut Module,
    name: &str,
    take: impl Fn(&mut ImmutableString, INT, INT) -> T + Copy + 'static + Send + Sync,
) where
    T: rhai::Variant + Clone,
{
    let registration = || function(name).with_purity(name != "crop");
    registration().set_into_module(module, take);
    registration().set_into_module(module, move |string: &mut ImmutableString, start: INT| {
        take(string, start, INT::MAX)
    });
    registration().set_into_module(module, move |string: &mut ImmutableString, range: Range<INT>| {
        let start = range.start.max(0);
        take(string, start, range.end.max(start) - start)
    });
    registration().set_into_module(
        module,
        move |string: &mut ImmutableString, range: RangeInclusive<INT>| {
            let start = (*range.start()).max(0);
            let end = (*range.end()).max(start).min(INT::MAX - 1);
            take(string, start, (end - start).saturating_add(1))
        },
    );
}

fn crop(string: &mut ImmutableString, start: INT, len: INT) {
    let part = part(string, start, len);
    if part != (0..string.len()) {
        let text = string.make_mut();
        text.truncate(part.end);
        text.drain(..part.start);
    }
}

/// The bytes of `len` characters from `start` on. A negative start counts from the end, and is the beginning where it lies before it.
fn part(string: &str, start: INT, len: INT) -> Range<usize> {
    let from = match byte_offset(string, start) {
        Some(at) => at,
        None if start < 0 => 0,
        None => string.len(),
    };
    let kept = usize::try_from(len).unwrap_or(0);
    let to = string[from..]
        .char_indices()
        .nth(kept)
        .map_or(string.len(), |(bytes, _)| from + bytes);
    from..to
}

/// Where the character of this number begins; negative ones count from the end.
fn byte_offset(string: &str, index: INT) -> Option<usize> {
    if index >= 0 {
        let index = usize::try_from(index).ok()?;
        return string.char_indices().nth(index).map(|(at, _)| at);
    }
    let back = usize::try_from(index.unsigned_abs()).ok()?;
    string.char_indices().rev().nth(back - 1).map(|(at, _)| at)
}

fn pure(name: &str) -> FuncRegistration {
    function(name).with_purity(true)
}

fn pieces(string: &str, by: &str, most: usize, reverse: bool) -> Answer<Array> {
    let count = string.matches(by).count().min(most) + 1;
    reserve(count.saturating_mul(TEXT))?;
    Ok(if reverse {
        string.rsplitn(most, by).map(text).collect()
    } else {
        string.splitn(most, by).map(text).collect()
    })
}

fn text(piece: &str) -> Dynamic {
    ImmutableString::from(piece).into()
}

#[cfg(test)]
mod tests {
    use rhai::packages::Package;
    use rhai::{Engine, INT};

    #[test]
    fn crop_and_set_do_what_those_of_rhai_do() {
        let own = Engine::new();
        let mut ours = Engine::new();
        crate::InflightPackage::new().register_into_engine(&mut ours);
        let numbers = [INT::MIN, -9, -5, -4, -1, 0, 1, 3, 4, 5, 9, INT::MAX];
        let mut calls = vec!["crop(2..)".to_owned(), "crop(..2)".to_owned(), "crop(..=2)".to_owned()];
        for a in numbers {
            calls.extend([
                format!("crop({a})"),
                format!("sub_string({a})"),
                format!("set({a}, 'ß')"),
            ]);
            for b in numbers {
                for of in ["crop", "sub_string"] {
                    calls.extend([
                        format!("{of}({a}, {b})"),
                        format!("{of}({a}..{b})"),
                        format!("{of}({a}..={b})"),
                    ]);
                }
            }
        }
        for text in ["", "a", "añb日c", "hello"] {
            for call in &calls {
                let script = format!("let s = `{text}`; let t = s.{call}; `${{s}} ${{t}}`")
                    .replace(&INT::MIN.to_string(), "(-9223372036854775807 - 1)");
                let [expected, seen] =
                    [&own, &ours].map(|engine| engine.eval::<String>(&script).map_err(|e| e.to_string()));
                assert_eq!(seen, expected, "{script}");
            }
        }
    }
}
