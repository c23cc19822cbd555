//! Files: uploaded in parts, and given back as they are. <https://docs.stripe.com/api/files>

use bytes::Bytes;
use inflight_stripe::Value;

use super::{Answered, Context, generic};
use crate::error::ApiError;
use crate::generated as g;

/// What a quote's PDF holds: the shortest file that readers take for one.
const PDF: &[u8] =
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n\
                     trailer<</Root 1 0 R>>\n%%EOF\n";

pub(super) fn create(context: &mut Context<'_>) -> Result<String, ApiError> {
    let Some(Value::File(upload)) = context.params.get("file") else {
        return Err(ApiError::missing("file"));
    };
    let mut file = generic::build(context, g::FILE)?;
    file.set_integer("size", i64::try_from(upload.bytes().len()).unwrap_or(i64::MAX));
    file.set_text("filename", upload.name());
    let kind = upload
        .name()
        .rsplit_once('.')
        .map(|(_, extension)| extension.to_ascii_lowercase());
    if let Some(kind) = kind {
        file.set_text("type", &kind);
    }
    let url = format!("https://files.stripe.com/v1/files/{}/contents", file.id);
    file.set_text("url", &url);
    context.data.contents.insert(file.id.clone(), upload.bytes().clone());
    context.insert(file)
}

/// An operation that answers with bytes.
pub(super) fn content(context: &mut Context<'_>) -> Result<Answered, ApiError> {
    if let Some((schemas, _)) = &context.plan.owner
        && !schemas
            .iter()
            .any(|schema| context.data.get(*schema, context.id()).is_some())
    {
        return Err(ApiError::no_such("quote", context.id(), "quote").status(404));
    }
    Ok(Answered::File(Bytes::from_static(PDF), "application/pdf"))
}
