//! Where we are in a list, as text; and whether we have been there before.

use serde::{Deserialize, Serialize};

use super::{PageError, Place, Walk};

/// The longest text that is read as a cursor.
const CURSOR_MAX: usize = 16 * 1024;

/// A place in a list, to be kept as JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cursor {
    /// The operation: `product.list`.
    pub(super) list: String,
    /// Whether it walks backwards.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) back: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) at: Option<String>,
    /// How many objects after that place were given.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) skip: u64,
    /// How many objects were given in all.
    pub(super) given: u64,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) end: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Cursor {
    pub(super) fn text(&self) -> String {
        // A struct of texts and numbers is always JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn parse(text: &str, list: &'static str, walk: Walk) -> Result<Self, PageError> {
        if text.len() > CURSOR_MAX {
            return Err(PageError::Cursor("it is too long"));
        }
        let cursor: Self = serde_json::from_str(text).map_err(|_| PageError::Cursor("it cannot be read"))?;
        if cursor.list != list {
            return Err(PageError::Cursor("it is another operation's"));
        }
        if cursor.back != (walk == Walk::Backward) {
            return Err(PageError::Cursor(
                "it goes the other way: `ending_before` must be as it was",
            ));
        }
        Ok(cursor)
    }
}

/// Notices a server that sends us in a circle, however long, with the memory of one token (Brent's algorithm).
#[derive(Debug, Clone, Default)]
pub(super) struct Repeats {
    kept: Option<String>,
    steps: u64,
    power: u64,
}

impl Repeats {
    /// Whether the page that was asked for at `asked` leads to itself, or its token to a circle that was gone through.
    pub(super) fn again(&mut self, asked: &Place, token: &str) -> bool {
        if matches!(asked, Place::At(asked) if asked == token) || self.kept.as_deref() == Some(token) {
            return true;
        }
        if self.steps >= self.power {
            self.kept = Some(token.to_owned());
            self.power = (self.power * 2).max(1);
            self.steps = 0;
        }
        self.steps += 1;
        false
    }
}
