//! What is configured of traces.

use actix_web::http::header::{HeaderName, HeaderValue};
use garde::Validate;
use serde::{Deserialize, Serialize};

use super::Secret;

/// Traces of joins, sent to a collector by OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// The collector's base address, such as `http://collector:4318`; `/v1/traces` is added. Without it nothing is traced.
    #[garde(inner(pattern(r"^https?://[A-Za-z0-9.\-\[\]:_]+(/[^ ?#]*)?$")))]
    pub otlp_endpoint: Option<String>,
    /// Headers that the collector wants, such as its key: each `name=value`.
    #[garde(skip)]
    pub otlp_headers: Vec<Secret>,
    /// The name that traces show for the node (`service.name`).
    #[garde(length(min = 1, max = 255))]
    pub service_name: String,
    /// Share of joins that are traced, from 0 to 1, of those whose request does not say so itself by `traceparent`.
    #[garde(range(min = 0.0, max = 1.0))]
    pub sampling_ratio: f64,
}

impl Default for Telemetry {
    fn default() -> Self {
        // Joins are rare beside packets: all of them are traced until somebody finds them too many.
        Self {
            otlp_endpoint: None,
            otlp_headers: Vec::new(),
            service_name: "aforo".to_owned(),
            sampling_ratio: 1.0,
        }
    }
}

impl Telemetry {
    /// The headers' names and values; `None` for one that is no header.
    pub fn headers(&self) -> impl Iterator<Item = Option<(&str, &str)>> {
        self.otlp_headers.iter().map(|header| {
            let (name, value) = header.expose().split_once('=')?;
            let good = name.parse::<HeaderName>().is_ok() && HeaderValue::from_str(value).is_ok();
            good.then_some((name, value))
        })
    }

    /// The first header that is none, told by its number: its text is a secret.
    pub(super) fn contradiction(&self) -> Option<(&'static str, String)> {
        let number = self.headers().position(|header| header.is_none())? + 1;
        Some(("telemetry.otlp_headers", format!("entry {number} is no header, write name=value")))
    }
}
