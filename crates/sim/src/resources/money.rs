//! The account's balance, and the transactions that it is the sum of. <https://docs.stripe.com/api/balance_transactions>

use std::fmt::Write as _;

use super::{Context, currency_of, generic};
use crate::error::ApiError;
use crate::generated as g;
use crate::json::text;
use crate::object::Object;
use crate::schema::SchemaId;

/// 2.9 % and 30 of the currency's minor units: <https://stripe.com/pricing>, for cards of the account's country.
pub(super) fn fee(amount: i64) -> i64 {
    // Rounded to the nearest unit.
    amount.saturating_mul(29).saturating_add(500) / 1000 + 30
}

/// What a balance transaction is about.
pub(super) struct Movement<'a> {
    /// `charge`, `refund`, `transfer`, `payout`, …
    pub(super) kind: &'a str,
    pub(super) amount: i64,
    pub(super) fee: i64,
    pub(super) currency: &'a str,
    /// The id of the object that moves the money.
    pub(super) source: &'a str,
}

/// Moves money, and says which transaction did.
pub(super) fn transact(context: &mut Context<'_>, movement: &Movement<'_>) -> String {
    let mut transaction = context.fresh(g::BALANCE_TRANSACTION);
    let net = movement.amount.saturating_sub(movement.fee);
    transaction.set_text("type", movement.kind);
    transaction.set_text("reporting_category", movement.kind);
    transaction.set_integer("amount", movement.amount);
    transaction.set_integer("fee", movement.fee);
    transaction.set_integer("net", net);
    transaction.set_text("currency", movement.currency);
    transaction.set_text("source", movement.source);
    transaction.set_integer("available_on", context.now);
    if movement.fee != 0 {
        let currency = text(movement.currency);
        let fee = movement.fee;
        transaction.set(
            "fee_details",
            format!(
                "[{{\"amount\":{fee},\"application\":null,\"currency\":{currency},\
                 \"description\":\"Stripe processing fees\",\"type\":\"stripe_fee\"}}]"
            ),
        );
    }
    let id = transaction.id.to_string();
    context.data.table_mut(g::BALANCE_TRANSACTION).insert(transaction);
    let balance = context.data.balance.entry(movement.currency.into()).or_default();
    *balance = balance.saturating_add(net);
    context.effect = true;
    id
}

