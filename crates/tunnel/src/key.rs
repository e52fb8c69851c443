use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use boringtun::x25519;
use model::PublicKey;
use rand_core::{OsRng, RngCore};
use zeroize::Zeroizing;

/// The private key of a gateway. It is wiped from memory when dropped, and never printed.
#[derive(Clone)]
pub struct PrivateKey {
    secret: x25519::StaticSecret,
    public: x25519::PublicKey,
}

/// Why there is no private key. Every message says which file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the private key {}: check that the path is a file of the agent's user", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A new key cannot be stored.
    #[error("cannot store a new private key at {}: check that the directory exists, is writable and not full", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Others than the owner can read or write the file.
    #[error(
        "the private key {} has mode {mode:04o}, so others than its owner may know it: chmod 600 it, or delete it to get a new one",
        path.display()
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else.
    #[error(
        "{} is not a private key (base64 of 32 bytes, as \"wg genkey\" prints it): restore it, or delete it to get a new one",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

impl PrivateKey {
    /// A new key from the system's randomness.
    pub fn generate() -> Self {
        Self::from_secret(x25519::StaticSecret::random_from_rng(OsRng))
    }

    /// The public key that belongs to it.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::from_bytes(self.public.to_bytes())
    }

    pub(crate) fn secret(&self) -> &x25519::StaticSecret {
        &self.secret
    }

    pub(crate) fn public(&self) -> &x25519::PublicKey {
        &self.public
    }

    fn from_secret(secret: x25519::StaticSecret) -> Self {
        let public = x25519::PublicKey::from(&secret);
        Self { secret, public }
    }

    fn from_text(text: &str) -> Option<Self> {
        let decoded = Zeroizing::new(STANDARD.decode(text.trim_end()).ok()?);
        let bytes = Zeroizing::new(<[u8; 32]>::try_from(decoded.as_slice()).ok()?);
        Some(Self::from_secret(x25519::StaticSecret::from(*bytes)))
    }

    fn to_text(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new(self.secret.to_bytes());
        let mut text = Zeroizing::new(STANDARD.encode(bytes.as_slice()));
        text.push('\n');
        text
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {})", self.public_key())
    }
}

/// The private key at `path`, in the format of `wg genkey`; if there is none, a new one is stored there with mode 0600. A key that
/// another process stores at the same moment is used instead of a second one.
///
/// # Errors
/// When the file cannot be read or made, is open to others, or holds something else. It is never overwritten.
pub fn load_or_create_key(path: &Path) -> Result<PrivateKey, KeyError> {
    if let Some(key) = load(path)? {
        return Ok(key);
    }
    let key = PrivateKey::generate();
    match store(path, &key) {
        Ok(()) => Ok(key),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => load(path)?.ok_or_else(|| KeyError::Write {
            path: path.to_owned(),
            source: io::ErrorKind::AlreadyExists.into(),
        }),
        Err(source) => Err(KeyError::Write {
            path: path.to_owned(),
            source,
        }),
    }
}

fn load(path: &Path) -> Result<Option<PrivateKey>, KeyError> {
    let read = |source| KeyError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(read(error)),
    };
    let mode = file.metadata().map_err(read)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::TooOpen {
            path: path.to_owned(),
            mode,
        });
    }
    // Large enough from the start: growing would leave copies behind that nobody wipes.
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE as usize + 1));
    match file.take(MAX_FILE).read_to_string(&mut text) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(KeyError::Malformed { path: path.to_owned() });
        }
        Err(error) => return Err(read(error)),
    }
    let key = PrivateKey::from_text(&text).ok_or_else(|| KeyError::Malformed { path: path.to_owned() })?;
    Ok(Some(key))
}

/// Writes aside and links into place: the path never holds half a key, and an existing one stays.
fn store(path: &Path, key: &PrivateKey) -> io::Result<()> {
    let aside = path.with_extension(format!("new-{:016x}", OsRng.next_u64()));
    let written = write_new(&aside, key).and_then(|()| fs::hard_link(&aside, path));
    let removed = fs::remove_file(&aside);
    written.and(removed)?;
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

fn write_new(path: &Path, key: &PrivateKey) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key.to_text().as_bytes())?;
    file.sync_all()
}

/// A key is 45 bytes; whatever is longer than this is none.
const MAX_FILE: u64 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_dropped_is_wiped() {
        let mut key = std::mem::ManuallyDrop::new(PrivateKey::generate());
        let secret = key.secret.to_bytes();
        let place: *const [u8; size_of::<PrivateKey>()] = (&raw const key).cast();
        // SAFETY: a key is bytes without padding, and its place is ours also after it was dropped, which happens once.
        let (before, after) = unsafe {
            let before = place.read();
            std::mem::ManuallyDrop::drop(&mut key);
            (before, place.read())
        };
        let holds_secret = |memory: &[u8]| memory.windows(secret.len()).any(|window| window == secret);
        assert!(holds_secret(&before));
        assert!(!holds_secret(&after));
    }

    #[test]
    fn a_key_is_made_once_and_only_for_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let first = load_or_create_key(&path).unwrap();
        assert_eq!(load_or_create_key(&path).unwrap().public_key(), first.public_key());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn a_key_that_appears_meanwhile_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let first = load_or_create_key(&path).unwrap();
        let error = store(&path, &PrivateKey::generate()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(load_or_create_key(&path).unwrap().public_key(), first.public_key());
    }

    #[test]
    fn a_bad_file_is_named_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        for bad in ["".as_bytes(), b"short", &[0xff; 44], &[b'A'; 4096]] {
            fs::write(&path, bad).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let error = load_or_create_key(&path).unwrap_err();
            assert!(matches!(error, KeyError::Malformed { .. }), "{error}");
            assert!(error.to_string().contains(&path.display().to_string()));
            assert_eq!(fs::read(&path).unwrap(), bad);
        }
    }

    #[test]
    fn an_open_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        load_or_create_key(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = load_or_create_key(&path).unwrap_err();
        assert!(error.to_string().contains("mode 0640"), "{error}");
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = load_or_create_key(Path::new("/nonexistent/tombolo/key")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/tombolo/key"), "{error}");
    }

    #[test]
    fn a_key_of_wg_is_read_and_not_printed() {
        let text = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
        let key = PrivateKey::from_text(text).unwrap();
        assert_eq!(key.to_text().trim_end(), text);
        assert!(!format!("{key:?}").contains(text));
    }
}
