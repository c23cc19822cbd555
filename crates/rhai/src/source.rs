//! Where the items of `each` come from.

use std::ops::{Range, RangeInclusive};
use std::vec;

use rhai::{Array, Dynamic, FnPtr, INT, NativeCallContext};

use crate::argument::{invalid_argument, value_type};
use crate::package::Answer;

/// Where the items come from.
pub(crate) enum Source {
    List(vec::IntoIter<Dynamic>),
    Range(Range<INT>),
    Inclusive(RangeInclusive<INT>),
    /// A function that gives `()` when there is nothing more.
    Function(FnPtr),
}

impl Source {
    pub(crate) fn of(value: Dynamic) -> Answer<Self> {
        if let Some(range) = value.read_lock::<Range<INT>>() {
            return Ok(Self::Range(range.clone()));
        }
        if let Some(range) = value.read_lock::<RangeInclusive<INT>>() {
            return Ok(Self::Inclusive(range.clone()));
        }
        let kind = value_type(&value);
        match value.flatten().try_cast_result::<Array>() {
            Ok(array) => Ok(Self::List(array.into_iter())),
            Err(value) => match value.try_cast::<FnPtr>() {
                Some(function) => Ok(Self::Function(function)),
                None => Err(invalid_argument(&format!(
                    "each goes through an array, a range, or a function that gives () at the end, not {kind}"
                ))),
            },
        }
    }

    /// How many items there are, where that is known.
    pub(crate) fn len(&self) -> Option<u64> {
        let between = |start: INT, end: INT| u64::try_from(i128::from(end) - i128::from(start)).unwrap_or(0);
        match self {
            Self::List(items) => Some(items.len() as u64),
            Self::Range(range) => Some(between(range.start, range.end)),
            Self::Inclusive(range) if range.is_empty() => Some(0),
            Self::Inclusive(range) => Some(between(*range.start(), *range.end()).saturating_add(1)),
            Self::Function(_) => None,
        }
    }

    pub(crate) fn next(&mut self, ctx: &NativeCallContext) -> Answer<Option<Dynamic>> {
        Ok(match self {
            Self::List(items) => items.next(),
            Self::Range(range) => range.next().map(Dynamic::from),
            Self::Inclusive(range) => range.next().map(Dynamic::from),
            Self::Function(function) => {
                let item: Dynamic = function.call_within_context(ctx, ())?;
                (!item.is_unit()).then_some(item)
            }
        })
    }
}