/// All money is available at once.
pub(super) fn balance(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut available = String::from("[");
    for (currency, amount) in &context.data.balance {
        if available.len() > 1 {
            available.push(',');
        }
        let currency = text(currency);
        let _ = write!(
            available,
            "{{\"amount\":{amount},\"currency\":{currency},\"source_types\":{{\"card\":{amount}}}}}"
        );
    }
    if available.len() == 1 {
        available.push_str(r#"{"amount":0,"currency":"usd","source_types":{"card":0}}"#);
    }
    available.push(']');
    let mut balance = Object::new(g::BALANCE, "", context.now);
    balance.set("available", available);
    balance.set(
        "pending",
        r#"[{"amount":0,"currency":"usd","source_types":{"card":0}}]"#,
    );
    Ok(context.json(&balance))
}

fn amount_of(context: &Context<'_>) -> Result<i64, ApiError> {
    match context.integer("amount")? {
        None => Err(ApiError::missing("amount")),
        Some(amount) if amount < 1 => Err(ApiError::invalid("This value must be greater than or equal to 1.")
            .code("parameter_invalid_integer")
            .param("amount")),
        Some(amount) => Ok(amount),
    }
}

/// A payout, a transfer or a top-up: money that leaves the balance, or comes to it.
pub(super) fn create(context: &mut Context<'_>, schema: SchemaId) -> Result<String, ApiError> {
    let currency = currency_of(context.params, "currency")?.unwrap_or_else(|| "usd".to_owned());
    let (kind, sign) = match schema {
        g::PAYOUT => ("payout", -1),
        g::TRANSFER => ("transfer", -1),
        _ => ("topup", 1),
    };
    let held = context.data.balance.get(currency.as_str()).copied().unwrap_or(0);
    let amount = if schema == g::TRANSFER && !context.given("amount") {
        held
    } else {
        amount_of(context)?
    };
    if sign < 0 && !(1..=held).contains(&amount) {
        let message = "You have insufficient available funds in your Stripe account. One likely reason you have insufficient \
                       funds is that your funds are automatically being paid out; try enabling manual payouts by going to \
                       https://dashboard.stripe.com/account/payouts.";
        return Err(ApiError::invalid(message).code("balance_insufficient"));
    }
    let mut object = generic::build(context, schema)?;
    object.set_integer("amount", amount);
    object.set_text("currency", &currency);
    let status = if schema == g::PAYOUT { "paid" } else { "succeeded" };
    object.set_text("status", status);
    object.set_integer("arrival_date", context.now);
    let id = object.id.to_string();
    let transaction = transact(
        context,
        &Movement {
            kind,
            amount: sign * amount,
            fee: 0,
            currency: &currency,
            source: &id,
        },
    );
    object.set_text("balance_transaction", &transaction);
    let json = context.insert(object)?;
    match schema {
        g::PAYOUT => context.emit("payout.paid", schema, &id),
        g::TOPUP => context.emit("topup.succeeded", schema, &id),
        _ => {}
    }
    Ok(json)
}

/// `POST /v1/transfers/{id}/reversals`: a transfer comes back, or part of it.
pub(super) fn reverse(context: &mut Context<'_>) -> Result<String, ApiError> {
    let owner = context.ids.first().map_or("", String::as_str);
    let Some(mut transfer) = context.find(g::TRANSFER, owner) else {
        return Err(ApiError::no_such("transfer", owner, "id").status(404));
    };
    let left = transfer
        .amount("amount")
        .saturating_sub(transfer.amount("amount_reversed"));
    let amount = match context.given("amount") {
        true => amount_of(context)?,
        false => left,
    };
    if left <= 0 {
        return Err(ApiError::invalid(format!(
            "Transfer {owner} has already been reversed."
        )));
    }
    if amount > left {
        let message = format!("Reversal amount ({amount}) is greater than unreversed amount on transfer ({left})");
        return Err(ApiError::invalid(message).param("amount"));
    }
    let mut reversal = generic::build(context, g::TRANSFER_REVERSAL)?;
    let currency = transfer.word("currency").unwrap_or("usd").to_owned();
    reversal.set_integer("amount", amount);
    reversal.set_text("currency", &currency);
    reversal.set_text("transfer", owner);
    let movement = Movement {
        kind: "transfer_refund",
        amount,
        fee: 0,
        currency: &currency,
        source: &reversal.id,
    };
    let transaction = transact(context, &movement);
    reversal.set_text("balance_transaction", &transaction);
    let reversed = transfer.amount("amount_reversed").saturating_add(amount);
    transfer.set_integer("amount_reversed", reversed);
    if amount == left {
        transfer.set("reversed", "true");
    }
    let mut all = transfer.ids("reversals");
    all.insert(0, reversal.id.to_string());
    let all: Vec<String> = all.iter().map(|id| text(id)).collect();
    transfer.set("reversals", format!("[{}]", all.join(",")));
    context.put_as(transfer, None);
    context.emit("transfer.reversed", g::TRANSFER, owner);
    context.insert(reversal)
}

/// `POST /v1/topups/{topup}/cancel`: only one that is on its way can be.
pub(super) fn cancel_topup(context: &mut Context<'_>) -> Result<String, ApiError> {
    let topup = context.existing(g::TOPUP)?;
    match topup.word("status") {
        Some("pending") => generic::execute(context),
        status => Err(ApiError::invalid(format!(
            "This top-up could not be canceled because it has a status of {}. Only pending top-ups can be canceled.",
            status.unwrap_or_default()
        ))),
    }
}

/// `POST /v1/payouts/{payout}/cancel` and `…/reverse`: payouts are paid at once, and only those of connected accounts to banks of
/// some countries can be reversed.
pub(super) fn end_payout(context: &mut Context<'_>, word: &str) -> Result<String, ApiError> {
    let payout = context.existing(g::PAYOUT)?;
    Err(match word {
        "cancel" => ApiError::invalid(format!(
            "Payouts can only be canceled while they are pending. This payout has a status of {}.",
            payout.word("status").unwrap_or_default()
        )),
        _ => ApiError::invalid("This payout cannot be reversed."),
    })
}

/// Credit that a customer has with the shop, or owes it.
pub(super) fn customer_balance(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut transaction = generic::build(context, g::CUSTOMER_BALANCE_TRANSACTION)?;
    let owner = context.ids.first().map_or("", String::as_str);
    let Some(mut customer) = context.find(g::CUSTOMER, owner) else {
        return Err(ApiError::no_such("customer", owner, "customer").status(404));
    };
    let ending = customer.amount("balance").saturating_add(transaction.amount("amount"));
    transaction.set_integer("ending_balance", ending);
    transaction.set_text("type", "adjustment");
    customer.set_integer("balance", ending);
    context.put(customer);
    context.insert(transaction)
}

#[cfg(test)]
mod tests {
    use super::fee;

    #[test]
    fn fees() {
        for (amount, expected) in [
            (1000, 59),
            (500, 45),
            (1, 30),
            (99_999_999, 2_900_030),
            (i64::MAX, i64::MAX / 1000 + 30),
        ] {
            assert_eq!(fee(amount), expected, "{amount}");
        }
    }
}
