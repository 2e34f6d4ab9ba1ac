//! The exposition in OpenMetrics' text format 1.0, which the `prometheus` crate does not write: it is the one that carries
//! exemplars.

use std::borrow::Cow;
use std::fmt::{self, Write};

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

use super::exemplar::{Exemplar, Exemplars};

/// Its content type.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes `families`; the histogram `with_exemplars` has its exemplars.
pub(super) fn encode(
    families: &[MetricFamily],
    with_exemplars: &str,
    exemplars: &Exemplars,
) -> Result<String, fmt::Error> {
    let mut text = String::new();
    for family in families {
        let kind = family.get_field_type();
        // A counter's family is named without the ending that its samples have (OpenMetrics 1.0, Counter).
        let name = match kind {
            MetricType::COUNTER => family.name().trim_end_matches("_total"),
            _ => family.name(),
        };
        writeln!(text, "# HELP {name} {}", escape(family.help()))?;
        writeln!(text, "# TYPE {name} {}", type_of(kind))?;
        for metric in family.get_metric() {
            let labels = metric.get_label();
            match kind {
                MetricType::COUNTER => {
                    sample(&mut text, name, "_total", labels, metric.get_counter().get_value())?;
                }
                MetricType::GAUGE => sample(&mut text, name, "", labels, metric.get_gauge().get_value())?,
                MetricType::HISTOGRAM => {
                    let kept = if name == with_exemplars { of_series(exemplars, labels) } else { Vec::new() };
                    histogram(&mut text, name, metric, &kept)?;
                }
                // There are none here.
                MetricType::SUMMARY | MetricType::UNTYPED => {}
            }
        }
    }
    text.push_str("# EOF\n");
    Ok(text)
}

fn type_of(kind: MetricType) -> &'static str {
    match kind {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        MetricType::SUMMARY => "summary",
        MetricType::UNTYPED => "unknown",
    }
}

fn of_series(exemplars: &Exemplars, labels: &[LabelPair]) -> Vec<Option<Exemplar>> {
    let value = |name| labels.iter().find(|label| label.name() == name).map_or("", LabelPair::value);
    exemplars.of(value("protocol"), value("stage"))
}

fn histogram(text: &mut String, name: &str, metric: &Metric, kept: &[Option<Exemplar>]) -> fmt::Result {
    let (histogram, labels) = (metric.get_histogram(), metric.get_label());
    let bounded =
        histogram.get_bucket().iter().map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
    let endless = (f64::INFINITY, histogram.get_sample_count());
    let buckets = bounded.filter(|(bound, _)| bound.is_finite()).chain([endless]);
    for (index, (bound, count)) in buckets.enumerate() {
        write!(text, "{name}_bucket")?;
        write_labels(text, labels, Some(bound))?;
        write!(text, " {count}")?;
        if let Some(Exemplar { trace_id, seconds, unix_seconds }) = kept.get(index).and_then(Option::as_ref) {
            write!(text, " # {{trace_id=\"{trace_id}\"}} {} {unix_seconds:.3}", Number(*seconds))?;
        }
        text.push('\n');
    }
    sample(text, name, "_sum", labels, histogram.get_sample_sum())?;
    sample(text, name, "_count", labels, histogram.get_sample_count() as f64)
}

fn sample(text: &mut String, name: &str, ending: &str, labels: &[LabelPair], value: f64) -> fmt::Result {
    write!(text, "{name}{ending}")?;
    write_labels(text, labels, None)?;
    writeln!(text, " {}", Number(value))
}

fn write_labels(text: &mut String, labels: &[LabelPair], bound: Option<f64>) -> fmt::Result {
    let pairs = labels.iter().map(|label| format!("{}=\"{}\"", label.name(), escape(label.value())));
    let bound = bound.map(|bound| format!("le=\"{}\"", Number(bound)));
    let pairs: Vec<String> = pairs.chain(bound).collect();
    if pairs.is_empty() { Ok(()) } else { write!(text, "{{{}}}", pairs.join(",")) }
}

/// A number as the format wants it: with a point, so that each has one way to be written.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            infinite if infinite == f64::INFINITY => f.write_str("+Inf"),
            infinite if infinite == f64::NEG_INFINITY => f.write_str("-Inf"),
            number => write!(f, "{number:?}"),
        }
    }
}

fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['\\', '"', '\n']) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::super::Metrics;

    const FIRST: &str = "0af7651916cd43dd8448eb211c80319c";
    const SECOND: &str = "1af7651916cd43dd8448eb211c80319c";

    #[test]
    fn a_series_is_written_as_the_format_wants_it() {
        let metrics = Metrics::new().unwrap();
        metrics.rooms.set(3);
        metrics.rate_limited_total.with_label_values(&["address"]).inc_by(2);
        metrics.node_info.with_label_values(&["a\"b\\c"]).set(1);
        let text = metrics.render_open_metrics().unwrap();
        for line in [
            "# TYPE aforo_rooms gauge",
            "aforo_rooms 3.0",
            "# TYPE aforo_rate_limited counter",
            "aforo_rate_limited_total{scope=\"address\"} 2.0",
            "aforo_node_info{node=\"a\\\"b\\\\c\"} 1.0",
            "aforo_jitter_seconds_bucket{le=\"+Inf\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in {text}");
        }
        assert!(text.ends_with("\n# EOF\n"));
    }

    #[test]
    fn each_bucket_names_the_trace_of_its_last_join_and_other_series_name_none() {
        let metrics = Metrics::new().unwrap();
        for (protocol, seconds, trace) in
            [("whep", 0.2, FIRST), ("whep", 0.25, SECOND), ("whep", 60.0, FIRST), ("whip", 0.001, "")]
        {
            metrics.join_duration_seconds.with_label_values(&[protocol, "dtls"]).observe(seconds);
            if !trace.is_empty() {
                metrics.join_exemplars.keep(protocol, "dtls", seconds, trace.to_owned());
            }
        }
        let text = metrics.render_open_metrics().unwrap();
        let exemplars: Vec<&str> = text.lines().filter(|line| line.contains("trace_id")).collect();
        assert_eq!(exemplars.len(), 2, "{exemplars:?}");
        let series = "aforo_join_duration_seconds_bucket{protocol=\"whep\",stage=\"dtls\",le=";
        let second = format!("{series}\"0.25\"}} 2 # {{trace_id=\"{SECOND}\"}} 0.25 ");
        let first = format!("{series}\"+Inf\"}} 3 # {{trace_id=\"{FIRST}\"}} 60.0 ");
        assert!(exemplars[0].starts_with(&second), "{exemplars:?}");
        assert!(exemplars[1].starts_with(&first), "{exemplars:?}");
        assert!(!metrics.render().unwrap().contains("trace_id"), "the older format has none");
    }
}
