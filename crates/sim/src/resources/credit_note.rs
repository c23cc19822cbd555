//! Credit notes: less for an invoice than it said. <https://docs.stripe.com/api/credit_notes>

mod line;

use inflight_stripe::Value;

use super::discount::{amounts_json, described};
use super::{Context, generic, integer_of, invoice, refund, text_of};
use crate::error::ApiError;
use crate::generated as g;
use crate::json::text;
use crate::object::Object;
use crate::schema::Shape;

/// What is taken off an open invoice need not be paid; what is taken off a paid one is given back.
pub(super) fn create(context: &mut Context<'_>) -> Result<String, ApiError> {
    let Some(mut invoice) = context.referred(g::INVOICE, "invoice")? else {
        return Err(ApiError::missing("invoice"));
    };
    let paid = match invoice.word("status") {
        Some("paid") => true,
        Some("open") => false,
        _ => {
            return Err(
                ApiError::invalid("You can only create credit notes for open or paid invoices.").param("invoice"),
            );
        }
    };
    let lines = line::given(context, &invoice)?;
    let amount = amount_of(context, &invoice, paid, &lines)?;
    let ways = Ways::given(context)?;
    ways.check(if paid { amount } else { 0 })?;
    let charge = charge_of(context, &invoice, ways.refund)?;
    let mut note = generic::build(context, g::CREDIT_NOTE)?;
    describe(context, &mut note, &invoice, amount, paid);
    if !lines.is_empty() {
        describe_lines(&mut note, &lines);
        line::keep(context, &mut note, lines);
    }
    let field = field(paid);
    invoice.set_integer(field, invoice.amount(field).saturating_add(amount));
    let invoice_id = invoice.id.to_string();
    if paid {
        if let Some(charge) = charge {
            let refund = refund::give_back(context, charge, ways.refund);
            note.set("refunds", refunds(&refund, ways.refund));
        }
        credit(context, &invoice, ways.credit_of(amount));
    } else {
        take_off(&mut invoice, amount);
    }
    context.put(invoice);
    if !paid {
        invoice::settle_nothing(context, &invoice_id);
        invoice::follow(context, &invoice_id);
    }
    context.insert(note)
}

fn describe(context: &Context<'_>, note: &mut Object, invoice: &Object, amount: i64, paid: bool) {
    for name in [
        "amount",
        "subtotal",
        "total",
        "subtotal_excluding_tax",
        "total_excluding_tax",
    ] {
        note.set_integer(name, amount);
    }
    let [kind, part] = if paid {
        ["post_payment", "post_payment_amount"]
    } else {
        ["pre_payment", "pre_payment_amount"]
    };
    note.set_text("type", kind);
    note.set_integer(part, amount);
    note.set("currency", invoice.json("currency"));
    note.set("customer", invoice.json("customer"));
    note.set_text("status", "issued");
    let number = format!(
        "{}-CN-{:02}",
        invoice.word("number").unwrap_or("SIM"),
        context.data.table(g::CREDIT_NOTE).len() + 1
    );
    note.set_text("number", &number);
}

/// What its lines came to before the invoice's discounts came off, and all discounts.
fn describe_lines(note: &mut Object, lines: &[line::Credited]) {
    let subtotal = line::subtotal(lines);
    for name in ["subtotal", "subtotal_excluding_tax"] {
        note.set_integer(name, subtotal);
    }
    let discounts = line::discounts(lines);
    note.set_integer("discount_amount", line::total(&discounts));
    note.set("discount_amounts", amounts_json(&discounts));
}

/// Where an invoice says how much credit notes have taken off.
fn field(paid: bool) -> &'static str {
    if paid {
        "post_payment_credit_notes_amount"
    } else {
        "pre_payment_credit_notes_amount"
    }
}

/// So much less is due, or more.
fn take_off(invoice: &mut Object, amount: i64) {
    for name in ["amount_remaining", "amount_due"] {
        invoice.set_integer(name, invoice.amount(name).saturating_sub(amount));
    }
}

/// How a paid amount is given back.
struct Ways {
    refund: i64,
    credit: i64,
    out_of_band: i64,
    /// Refunds that were made already.
    linked: i64,
}

impl Ways {
    fn given(context: &Context<'_>) -> Result<Self, ApiError> {
        let of = |name: &str| match context.integer(name)? {
            Some(amount) if amount < 0 => {
                Err(ApiError::invalid("This value must be greater than or equal to 0.").param(name))
            }
            amount => Ok(amount.unwrap_or(0)),
        };
        Ok(Self {
            refund: of("refund_amount")?,
            credit: of("credit_amount")?,
            out_of_band: of("out_of_band_amount")?,
            linked: linked(context)?,
        })
    }

    fn sum(&self) -> i64 {
        let all = [self.refund, self.credit, self.out_of_band, self.linked];
        all.into_iter().fold(0, i64::saturating_add)
    }

