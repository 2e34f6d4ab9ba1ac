//! Log lines: text for people on a terminal, one JSON object per line elsewhere, always on standard error.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::panic::PanicHookInfo;

use tracing::error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::{Log, LogFormat};
use crate::startup::StartupError;

/// What libraries may say that say too much at the level of the rest.
const QUIETER: &str = "actix_server=warn,actix_http=off,rtc_dtls=off,hyper_util=info,reqwest=info";

/// Starts logging. A second start in one process changes nothing.
///
/// # Errors
///
/// [`StartupError::LogFilter`] if the level is neither a level nor a filter.
pub(crate) fn start(log: &Log) -> Result<(), StartupError> {
    // The HTTP library tells of each of its threads at INFO, and of each request that it cannot read at ERROR, which
    // `aforo_http_connections_total` counts: strangers must not fill the log. The DTLS library warns of each extension that it does not
    // know, so any ClientHello would fill the log; what comes of a handshake we count ourselves. The HTTP client tells of
    // each request to the collector at DEBUG, once a second. A filter that names them overrides this.
    let filter = EnvFilter::try_new(format!("{QUIETER},{}", log.level))
        .map_err(|source| StartupError::LogFilter { text: log.level.clone(), source })?;
    let terminal = std::io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    let logs = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        std::panic::set_hook(Box::new(panicked));
    }
    // Already started is all that can go wrong here.
    let _ = match json {
        true => logs.json().flatten_event(true).with_current_span(false).try_init(),
        false => logs.with_ansi(terminal).with_target(false).try_init(),
    };
    Ok(())
}

/// A panic is a line like all others: whoever reads the log by machine would stumble over Rust's own text.
fn panicked(panic: &PanicHookInfo<'_>) {
    let reason = panic.payload_as_str().unwrap_or("no text");
    let place = panic.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    let thread = std::thread::current().name().map(str::to_owned);
    error!(reason, place, thread, backtrace, "a thread panicked");
}
