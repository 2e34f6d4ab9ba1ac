//! The public listener's certificate, from files that may change while the node runs: new connections get the new one.
//!
//! Whoever renews certificates writes two files, one after the other. Between them they do not fit together, and the old
//! certificate stays in use.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aforo_cluster::metric::Metrics;
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tracing::{info, warn};

use crate::config::Http;
use crate::file_watch::FileWatch;

/// The label `listener` of the certificate's metric.
const LISTENER: &str = "public";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or has no PEM of its kind in it.
    #[error("{key} {} cannot be used: {source}", path.display())]
    File {
        /// Which key of the configuration names it.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: rustls::pki_types::pem::Error,
    },
    /// There is no certificate in the file.
    #[error("http.tls_certificate {} has no certificate in it", .0.display())]
    Empty(PathBuf),
    /// Both were read, and cannot be used together.
    #[error("http.tls_certificate and http.tls_key do not fit together: {0}")]
    Mismatch(rustls::Error),
    /// Changes cannot be watched.
    #[error("http.tls_certificate cannot be watched for changes: {0}")]
    Watch(notify::Error),
    /// The library has no common ground with itself.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// How long the second of two renewed files may come after the first.
const RENEWED_WITHIN: Duration = Duration::from_secs(1);

/// Hands the certificate of now to each new connection.
#[derive(Debug)]
struct Current {
    certificate: Arc<ArcSwap<CertifiedKey>>,
    /// Ends with the listener.
    _watch: FileWatch,
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certificate.load_full())
    }
}

/// TLS as configured; `None` for plain HTTP.
///
/// # Errors
///
/// See [`TlsError`].
pub fn server_config(http: &Http, metrics: Arc<Metrics>) -> Result<Option<ServerConfig>, TlsError> {
    let (Some(certificate), Some(key)) = (&http.tls_certificate, &http.tls_key) else { return Ok(None) };
    let (certificate, key) = (certificate.clone(), key.clone());
    let current = Arc::new(ArcSwap::from_pointee(read(&certificate, &key)?));
    show_expiry(&metrics, &current.load());
    let files = [certificate.clone(), key.clone()];
    let watch = FileWatch::start(&files, {
        let (current, metrics) = (Arc::clone(&current), Arc::clone(&metrics));
        let (certificate, key) = (certificate.clone(), key.clone());
        move || reload(&current, &metrics, &certificate, &key)
    });
    let watch = watch.map_err(TlsError::Watch)?;
    // Once more, for a renewal between the first reading and the watch. Half of one is the watch's to complete.
    if let Ok(renewed) = read(&certificate, &key) {
        show_expiry(&metrics, &renewed);
        current.store(Arc::new(renewed));
    }
    let resolver = Current { certificate: current, _watch: watch };
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    Ok(Some(config))
}