    /// Where nothing is said, all of it becomes the customer's credit.
    fn check(&self, amount: i64) -> Result<(), ApiError> {
        let sum = self.sum();
        if sum == 0 || sum == amount {
            return Ok(());
        }
        Err(ApiError::invalid(format!(
            "The sum of credit amount, refund amount and out of band amount ({sum}) must equal the credit note's post-payment \
             amount ({amount})."
        )))
    }

    fn credit_of(&self, amount: i64) -> i64 {
        if self.sum() == 0 { amount } else { self.credit }
    }
}

/// What `refunds` names: refunds, in whole or in part.
fn linked(context: &Context<'_>) -> Result<i64, ApiError> {
    let mut sum = 0_i64;
    for (index, given) in context.list("refunds").iter().filter_map(Value::as_map).enumerate() {
        let param = format!("refunds[{index}][refund]");
        let refund = match text_of(given, "refund") {
            Some(id) => {
                let found = context.data.get(g::REFUND, id);
                Some(found.ok_or_else(|| ApiError::no_such("refund", id, &param))?)
            }
            None => None,
        };
        let amount = integer_of(given, "amount_refunded")?;
        let amount = amount.or(refund.map(|refund| refund.amount("amount"))).unwrap_or(0);
        sum = sum.saturating_add(amount.max(0));
    }
    Ok(sum)
}

fn amount_of(context: &Context<'_>, invoice: &Object, paid: bool, lines: &[line::Credited]) -> Result<i64, ApiError> {
    let most = if paid {
        invoice
            .amount("amount_paid")
            .saturating_sub(invoice.amount("post_payment_credit_notes_amount"))
    } else {
        invoice.amount("amount_remaining")
    };
    let of_lines = (!lines.is_empty()).then(|| line::sum(lines));
    let given = context.integer("amount")?;
    if let (Some(given), Some(of_lines)) = (given, of_lines)
        && given != of_lines
    {
        let message = format!("The credit note's amount ({given}) must be the sum of its lines ({of_lines}).");
        return Err(ApiError::invalid(message).param("amount"));
    }
    let ways = Some(Ways::given(context)?.sum()).filter(|sum| *sum > 0);
    match given.or(of_lines).or(ways).unwrap_or(most) {
        amount if amount < 1 => {
            Err(ApiError::invalid("This value must be greater than or equal to 1.").param("amount"))
        }
        amount if amount > most => Err(ApiError::invalid(format!(
            "The credit note's amount ({amount}) must not be greater than what is left of the invoice ({most})."
        ))
        .param("amount")),
        amount => Ok(amount),
    }
}

/// The charge that an invoice was paid with, if so much of it is to be given back.
fn charge_of(context: &Context<'_>, invoice: &Object, amount: i64) -> Result<Option<Object>, ApiError> {
    if amount == 0 {
        return Ok(None);
    }
    let charge = invoice::charge_of(context, invoice);
    match charge.filter(|charge| refund::left(charge) >= amount) {
        Some(charge) => Ok(Some(charge)),
        None => Err(ApiError::invalid(
            "The refund amount is greater than what can be refunded of the invoice's payment.",
        )
        .param("refund_amount")),
    }
}

fn refunds(refund: &str, amount: i64) -> String {
    let shape = match g::CREDIT_NOTE.field("refunds").map(|field| field.shape) {
        Some(Shape::List(item)) => Some(Shape::inner(item)),
        _ => None,
    };
    let fields = [
        ("amount_refunded", amount.to_string()),
        ("refund", text(refund)),
        ("type", text("refund")),
    ];
    format!("[{}]", described(shape, &fields))
}

fn credit(context: &mut Context<'_>, invoice: &Object, amount: i64) {
    let customer = invoice.word("customer").and_then(|id| context.find(g::CUSTOMER, id));
    if let Some(mut customer) = customer
        && amount != 0
    {
        customer.set_integer("balance", customer.amount("balance").saturating_sub(amount));
        context.put(customer);
    }
}

/// Only while the invoice is open: then what was taken off it is due again. <https://docs.stripe.com/api/credit_notes/void>
pub(super) fn void(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut note = context.existing(g::CREDIT_NOTE)?;
    if note.word("status") == Some("void") {
        return Err(ApiError::invalid("This credit note has already been voided."));
    }
    let invoice = note.word("invoice").and_then(|id| context.find(g::INVOICE, id));
    let Some(mut invoice) = invoice.filter(|invoice| invoice.word("status") == Some("open")) else {
        return Err(ApiError::invalid(
            "You can only void a credit note if its invoice is open.",
        ));
    };
    let amount = note.amount("amount");
    let taken = invoice.amount(field(false)).saturating_sub(amount);
    invoice.set_integer(field(false), taken);
    take_off(&mut invoice, -amount);
    let invoice_id = invoice.id.clone();
    context.put(invoice);
    invoice::follow(context, &invoice_id);
    note.set_text("status", "void");
    note.set_integer("voided_at", context.now);
    let id = note.id.clone();
    let json = context.replace(note)?;
    context.emit("credit_note.voided", g::CREDIT_NOTE, &id);
    Ok(json)
}
