//! Requests in flight from Rhai scripts: every layer, assembled.
