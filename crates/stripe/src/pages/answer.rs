//! What is read of a page: its objects stay as they are.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::PageError;

/// One object of a page.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// Its id, in lists that go by ids.
    pub(super) id: Option<String>,
    pub(super) json: Box<RawValue>,
}

/// A page.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) items: Vec<Item>,
    pub(super) has_more: bool,
    pub(super) next_page: Option<String>,
    pub(super) next_page_url: Option<String>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    #[serde(default)]
    has_more: Option<bool>,
    #[serde(default)]
    next_page: Option<String>,
    #[serde(default)]
    next_page_url: Option<String>,
}

#[derive(Deserialize)]
struct WithId<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

impl Answer {
    pub(super) fn read(body: &[u8], by_id: bool) -> Result<Self, PageError> {
        let body: Body<'_> = serde_json::from_slice(body).map_err(|error| PageError::NotAPage(error.to_string()))?;
        let item = |json: &&RawValue| Item {
            id: by_id.then(|| id_of(json)).flatten(),
            json: (*json).to_owned(),
        };
        let named = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(Self {
            items: body.data.iter().map(item).collect(),
            has_more: body.has_more.unwrap_or(false),
            next_page: named(body.next_page),
            next_page_url: named(body.next_page_url),
        })
    }
}

fn id_of(json: &RawValue) -> Option<String> {
    // A derived struct would read `["…"]` as well.
    if !json.get().starts_with('{') {
        return None;
    }
    let object: WithId<'_> = serde_json::from_str(json.get()).ok()?;
    Some(object.id.into_owned()).filter(|id| !id.is_empty())
}
