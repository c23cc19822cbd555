//! One request's spans in OpenTelemetry: the request, and each of its attempts with Stripe's own id for it.
//!
//! ```text
//! cargo run -p inflight-examples --example opentelemetry
//! ```
//!
//! The spans are kept in memory and printed. A host gives the provider an exporter of its own in place of that one, such as
//! `opentelemetry-otlp`'s.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use inflight::core::block_on;
use inflight::sim::{Fault, Faults, Rule, Simulator};
use inflight::stripe_rhai::ApiKey;
use inflight::{Inflight, ScriptOptions, Traces};
use opentelemetry::trace::{SpanId, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> Result<(), Box<dyn Error>> {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    // Where a span was made, in this program's source, says nothing of the request.
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("inflight"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false);
    tracing_subscriber::registry().with(layer).try_init()?;

    // The first attempt fails, so that there are two.
    let faults = Faults::new().rule(Rule::new(Fault::ErrorBefore).nth(1));
    let simulator = Simulator::builder().faults(faults).start()?;
    let inflight = Inflight::builder()
        .base_url(simulator.url())
        .api_key(ApiKey::new("sk_test_example1234")?)
        .observer(Traces::new())
        .build()?;
    let options = ScriptOptions {
        time_limit: Some(Duration::from_secs(60)),
        output: Some(Arc::new(|line: &str| println!("the script says: {line}"))),
        ..ScriptOptions::default()
    };
    let report = block_on(inflight.run(r#"print(new_product().name("Mug").create())"#, options));
    report.result?;

    inflight.shutdown(Duration::from_secs(5));
    simulator.shutdown();
    provider.force_flush()?;
    let spans = exporter.get_finished_spans()?;
    print_below(&spans, SpanId::INVALID, 0);
    let attempts = spans.iter().filter(|span| value(span, "stripe.request_id").is_some());
    if attempts.count() != 2 {
        return Err("there should be two attempts, each with Stripe's request id".into());
    }
    Ok(provider.shutdown()?)
}

/// Prints the spans below this one, with what they say of themselves.
fn print_below(spans: &[SpanData], parent: SpanId, depth: usize) {
    for span in spans.iter().filter(|span| span.parent_span_id == parent) {
        let took = span.end_time.duration_since(span.start_time).unwrap_or_default();
        println!(
            "{:indent$}{} ({:?}, {took:?})",
            "",
            span.name,
            span.span_kind,
            indent = depth * 4
        );
        for attribute in &span.attributes {
            let (key, value) = (&attribute.key, &attribute.value);
            println!("{:indent$}{key} = {value}", "", indent = depth * 4 + 2);
        }
        print_below(spans, span.span_context.span_id(), depth + 1);
    }
}

fn value<'a>(span: &'a SpanData, key: &str) -> Option<&'a opentelemetry::Value> {
    let mut attributes = span.attributes.iter();
    attributes
        .find(|attribute| attribute.key.as_str() == key)
        .map(|attribute| &attribute.value)
}
