use std::fmt::Debug;

use kube::Api;
use serde::de::DeserializeOwned;

/// Asks for an object that may not be there.
pub trait Find<K> {
    /// The object, if there is one. A kind that the server does not know has no objects: to that it answers in plain text, where
    /// [`Api::get_opt`] sees a failure.
    ///
    /// # Errors
    /// When the server does not answer, or refuses.
    fn find(&self, name: &str) -> impl Future<Output = Result<Option<K>, kube::Error>> + Send;
}

impl<K: Clone + DeserializeOwned + Debug + Send + Sync> Find<K> for Api<K> {
    async fn find(&self, name: &str) -> Result<Option<K>, kube::Error> {
        match self.get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }
}
