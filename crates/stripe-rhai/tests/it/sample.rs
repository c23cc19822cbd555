//! Values for parameters, with what they must look like on the wire. The expectation is written beside the value, not by the
//! encoder that is tested.

use inflight_stripe::{Kind, Param};
use rhai::{Array, Dynamic, Map};
use serde_json::Value as Json;

/// How much is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What is required, and nothing else.
    Minimal,
    /// Everything; the number chooses among the ways to say each value.
    Maximal(usize),
    /// Everything, and whatever may be cleared is.
    Cleared,
}

impl Extent {
    fn variant(self) -> usize {
        match self {
            Self::Minimal | Self::Cleared => 0,
            Self::Maximal(variant) => variant,
        }
    }
}

/// A value, and what it is on the wire.
pub(crate) struct Sample {
    pub(crate) value: Dynamic,
    /// In a form: names below the parameter's own (`[0][price]`), and texts.
    pub(crate) pairs: Vec<(String, String)>,
    /// In JSON.
    pub(crate) json: Json,
}

impl Sample {
    fn scalar(value: impl Into<Dynamic>, text: impl Into<String>, json: impl Into<Json>) -> Self {
        Self {
            value: value.into(),
            pairs: vec![(String::new(), text.into())],
            json: json.into(),
        }
    }
}

/// The content of every file that is sent.
pub(crate) const FILE: &[u8] = b"\x00file\r\n--bytes";

pub(crate) struct Sampler {
    pub(crate) extent: Extent,
    /// `stripe::unset`
    pub(crate) unset: Dynamic,
}

impl Sampler {
    /// Named values for these parameters, as a script's map.
    pub(crate) fn params(&self, params: impl Iterator<Item = &'static Param>) -> Sample {
        let mut map = Map::new();
        let (mut pairs, mut json) = (Vec::new(), serde_json::Map::new());
        for param in params {
            let minimal = self.extent == Extent::Minimal;
            if minimal && !param.required {
                continue;
            }
            let sample = self.param(param);
            map.insert(param.name.into(), sample.value);
            json.insert(param.name.into(), sample.json);
            pairs.extend(
                sample
                    .pairs
                    .into_iter()
                    .map(|(below, text)| (format!("[{}]{below}", param.name), text)),
            );
        }
        Sample {
            value: map.into(),
            pairs,
            json: Json::Object(json),
        }
    }

    fn param(&self, param: &'static Param) -> Sample {
        if self.extent == Extent::Cleared && param.clearable {
            return Sample::scalar(self.unset.clone(), "", Json::Null);
        }
        self.kind(&param.kind)
    }

    fn kind(&self, kind: &'static Kind) -> Sample {
        let variant = self.extent.variant();
        match kind {
            Kind::Integer => match variant % 3 {
                0 => Sample::scalar(7_i64, "7", 7),
                1 => Sample::scalar("12", "12", 12),
                _ => Sample::scalar(3.0, "3", 3),
            },
            Kind::Timestamp => Sample::scalar(1_700_000_000_i64, "1700000000", 1_700_000_000),
            Kind::Number => match variant % 3 {
                0 => Sample::scalar(12.5, "12.5", 12.5),
                1 => Sample::scalar(4_i64, "4", 4),
                _ => Sample::scalar("0.25", "0.25", 0.25),
            },
            Kind::Decimal => match variant % 3 {
                0 => Sample::scalar("12.50", "12.50", "12.50"),
                1 => Sample::scalar(0.5, "0.5", "0.5"),
                _ => Sample::scalar(3_i64, "3", "3"),
            },
            Kind::IntegerText => Sample::scalar(i64::MAX, i64::MAX.to_string(), i64::MAX.to_string()),
            Kind::Boolean => match variant % 3 {
                0 => Sample::scalar(true, "true", true),
                1 => Sample::scalar(false, "false", false),
                _ => Sample::scalar("true", "true", true),
            },
            Kind::Text | Kind::Any => match variant % 3 {
                0 => text("a b&c=d+é"),
                1 => text("x"),
                _ => Sample::scalar(5_i64, "5", if *kind == Kind::Any { Json::from(5) } else { "5".into() }),
            },
            // As long as it may be, in characters.
            Kind::TextUpTo(max) if *max <= 100 => text(&"é".repeat(*max as usize)),
            Kind::TextUpTo(_) => text("ü[1]"),
            Kind::Enum(values) => text(one_of(values, variant)),
            // A value that is younger than the specification.
            Kind::OpenEnum(_) if variant == 2 => text("brand_new"),
            Kind::OpenEnum(values) => text(one_of(values, variant)),
            Kind::Open(usual) => self.kind(usual),
            Kind::List(item) => self.list(item),
            Kind::Map(entry) => self.map(entry),
            Kind::Object(params) => self.object(params),
            Kind::AnyOf(kinds) => self.kind(&kinds[variant % kinds.len()]),
            Kind::File => Sample {
                value: Dynamic::from_blob(FILE.to_vec()),
                pairs: Vec::new(),
                json: Json::Null,
            },
            other => panic!("no sample of {other}"),
        }
    }

    fn list(&self, item: &'static Kind) -> Sample {
        let count = if self.extent == Extent::Minimal { 1 } else { 2 };
        let (mut array, mut pairs, mut json) = (Array::new(), Vec::new(), Vec::new());
        for index in 0..count {
            let sample = self.kind(item);
            array.push(sample.value);
            json.push(sample.json);
            pairs.extend(
                sample
                    .pairs
                    .into_iter()
                    .map(|(below, text)| (format!("[{index}]{below}"), text)),
            );
        }
        Sample {
            value: array.into(),
            pairs,
            json: json.into(),
        }
    }

    fn map(&self, entry: &'static Kind) -> Sample {
        let sample = self.kind(entry);
        let mut map = Map::new();
        map.insert("key_1".into(), sample.value);
        Sample {
            value: map.into(),
            pairs: sample
                .pairs
                .into_iter()
                .map(|(below, text)| (format!("[key_1]{below}"), text))
                .collect(),
            json: serde_json::json!({ "key_1": sample.json }),
        }
    }

    /// An object that requires nothing has its first parameter all the same: an empty one sends nothing.
    fn object(&self, params: &'static [Param]) -> Sample {
        let minimal = self.extent == Extent::Minimal;
        if minimal && !params.iter().any(|param| param.required) {
            let Some(first) = params.first() else {
                return self.params(params.iter());
            };
            let sample = self.param(first);
            let mut map = Map::new();
            map.insert(first.name.into(), sample.value);
            return Sample {
                value: map.into(),
                pairs: sample
                    .pairs
                    .into_iter()
                    .map(|(below, text)| (format!("[{}]{below}", first.name), text))
                    .collect(),
                json: serde_json::json!({ first.name: sample.json }),
            };
        }
        self.params(params.iter())
    }
}

fn text(text: &str) -> Sample {
    Sample::scalar(text.to_owned(), text, text)
}

fn one_of(values: &'static [&'static str], variant: usize) -> &'static str {
    let values: Vec<&str> = values.iter().copied().filter(|value| !value.is_empty()).collect();
    values.get(variant % values.len().max(1)).copied().unwrap_or_default()
}
