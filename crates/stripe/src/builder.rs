//! What all typed builders have in common.

use std::fmt;

use inflight_core::Request;

use crate::catalogue::Operation;
use crate::options::RequestOptions;
use crate::request::BuildError;
use crate::value::{Params, Value};

/// One call of an operation, before it is checked: what every typed builder is inside, and how the operations are called that
/// have none.
///
/// ```
/// use inflight_stripe::Operation;
/// use serde_json::json;
///
/// let request = Operation::by_name("checkout.session.create")?
///     .params(json!({ "mode": "payment", "line_items": [{ "price": "price_1", "quantity": 2 }] }))?
///     .idempotency_key("order-7")
///     .request()?;
/// assert_eq!(request.target, "/v1/checkout/sessions");
///
/// let close = Operation::by_name("v2.core.account.close")?.call().id("acct_1");
/// assert_eq!(close.request()?.target, "/v2/core/accounts/acct_1/close");
///
/// let error = Operation::by_name("checkout.sesion.create").unwrap_err();
/// assert_eq!(error.nearest(), Some("checkout.session.create"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq)]
#[must_use = "a call does nothing until `request` is called"]
pub struct Call {
    pub(crate) operation: &'static Operation,
    pub(crate) ids: Vec<String>,
    pub(crate) params: Params,
    pub(crate) options: RequestOptions,
}

impl Operation {
    /// A call of this operation without ids and parameters.
    pub fn call(&'static self) -> Call {
        Call::new(self, Vec::new())
    }

    /// A call of this operation with these parameters: a JSON object. What is required and missing is told by
    /// [`Call::request`].
    ///
    /// # Errors
    /// The first parameter that Stripe would refuse, or that the value is no object. Those of another version of its API than the
    /// catalogue's are given by [`Call::param`], which checks nothing before the options are known.
    pub fn params(&'static self, json: serde_json::Value) -> Result<Call, BuildError> {
        let serde_json::Value::Object(params) = json else {
            return Err(BuildError::NoObject { operation: self.name });
        };
        let params: Params = params.into();
        for (name, value) in params.iter() {
            self.check(name, value)?;
        }
        let mut call = self.call();
        call.params = params;
        Ok(call)
    }
}

impl Call {
    pub(crate) fn new(operation: &'static Operation, ids: Vec<String>) -> Self {
        Self {
            operation,
            ids,
            params: Params::new(),
            options: RequestOptions::new(),
        }
    }

    /// Adds the next id of the path.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.ids.push(id.into());
        self
    }

    /// Sets one parameter.
    pub fn param(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.params.set(name, value);
        self
    }

    /// Replaces all options.
    pub fn options(mut self, options: RequestOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets the idempotency key: 1 to 255 printable ASCII characters. By default one is made at submission.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.options = self.options.idempotency_key(key);
        self
    }

    /// The request.
    ///
    /// # Errors
    /// The first thing that Stripe or HTTP would refuse.
    pub fn request(self) -> Result<Request, BuildError> {
        let ids: Vec<&str> = self.ids.iter().map(String::as_str).collect();
        self.operation.request(&ids, self.params, &self.options)
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("operation", &self.operation.name)
            .field("ids", &self.ids)
            .field("params", &self.params)
            .field("options", &self.options)
            .finish()
    }
}

pub(crate) fn text(value: impl Into<String>) -> Value {
    Value::Text(value.into())
}

pub(crate) fn integer(value: i64) -> Value {
    Value::Integer(value)
}

pub(crate) fn number(value: f64) -> Value {
    Value::Float(value)
}

pub(crate) fn boolean(value: bool) -> Value {
    Value::Bool(value)
}

pub(crate) fn any(value: impl Into<Value>) -> Value {
    value.into()
}

/// A builder over a [`Call`]: `new` with the path's ids and the required parameters, a setter for each optional one, and
/// what every request has.
macro_rules! builder {
    (
        $(#[$doc:meta])*
        $name:ident = $operation:expr;
        path($($id:ident),*);
        required($($required:ident: $required_type:ty => $required_as:ident $required_name:literal,)*);
        special($($special:ident),*);
        optional {$(
            $(#[$setter_doc:meta])*
            $setter:ident: $type:ty => $as:ident $param:literal;
        )*}
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        #[must_use = "a builder does nothing until `request` is called"]
        pub struct $name($crate::builder::Call);

        impl $name {
            /// A call with what it requires and nothing else.
            #[allow(clippy::new_without_default, reason = "a call without arguments is no default of anything")]
            pub fn new($($id: impl Into<String>,)* $($required: $required_type,)*) -> Self {
                #[allow(unused_mut, reason = "not every call requires a parameter")]
                let mut call = $crate::builder::Call::new(&$operation, vec![$($id.into()),*]);
                $(call.params.set($required_name, $crate::builder::$required_as($required));)*
                Self(call)
            }

            $(
                $(#[$setter_doc])*
                pub fn $setter(mut self, $setter: $type) -> Self {
                    self.0.params.set($param, $crate::builder::$as($setter));
                    self
                }
            )*

            $($crate::builder::special_setter!($special);)*

            /// Sets any parameter by its name, checked like all others.
            pub fn param(mut self, name: impl Into<String>, value: impl Into<$crate::Value>) -> Self {
                self.0.params.set(name, value);
                self
            }

            /// Clears a parameter at Stripe: sends `name=`.
            pub fn unset(self, name: impl Into<String>) -> Self {
                self.param(name, $crate::Value::Null)
            }

            /// Replaces all options.
            pub fn options(mut self, options: $crate::RequestOptions) -> Self {
                self.0.options = options;
                self
            }

            /// Sets the idempotency key: 1 to 255 printable ASCII characters. By default one is made at submission. Only
            /// a POST sends one.
            pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
                self.0.options = self.0.options.idempotency_key(key);
                self
            }

            /// Sets the connected account (`acct_…`). By default the key's own.
            pub fn stripe_account(mut self, account: impl Into<String>) -> Self {
                self.0.options = self.0.options.stripe_account(account);
                self
            }

            /// Sets the priority. By default `normal`.
            pub fn priority(mut self, priority: $crate::Priority) -> Self {
                self.0.options = self.0.options.priority(priority);
                self
            }

            /// Sets how long one attempt may take. By default the worker's own (80 s).
            pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
                self.0.options = self.0.options.timeout(timeout);
                self
            }

            /// The request.
            ///
            /// # Errors
            /// The first thing that Stripe or HTTP would refuse.
            pub fn request(self) -> Result<$crate::Request, $crate::BuildError> {
                self.0.request()
            }
        }
    };
}

macro_rules! special_setter {
    (metadata) => {
        /// Adds an entry to the metadata: at most 50, with keys of at most 40 characters and values of at most 500. An
        /// empty value removes the key at Stripe.
        pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
            self.0.params.set_in("metadata", key, value.into());
            self
        }
    };
    (expand) => {
        /// Has Stripe answer with the whole object at this path instead of its id: `product`, `data.customer`.
        pub fn expand(mut self, path: impl Into<String>) -> Self {
            self.0.params.push("expand", path.into());
            self
        }
    };
}

pub(crate) use {builder, special_setter};
