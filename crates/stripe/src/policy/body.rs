//! What is read of an answer's body, borrowed from it.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// What is read of a successful answer.
#[derive(Deserialize)]
pub(super) struct Object<'a> {
    #[serde(borrow, default)]
    pub(super) id: Word<'a>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

impl<'a> Object<'a> {
    /// The error that it is. An object that has one of its own, such as a query's run, has an id.
    pub(super) fn as_error(&self) -> Option<ErrorFields<'a>> {
        let raw = self
            .error
            .filter(|raw| self.id.0.is_none() && raw.get().starts_with('{'))?;
        serde_json::from_str(raw.get()).ok()
    }
}

#[derive(Deserialize)]
pub(super) struct ErrorBody<'a> {
    #[serde(borrow, default)]
    error: Option<ErrorFields<'a>>,
    /// OAuth's message, beside an `error` that is a text. <https://docs.stripe.com/connect/oauth-reference>
    #[serde(borrow, default)]
    error_description: Word<'a>,
}

impl<'a> ErrorBody<'a> {
    pub(super) fn into_fields(self) -> Option<ErrorFields<'a>> {
        let mut fields = self.error?;
        if fields.message.0.is_none() {
            fields.message = self.error_description;
        }
        Some(fields)
    }
}

/// How an error is written.
#[derive(Clone, Copy, Default)]
pub(super) enum Shape {
    #[default]
    None,
    Text,
    Object,
}

/// What is read of an error.
#[derive(Default)]
pub(super) struct ErrorFields<'a> {
    pub(super) shape: Shape,
    pub(super) kind: Word<'a>,
    pub(super) code: Word<'a>,
    pub(super) message: Word<'a>,
    pub(super) param: Word<'a>,
    pub(super) decline_code: Word<'a>,
    /// Names of [`DETAILS`] and what was given for them.
    pub(super) details: Vec<(&'static str, Cow<'a, str>)>,
}

/// What else an error may say. Those that are objects are named by their id. <https://docs.stripe.com/api/errors>
const DETAILS: [&str; 12] = [
    "advice_code",
    "charge",
    "doc_url",
    "network_advice_code",
    "network_decline_code",
    "payment_intent",
    "payment_method",
    "payment_method_type",
    "request_log_url",
    "setup_intent",
    "source",
    "user_message",
];

impl<'de: 'a, 'a> Deserialize<'de> for ErrorFields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = ErrorFields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an error as a map or a text")
            }

            /// OAuth's errors are texts: `invalid_grant`.
            fn visit_borrowed_str<E>(self, code: &'de str) -> Result<Self::Value, E> {
                Ok(ErrorFields {
                    shape: Shape::Text,
                    code: Word(Some(Cow::Borrowed(code))),
                    ..ErrorFields::default()
                })
            }

            fn visit_str<E>(self, code: &str) -> Result<Self::Value, E> {
                Ok(ErrorFields {
                    shape: Shape::Text,
                    code: Word(Some(Cow::Owned(code.to_owned()))),
                    ..ErrorFields::default()
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = ErrorFields {
                    shape: Shape::Object,
                    ..ErrorFields::default()
                };
                while let Some(name) = map.next_key::<Cow<'de, str>>()? {
                    let field = match &*name {
                        "type" => &mut fields.kind,
                        "code" => &mut fields.code,
                        "message" => &mut fields.message,
                        "param" => &mut fields.param,
                        "decline_code" => &mut fields.decline_code,
                        other => {
                            match DETAILS.into_iter().find(|known| *known == other) {
                                Some(known) => {
                                    let word: WordOrId<'_> = map.next_value()?;
                                    fields.details.extend(word.0.0.map(|text| (known, text)));
                                }
                                None => {
                                    map.next_value::<IgnoredAny>()?;
                                }
                            }
                            continue;
                        }
                    };
                    *field = map.next_value()?;
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_any(Fields)
    }
}

/// A text, or the `id` of an object.
struct WordOrId<'a>(Word<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for WordOrId<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // One level of a tree is enough: what is deeper is passed over as it is.
        let raw: &'de RawValue = Deserialize::deserialize(deserializer)?;
        let text = raw.get();
        let word = if text.starts_with('{') {
            serde_json::from_str::<Object<'de>>(text).map(|object| object.id)
        } else {
            serde_json::from_str::<Word<'de>>(text)
        };
        Ok(Self(word.unwrap_or_default()))
    }
}

/// A text, if the value is one. Anything else is passed over, so that an odd field spoils no answer.
#[derive(Default)]
pub(super) struct Word<'a>(pub(super) Option<Cow<'a, str>>);

impl Word<'_> {
    pub(super) fn has_text(&self) -> bool {
        self.0.as_deref().is_some_and(|text| !text.is_empty())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Word<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Word<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Word(Some(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Word(Some(Cow::Owned(text.to_owned()))))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Word(None))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Word(None))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Word(None))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Word(None))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Word(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Word(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Word(None))
            }
        }

        deserializer.deserialize_any(Text)
    }
}
