use std::error::Error as StdError;
use std::io;

/// Why an API server did not do what it was asked, in words that a person can act on. The address is the caller's to name.
pub fn explain(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return match status.code {
            401 => "it does not accept our token (401); it may be expired or revoked".to_owned(),
            code => format!("it answered {code}: {}", status.message),
        };
    }
    let causes = || std::iter::successors(Some(error as &(dyn StdError + 'static)), |error| next(*error));
    let known = causes().find_map(|cause| {
        cause
            .downcast_ref::<rustls::Error>()
            .map(tls)
            .or_else(|| cause.downcast_ref::<io::Error>().and_then(connection))
    });
    known.unwrap_or_else(|| {
        // The innermost cause is the most specific one; the others only wrap it.
        causes().last().map(ToString::to_string).unwrap_or_default()
    })
}

/// The next cause. An `io::Error` that wraps another error hides it from `source`.
fn next<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    if let Some(wrapped) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        return Some(wrapped);
    }
    error.source()
}

fn connection(error: &io::Error) -> Option<String> {
    // A wrapper says only what kind it is; what it wraps says more.
    if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        return None;
    }
    let text = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused; is it running, and is the port right?",
        io::ErrorKind::TimedOut => "no answer in time; is the address right, and is there a firewall between?",
        io::ErrorKind::HostUnreachable => "no route to the host",
        io::ErrorKind::NetworkUnreachable => "no route to its network",
        io::ErrorKind::ConnectionReset => "it reset the connection",
        _ => return None,
    };
    Some(text.to_owned())
}

fn tls(error: &rustls::Error) -> String {
    use rustls::CertificateError as Certificate;
    match error {
        rustls::Error::InvalidCertificate(Certificate::UnknownIssuer | Certificate::BadSignature) => {
            "its certificate is not signed by the CA that we were given".to_owned()
        }
        rustls::Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => "its certificate is not for this address; use a name or address that it was issued for".to_owned(),
        rustls::Error::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => {
            "its certificate has expired, or our clock is wrong".to_owned()
        }
        other => format!("TLS failed: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(error: impl StdError + Send + Sync + 'static) -> kube::Error {
        kube::Error::Service(Box::new(error))
    }

    #[test]
    fn tls_errors_inside_io_errors_are_found() {
        let wrapped = |error| {
            service(io::Error::new(
                io::ErrorKind::InvalidData,
                rustls::Error::InvalidCertificate(error),
            ))
        };
        let unknown = explain(&wrapped(rustls::CertificateError::UnknownIssuer));
        assert!(unknown.contains("not signed by the CA"), "{unknown}");
        let name = explain(&wrapped(rustls::CertificateError::NotValidForName));
        assert!(name.contains("not for this address"), "{name}");
    }

    #[test]
    fn connection_errors_have_their_own_words() {
        let refused = explain(&service(io::Error::from(io::ErrorKind::ConnectionRefused)));
        assert!(refused.contains("connection refused"), "{refused}");
        let silent = explain(&service(io::Error::new(io::ErrorKind::TimedOut, "deadline")));
        assert!(silent.contains("no answer in time"), "{silent}");
        let other = explain(&service(io::Error::other("the sky fell")));
        assert_eq!(other, "the sky fell");
    }
}
