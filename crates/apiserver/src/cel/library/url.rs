//! `url` and its parts.

use cel::{
    DeclarationError, Env, ExecutionError,
    common::types::{STRING_TYPE, Type},
};

use super::{Args, Native, fails, own, text, truth};
use crate::cel::value;

/// An absolute URL, or an absolute path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Url {
    scheme: String,
    /// With the port.
    host: String,
    path: String,
    query: String,
}

impl Native for Url {
    const TYPE: &'static Type = &URL;
}

pub(super) fn extend(env: &mut Env) -> Result<(), DeclarationError> {
    let url = || URL.to_owned();
    env.add_overload("url", "string_to_url", vec![STRING_TYPE], |args| {
        Url::parse(Args(&args).text(0)?).map(own)
    })?;
    env.add_overload("isURL", "is_url", vec![STRING_TYPE], |args| {
        Ok(truth(Url::parse(Args(&args).text(0)?).is_ok()))
    })?;
    env.add_member_overload("getScheme", "url_get_scheme", url(), vec![], |args| {
        Ok(text(Args(&args).own::<Url>(0)?.scheme.clone()))
    })?;
    env.add_member_overload("getHost", "url_get_host", url(), vec![], |args| {
        Ok(text(Args(&args).own::<Url>(0)?.host.clone()))
    })?;
    env.add_member_overload("getHostname", "url_get_hostname", url(), vec![], |args| {
        let (name, _) = Args(&args).own::<Url>(0)?.split_host();
        Ok(text(name.trim_start_matches('[').trim_end_matches(']')))
    })?;
    env.add_member_overload("getPort", "url_get_port", url(), vec![], |args| {
        Ok(text(Args(&args).own::<Url>(0)?.split_host().1))
    })?;
    env.add_member_overload("getEscapedPath", "url_get_escaped_path", url(), vec![], |args| {
        Ok(text(Args(&args).own::<Url>(0)?.path.replace(' ', "%20")))
    })?;
    env.add_member_overload("getQuery", "url_get_query", url(), vec![], |args| {
        Ok(cel::common::value::CowVal::Owned(Args(&args).own::<Url>(0)?.query()))
    })
}

impl Url {
    fn parse(written: &str) -> Result<Self, ExecutionError> {
        let wrong = |why: &str| {
            fails(
                "url",
                format!("URL parse error during conversion from string: parse {written:?}: {why}"),
            )
        };
        if written.chars().any(char::is_control) {
            return Err(wrong("net/url: invalid control character in URL"));
        }
        let (rest, _) = written.split_once('#').unwrap_or((written, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (scheme, rest) = match rest.split_once(':') {
            Some((scheme, rest)) if !rest.is_empty() && is_scheme(scheme) => (scheme, rest),
            _ if rest.starts_with('/') => ("", rest),
            _ => return Err(wrong("invalid URI for request")),
        };
        let (host, path) = match rest.strip_prefix("//") {
            Some(rest) => rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash)),
            None => ("", rest),
        };
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let url = Self {
            scheme: scheme.to_ascii_lowercase(),
            host: host.into(),
            path: path.into(),
            query: query.into(),
        };
        let (_, port) = url.split_host();
        if host.contains(' ') {
            return Err(wrong("invalid character \" \" in host name"));
        }
        if !port.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(wrong(&format!("invalid port {:?} after host", format!(":{port}"))));
        }
        Ok(url)
    }

    /// The host without its port, and the port.
    fn split_host(&self) -> (&str, &str) {
        match self.host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, port),
            _ => (&self.host, ""),
        }
    }

    /// Every parameter with its values.
    fn query(&self) -> crate::cel::Object {
        let mut found: Vec<(String, Vec<String>)> = Vec::new();
        for pair in self.query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (unescape(name), unescape(value));
            match found.iter_mut().find(|(known, _)| *known == name) {
                Some((_, values)) => values.push(value),
                None => found.push((name, vec![value])),
            }
        }
        value::map(
            found
                .into_iter()
                .map(|(name, values)| (name, value::list(values.into_iter().map(value::text).collect()))),
        )
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Undoes `%20` and `+`.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail
            .get(..2)
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, escaped) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = tail;
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

static URL: Type = Type::new_unspecified_type("kubernetes.URL");
