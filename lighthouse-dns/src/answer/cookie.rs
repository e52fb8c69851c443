//! Server cookies (RFC 7873) in the form that all servers share (RFC 9018): who brings one back has received it at the address
//! that it sends from.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

/// What makes cookies ours.
#[derive(Clone)]
pub struct CookieSecret([u8; 16]);

impl std::fmt::Debug for CookieSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CookieSecret(..)")
    }
}

impl CookieSecret {
    /// A secret of these bytes, which nobody else knows.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The cookie for this client at this time, seconds since 1970.
    pub(super) fn issue(&self, client: &[u8; 8], address: IpAddr, now: u32) -> [u8; 16] {
        let [t0, t1, t2, t3] = now.to_be_bytes();
        self.seal(client, address, [VERSION, 0, 0, 0, t0, t1, t2, t3])
    }

    /// Whether the cookie is one of ours for this client, and of the last hour.
    pub(super) fn is_valid(&self, client: &[u8; 8], server: &[u8], address: IpAddr, now: u32) -> bool {
        let Ok(cookie) = <&[u8; 16]>::try_from(server) else {
            return false;
        };
        let [version, r0, r1, r2, t0, t1, t2, t3, ..] = *cookie;
        // Serial number arithmetic (RFC 1982): the difference as a signed number.
        let age = now.wrapping_sub(u32::from_be_bytes([t0, t1, t2, t3])).cast_signed();
        version == VERSION
            && (-MAX_AHEAD..=MAX_AGE).contains(&age)
            && self.seal(client, address, [version, r0, r1, r2, t0, t1, t2, t3]) == *cookie
    }

    fn seal(&self, client: &[u8; 8], address: IpAddr, head: [u8; 8]) -> [u8; 16] {
        let mut hash = SipHasher24::new_with_key(&self.0);
        hash.write(client);
        hash.write(&head);
        match address {
            IpAddr::V4(address) => hash.write(&address.octets()),
            IpAddr::V6(address) => hash.write(&address.octets()),
        }
        let mut cookie = [0; 16];
        cookie[..8].copy_from_slice(&head);
        cookie[8..].copy_from_slice(&hash.finish().to_le_bytes());
        cookie
    }
}

const VERSION: u8 = 1;
/// Seconds (RFC 9018 §4.3).
const MAX_AGE: i32 = 3600;
const MAX_AHEAD: i32 = 300;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
    }

    /// RFC 9018 appendix A.
    #[test]
    fn the_examples_of_the_rfc() {
        let secret = CookieSecret::new(bytes("e5e973e5a6b2a43f48e7dc849e37bfcf"));
        let client = bytes("2464c4abcf10c957");
        let cookie = secret.issue(&client, "198.51.100.100".parse().unwrap(), 1_559_731_985);
        assert_eq!(cookie, bytes("010000005cf79f111f8130c3eee29480"));

        let client = bytes("fc93fc62807ddb86");
        let address = "203.0.113.203".parse().unwrap();
        let old: [u8; 16] = bytes("01abcdef5cf78f71a314227b6679ebf5");
        assert!(secret.is_valid(&client, &old, address, 1_559_727_985));

        let secret = CookieSecret::new(bytes("dd3bdf9344b678b185a6f5cb60fca715"));
        let client = bytes("22681ab97d52c298");
        let address = "2001:db8:220:1:59de:d0f4:8769:82b8".parse().unwrap();
        assert_eq!(
            secret.issue(&client, address, 1_559_741_817),
            bytes("010000005cf7c57926556bd0934c72f8")
        );
    }

    #[test]
    fn others_old_and_changed_cookies_are_not_valid() {
        let secret = CookieSecret::new([7; 16]);
        let (client, address) = ([1; 8], "192.0.2.1".parse().unwrap());
        let cookie = secret.issue(&client, address, 10_000);
        assert!(secret.is_valid(&client, &cookie, address, 10_000 + 3600));
        assert!(secret.is_valid(&client, &cookie, address, 10_000 - 300));
        assert!(!secret.is_valid(&client, &cookie, address, 10_000 + 3601));
        assert!(!secret.is_valid(&client, &cookie, "192.0.2.2".parse().unwrap(), 10_000));
        assert!(!secret.is_valid(&[2; 8], &cookie, address, 10_000));
        assert!(!secret.is_valid(&client, &cookie[..8], address, 10_000));
        assert!(!CookieSecret::new([8; 16]).is_valid(&client, &cookie, address, 10_000));
    }
}