fn reload(current: &ArcSwap<CertifiedKey>, metrics: &Metrics, certificate: &Path, key: &Path) {
    let read = || read(certificate, key);
    // Whoever renews them writes one after the other. This thread has nothing else to do.
    let renewed = read().or_else(|_| {
        std::thread::sleep(RENEWED_WITHIN);
        read()
    });
    let result = match renewed {
        Ok(new) => {
            show_expiry(metrics, &new);
            current.store(Arc::new(new));
            info!("tls certificate read again");
            "ok"
        }
        Err(error) => {
            warn!(%error, "the tls certificate stays as it was");
            "failed"
        }
    };
    metrics.config_reloads_total.with_label_values(&[result]).inc();
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let wrong = |name, path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::File { key: name, path, source }
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(wrong("http.tls_certificate", certificate))?;
    if chain.is_empty() {
        return Err(TlsError::Empty(certificate.to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(wrong("http.tls_key", key))?;
    CertifiedKey::from_der(chain, secret, &default_provider()).map_err(TlsError::Mismatch)
}

/// Says when the certificate ends, so that somebody is told in time.
fn show_expiry(metrics: &Metrics, certificate: &CertifiedKey) {
    let Some(leaf) = certificate.cert.first() else { return };
    if let Ok((_, parsed)) = x509_parser::parse_x509_certificate(leaf) {
        let end = parsed.validity().not_after.timestamp();
        metrics.tls_certificate_expiry_timestamp_seconds.with_label_values(&[LISTENER]).set(end);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use std::sync::mpsc;
    use std::time::Duration;

    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};

    use super::*;

    struct Files {
        folder: PathBuf,
        http: Http,
    }

    impl Files {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("aforo-tls-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&folder);
            std::fs::create_dir(&folder).unwrap();
            let at = |name: &str| Some(folder.join(name));
            let http = Http { tls_certificate: at("cert.pem"), tls_key: at("key.pem"), ..Http::default() };
            Self { folder, http }
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.folder.join(name), text).unwrap();
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    /// A certificate for `localhost`, and its key, as PEM.
    fn pair() -> (String, String) {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (pair.cert.pem(), pair.signing_key.serialize_pem())
    }

    /// Whether a client that trusts only this certificate comes through the handshake.
    fn greets(server: &ServerConfig, trusted: &str) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut client = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let mut server = ServerConnection::new(Arc::new(server.clone())).unwrap();
        while client.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut bytes.as_slice()).unwrap();
            if server.process_new_packets().is_err() {
                return false;
            }
            let mut bytes = Vec::new();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut bytes.as_slice()).unwrap();
            if client.process_new_packets().is_err() {
                return false;
            }
        }
        true
    }

    #[test]
    fn new_connections_get_the_new_certificate_once_both_files_are_there() {
        let files = Files::new("reload");
        let ((old, old_key), (new, new_key)) = (pair(), pair());
        files.write("cert.pem", &old);
        files.write("key.pem", &old_key);
        let metrics = Arc::new(Metrics::new().unwrap());
        let server = server_config(&files.http, Arc::clone(&metrics)).unwrap().unwrap();
        assert!(greets(&server, &old) && !greets(&server, &new));
        let (tell, told) = mpsc::channel();
        let watched = [files.folder.join("cert.pem"), files.folder.join("key.pem")];
        let _watch = FileWatch::start(&watched, move || tell.send(()).unwrap()).unwrap();
        let reloads = |result| metrics.config_reloads_total.with_label_values(&[result]).get();
        let wait_for = |result| {
            told.recv_timeout(Duration::from_secs(20)).expect("a change that is told");
            while reloads(result) == 0 {
                std::thread::yield_now();
            }
        };
        files.write("cert.pem", &new);
        wait_for("failed");
        assert!(greets(&server, &old), "a certificate without its key is not used");
        files.write("key.pem", &new_key);
        wait_for("ok");
        assert!(greets(&server, &new) && !greets(&server, &old));
        let text = metrics.render().unwrap();
        assert!(text.contains("tls_certificate_expiry_timestamp_seconds{listener=\"public\"} "), "{text}");
    }

    #[test]
    fn what_is_wrong_with_the_files_is_said_with_the_key_to_change() {
        let files = Files::new("wrong");
        let metrics = || Arc::new(Metrics::new().unwrap());
        let said = || server_config(&files.http, metrics()).unwrap_err().to_string();
        assert!(said().contains("http.tls_certificate") && said().contains("cert.pem"), "{}", said());
        let ((certificate, key), (_, other)) = (pair(), pair());
        files.write("cert.pem", &key);
        assert!(said().contains("no certificate"), "{}", said());
        files.write("cert.pem", &certificate);
        files.write("key.pem", &certificate);
        assert!(said().contains("http.tls_key"), "{}", said());
        files.write("key.pem", &other);
        assert!(said().contains("do not fit together"), "{}", said());
        files.write("key.pem", &key);
        assert!(server_config(&files.http, metrics()).unwrap().is_some());
        assert!(server_config(&Http::default(), metrics()).unwrap().is_none());
    }
}
