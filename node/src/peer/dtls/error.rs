//! Why a DTLS association failed.

/// What ends a handshake. The peer has been told by an alert where there was a way to.
#[derive(Debug, thiserror::Error)]
pub enum DtlsError {
    /// Its ClientHello cannot be read.
    #[error("the client hello is malformed")]
    MalformedHello,
    /// It has no SRTP profile that we have.
    #[error("the client offers none of our srtp profiles")]
    NoCommonProfile,
    /// It sent an alert.
    #[error("the peer sent alert {0} during the handshake")]
    Alert(u8),
    /// Its certificate is not the one that its offer announced.
    #[error("the peer's certificate does not match the announced fingerprint")]
    Fingerprint,
    /// The handshake could not go on.
    #[error("the handshake failed")]
    Handshake(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No keys could be taken from the finished handshake.
    #[error("exporting srtp keys failed")]
    Export(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// We told the peer by this alert that its part of the handshake will not do.
    #[error("the handshake was refused with alert {0}")]
    Refused(u8),
}

impl DtlsError {
    /// A failed step of the library.
    pub(super) fn handshake(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Handshake(Box::new(error))
    }

    /// A failed export.
    pub(super) fn export(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Export(Box::new(error))
    }
}
